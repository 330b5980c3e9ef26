//! freshet-query
