//! The command line. Without a subcommand `freshet` is the server. `sql`, `push` and `files` talk to a running one over HTTP, so
//! they can do nothing that any other program could not; `journal` and `catalog` work on the data directory of one that does not
//! run, under its lock.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Flags, process_environment};
use crate::data_dir::DataDir;
use crate::error::ServerError;
use crate::http;
use crate::http::front::Front;
use crate::node::{Node, ROLES, Runtimes};
use crate::shutdown::{self, Signals};
use crate::sockets::Sockets;
use crate::startup;
use crate::telemetry;

mod catalog;
mod client;
mod journal;
mod offline;

/// Time the last answers have after everything else has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Freshet: real-time OLAP. Takes events from Kafka and HTTP push, answers SQL over them within a second of arrival.
#[derive(Debug, Parser)]
#[command(name = "freshet", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (TOML); each flag below is also a key of it, and a variable FRESHET_*
    #[arg(long, value_name = "FILE", env = "FRESHET_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks a running server
    Sql(client::Sql),
    /// Sends a file of JSON rows to a table of a running server
    Push(client::Push),
    /// Lists the sealed files of a table of a running server
    Files(client::Files),
    /// Looks at the journals of a data directory, or repairs them
    #[command(subcommand)]
    Journal(journal::Journal),
    /// Checks, copies or makes again the catalog of a data directory
    #[command(subcommand)]
    Catalog(catalog::Catalog),
    /// Prints the version
    Version,
}

/// Does what the arguments say, and gives the exit code: 0, or 1 after a failure, or 2 for arguments that cannot be understood.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, printed to stdout with code 0.
            let _unwritable = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match arguments.command {
        None => serve(arguments.config, &arguments.flags),
        Some(Command::Sql(sql)) => sql.run(),
        Some(Command::Push(push)) => push.run(),
        Some(Command::Files(files)) => files.run(),
        Some(Command::Journal(journal)) => journal.run(),
        Some(Command::Catalog(catalog)) => catalog.run(),
        Some(Command::Version) => {
            println!("freshet {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshet: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn serve(file: Option<PathBuf>, flags: &Flags) -> Result<(), ServerError> {
    let config = Config::load(file.as_deref(), process_environment(), flags)?;
    telemetry::start(&config)?;
    let data = DataDir::open(&config.data_dir)?;
    let runtimes = Runtimes::start(config.threads())?;
    let compute = runtimes.compute.handle().clone();
    let served = runtimes.io.block_on(serve_until_signal(config, &data, compute));
    // A query that does not look at its cancellation must not hold the process.
    runtimes.compute.shutdown_timeout(LAST_ANSWERS);
    runtimes.io.shutdown_timeout(LAST_ANSWERS);
    served
}

async fn serve_until_signal(
    config: Config,
    data: &DataDir,
    compute: tokio::runtime::Handle,
) -> Result<(), ServerError> {
    let mut signals = Signals::install()?;
    let listener = listen(config.address()?).await?;
    let address = listener
        .local_addr()
        .map_err(|error| ServerError::Listen { address: config.listen.clone(), reason: error.to_string() })?;
    let listener = Sockets::new(listener, config.reader_stall());
    let closed = CancellationToken::new();
    let front = Front::default();
    let server = axum::serve(listener, front.router()).with_graceful_shutdown(closed.clone().cancelled_owned());
    let serving = tokio::spawn(server.into_future());
    let starting = async {
        let node = Node::open(config, data, address, tokio::runtime::Handle::current(), compute).await?;
        startup::recover(&node, data).await?;
        Ok::<_, ServerError>(node)
    };
    let node = tokio::select! {
        started = starting => started?,
        // Nothing was taken in yet that an end could lose.
        signal = signals.recv() => {
            println!("freshet: {signal} while starting");
            return Ok(());
        }
    };
    front.open(http::router(&node));
    greet(&node, data);
    if node.config.demo {
        node.demo.start(None, None).await;
    }
    let signal = signals.recv().await;
    println!("freshet: {signal}, finishing what runs (again to stop at once)");
    tokio::select! {
        () = shutdown::drain(&node, &closed) => {}
        _ = signals.recv() => {
            return Err(ServerError::Client(
                "stopped at once: running requests are lost, and nothing that was acknowledged".to_owned(),
            ));
        }
    }
    if tokio::time::timeout(LAST_ANSWERS, serving).await.is_err() {
        tracing::warn!("some clients did not take their last answer");
    }
    println!("freshet: stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = if error.kind() == std::io::ErrorKind::AddrInUse {
            format!(
                "{error}; stop the program that listens there, or take another port with --listen {}:0",
                address.ip()
            )
        } else {
            error.to_string()
        };
        ServerError::Listen { address: address.to_string(), reason }
    })
}

/// Three lines: what runs where, whose data, where it is kept.
fn greet(node: &Node, data: &DataDir) {
    let address = node.address;
    println!(
        "freshet {}  {} in one process  page http://{address}/ui/  SQL http://{address}/druid/v2/sql",
        env!("CARGO_PKG_VERSION"),
        ROLES.join(", ")
    );
    println!(
        "data directory {} (locked by this process)  memory {} MiB",
        data.path().display(),
        node.memory.total >> 20
    );
    println!("deep storage {}  acknowledged rows survive a restart", node.deep_place);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn unknown_flags_name_the_nearest() {
        let error = Arguments::try_parse_from(["freshet", "--data-dri", "x"]).unwrap_err().to_string();
        assert!(error.contains("unexpected argument '--data-dri'") && error.contains("'--data-dir'"), "{error}");
        let error = Arguments::try_parse_from(["freshet", "pusj"]).unwrap_err().to_string();
        assert!(error.contains("push"), "{error}");
    }
}
