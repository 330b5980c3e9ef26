//! From a locked data directory to a node that answers: drop what a crash left behind, put back what the catalog and the journals
//! hold, start the supervisors again.
//!
//! Nothing here may lose a row or hide one: a supervisor whose spec is no longer understood is shown as such and stays in the
//! catalog, and its table is served with what is sealed. Journals are replayed in the background; until then their tables answer
//! `RECOVERING`. What a start found is logged, one line a table.

use std::sync::Arc;
use std::time::Instant;

use freshet_ingest::spec::SupervisorSpec;
use freshet_segment::catalog::SupervisorRow;

use crate::data_dir::DataDir;
use crate::druid::spec;
use crate::error::ServerError;
use crate::http::reply::Problem;
use crate::node::{Node, Stranded};

/// Puts back what was there before the last end. Nobody may be answered before it returns.
///
/// # Errors
/// When the catalog cannot be read, or staging cannot be emptied.
pub async fn recover(node: &Arc<Node>, data: &DataDir) -> Result<(), ServerError> {
    let began = Instant::now();
    data.empty_staging()?;
    let recovered = node.ingest.recover().await.map_err(|error| ServerError::Start {
        what: "recovery from the data directory",
        reason: Problem::from(error).message.clone(),
    })?;
    remember_pushes(node, data);
    for row in catalog(node.catalog.supervisors().await)? {
        restore(node, row).await;
    }
    describe(node);
    let started = node.coordinator.start();
    started.map_err(|error| ServerError::Start { what: "the care of what is stored", reason: error.to_string() })?;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        tables = recovered.tables,
        segments = recovered.segments,
        rows = recovered.rows,
        journals = recovered.journals,
        millis,
        "recovered"
    );
    Ok(())
}

fn catalog<T>(answer: freshet_segment::Result<T>) -> Result<T, ServerError> {
    answer.map_err(|source| ServerError::Storage { what: "the catalog cannot be read", source })
}

/// Tables that have a journal were pushed to, also before this process began.
fn remember_pushes(node: &Node, data: &DataDir) {
    for table in node.timeline.tables() {
        let view = table.view();
        if data.journals().join(view.table_id.to_string()).exists() {
            node.marks.push(view.name.as_str());
        }
    }
}

async fn restore(node: &Node, row: SupervisorRow) {
    let restored = match understand(&row) {
        Ok(spec) => node.ingest.restore(spec).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    let Err(problem) = restored else { return };
    let reason = match &problem.at {
        Some(at) => format!("{} (at {at})", problem.message),
        None => problem.message.clone(),
    };
    tracing::error!(supervisor = row.id, table = %row.table, reason, "a supervisor was not started again: post its spec anew, or terminate it");
    node.stranded.lock().insert(row.id.clone(), Stranded { row, reason });
}

/// The spec as it was posted, in the state it was left in.
fn understand(row: &SupervisorRow) -> Result<SupervisorSpec, Problem> {
    let mut spec = spec::parse(row.spec.as_bytes())?;
    spec.id.clone_from(&row.id);
    spec.suspended = row.suspended;
    Ok(spec)
}

fn describe(node: &Node) {
    for view in node.timeline.reading().tables() {
        let sealed = view.segments().filter(|entry| entry.segment.is_sealed());
        let (segments, rows) =
            sealed.fold((0_u64, 0_u64), |(n, rows), entry| (n + 1, rows + entry.segment.rows() as u64));
        let waits_for = view.unready.as_ref().map_or("nothing", |unready| &*unready.why);
        tracing::info!(table = %view.name, segments, rows, bytes = view.stored_bytes(), waits_for, "table is back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(spec: &str, suspended: bool) -> SupervisorRow {
        SupervisorRow { id: "mine".to_owned(), table: "w".parse().unwrap(), spec: spec.to_owned(), suspended }
    }

    #[test]
    fn a_kept_spec_comes_back_in_the_state_it_was_left_in() {
        let text = r#"{"type":"kafka","suspended":false,"spec":{"dataSchema":{"dataSource":"w","granularitySpec":{"rollup":false}},
            "ioConfig":{"topic":"w","inputFormat":{"type":"json"},"consumerProperties":{"bootstrap.servers":"a:1"}}}}"#;
        let spec = understand(&row(text, true)).unwrap();
        assert_eq!((spec.id.as_str(), spec.table.as_str(), spec.suspended), ("mine", "w", true));
        assert_eq!(&*spec.document, text);
        let problem = understand(&row(&text.replace("ioConfig", "ioConfiguration"), false)).unwrap_err();
        assert!(problem.message.contains("ioConfig"), "{}", problem.message);
    }
}
