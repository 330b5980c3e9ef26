//! freshet-server
