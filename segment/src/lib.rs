//! freshet-segment
