//! The `freshet` binary: hands the command line to [`freshet_server::cli`] and its exit code to the shell.

use std::process::ExitCode;

/// Queries and ingestion allocate many short-lived buffers on all cores; the system's allocator serialises them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    freshet_server::cli::run(std::env::args_os())
}
