//! Where sealed segments are kept.
