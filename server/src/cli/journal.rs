//! `freshet journal`: what is in the journals of a data directory, and how a damaged one is made readable again.
//!
//! Both hold the directory's lock, so no server writes meanwhile. Examining changes nothing. A repair keeps every record that can
//! be read and the damaged file beside the new one; what it gives up it names.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use freshet_segment::catalog::Catalog;
use freshet_segment::clock::{Clock, SystemClock};
use freshet_segment::disk::Disk;
use freshet_segment::id::TableId;
use freshet_segment::journal::repair::{self, Report};

use super::offline;
use crate::data_dir::DataDir;
use crate::error::ServerError;
use crate::storage;

/// The subcommands of `freshet journal`.
#[derive(Debug, Subcommand)]
pub(super) enum Journal {
    /// Reads all records and says what is damaged
    Examine(Which),
    /// Writes damaged files anew without what cannot be read, and keeps the damaged ones beside them
    Repair(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Data directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// One table only, by name or number
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

/// One journal.
struct Found {
    table: String,
    folder: PathBuf,
    /// Records below it are published.
    checkpoint: i64,
}

impl Journal {
    pub(super) fn run(&self) -> Result<(), ServerError> {
        let (which, mend) = match self {
            Self::Examine(which) => (which, false),
            Self::Repair(which) => (which, true),
        };
        let data = DataDir::open_used(&which.data_dir)?;
        let stream = format!("push/{}", data.node_id());
        let found = offline::block_on(find(&data, which.table.as_deref(), &stream))?;
        let mut damaged = 0_usize;
        for journal in &found {
            let report = if mend {
                let salt = rand::random();
                repair::repair(&Disk::Real, &journal.folder, &stream, journal.checkpoint, salt)
            } else {
                repair::examine(&Disk::Real, &journal.folder, journal.checkpoint)
            };
            let report = report.map_err(|source| ServerError::Storage { what: "a journal", source })?;
            damaged += report.damage.len();
            print(&journal.table, &report, mend);
        }
        if found.is_empty() {
            println!("there is no journal: nothing was pushed");
        }
        if damaged > 0 && !mend {
            return Err(ServerError::Client(format!(
                "{damaged} damaged places: `freshet journal repair` keeps what can be read"
            )));
        }
        Ok(())
    }
}

/// The journals there are. A table that the catalog does not know has none any more: its folder is left over from a drop.
async fn find(data: &DataDir, wanted: Option<&str>, stream: &str) -> Result<Vec<Found>, ServerError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let catalog = storage::open_catalog(data, &clock).await?;
    let failed = |source| ServerError::Storage { what: "the catalog cannot be read", source };
    let tables = catalog.tables().await.map_err(failed)?;
    let mut found = Vec::new();
    for row in &tables {
        let named = |text: &str| text == row.name.as_str() || text == row.id.to_string();
        let folder = data.journals().join(row.id.to_string());
        if wanted.is_none_or(named) && folder.exists() {
            let checkpoint = checkpoint(&*catalog, row.id, stream).await?;
            found.push(Found { table: row.name.to_string(), folder, checkpoint });
        }
    }
    catalog.close().await;
    match wanted {
        Some(name) if found.is_empty() => Err(ServerError::Client(format!(
            "table {name} has no journal in {}; tables there are: {}",
            data.path().display(),
            tables.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
        _ => Ok(found),
    }
}

async fn checkpoint(catalog: &dyn Catalog, table: TableId, stream: &str) -> Result<i64, ServerError> {
    let checkpoints = catalog.checkpoints(table, stream).await;
    let checkpoints =
        checkpoints.map_err(|source| ServerError::Storage { what: "the catalog cannot be read", source })?;
    Ok(checkpoints.first().map_or(0, |checkpoint| checkpoint.next))
}

fn print(table: &str, report: &Report, mended: bool) {
    let records: u64 = report.files.iter().map(|file| file.records).sum();
    let torn: u64 = report.files.iter().map(|file| file.torn_bytes).sum();
    println!("{table}: {} files, {records} records that can be read", report.files.len());
    for file in &report.files {
        println!("  {}  records {} to {}", file.name, file.first, file.next);
    }
    if torn > 0 {
        println!("  {torn} bytes of a torn tail, which nobody was told to be stored");
    }
    for damage in &report.damage {
        println!("  damaged: {} at byte {}, record {}: {}", damage.file, damage.at, damage.number, damage.reason);
    }
    for gap in &report.lost {
        let word = if mended { "given up" } else { "would be given up by a repair" };
        println!("  records {} to {} {word}", gap.from, gap.to);
    }
    if mended && !report.damage.is_empty() {
        println!("  repaired; the damaged files stay beside the new ones, with .damaged at the end of their names");
    }
}
