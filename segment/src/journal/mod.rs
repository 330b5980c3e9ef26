//! The durable log of sources that cannot be read again.
