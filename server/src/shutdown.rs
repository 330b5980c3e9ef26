//! The order of stopping, against the walk of an event: refuse new work, stop the demo stream and batch tasks, let running work finish, stop
//! sources, publish what they have read, close the catalog and the listener.
//!
//! SIGTERM and SIGINT begin it; a second one ends the process at once. While it runs the listener stays open, so that clients get
//! 503 and not a refused connection. Running work has `shutdown_ms_max`; after that queries are cancelled.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;
use crate::node::Node;

/// Time for cancelled queries and sockets to end, after the deadline.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// The two signals that ask for an end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the system's default, which would end the process at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self, ServerError> {
        let install = |kind| {
            signal(kind).map_err(|error| ServerError::Start { what: "the signal handlers", reason: error.to_string() })
        };
        Ok(Self { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Stops `node`; `closed` is cancelled when the listener may go.
pub async fn drain(node: &Arc<Node>, closed: &CancellationToken) {
    let deadline = Duration::from_millis(node.config.shutdown_ms_max);
    node.stopping.cancel();
    node.demo.stop().await;
    node.tasks.stop();
    node.coordinator.ask_to_stop();
    node.work.close();
    if tokio::time::timeout(deadline, node.work.wait()).await.is_err() {
        let running = node.engine.running();
        tracing::warn!(queries = running.len(), "running queries did not finish in time and are cancelled");
        for query in running {
            node.engine.cancel(&query.query_id);
        }
        if tokio::time::timeout(LAST_MOMENT, node.work.wait()).await.is_err() {
            tracing::warn!(pieces = node.work.len(), "some work did not end; the process ends without it");
        }
    }
    node.ingest.shutdown(deadline).await;
    // What it is at is a whole or nothing; a merge that takes longer is dropped with the process.
    let coordinator = Arc::clone(&node.coordinator);
    if tokio::time::timeout(LAST_MOMENT, tokio::task::spawn_blocking(move || coordinator.join())).await.is_err() {
        tracing::info!(
            "the care of what is stored was in the middle of something; it is done again after the next start"
        );
    }
    if tokio::time::timeout(LAST_MOMENT, node.catalog_file.close()).await.is_err() {
        tracing::warn!("the catalog is still in use; the next start reads its log");
    }
    closed.cancel();
}
