//! Named places of the write path at which a test lets the process fail or end.
