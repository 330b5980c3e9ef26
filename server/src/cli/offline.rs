//! What the subcommands share that work on a data directory while no server runs.

use std::future::Future;

use crate::error::ServerError;

/// Runs to the end on a runtime of its own.
///
/// # Errors
/// When the system gives no threads, and the work's own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, ServerError>>) -> Result<T, ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| ServerError::Start { what: "the I/O threads", reason: error.to_string() })?;
    runtime.block_on(work)
}
