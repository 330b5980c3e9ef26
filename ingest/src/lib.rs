//! freshet-ingest
