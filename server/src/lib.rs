//! freshet-server: the parts put together, and every door into them.
//!
//! This crate decides nothing about rows or queries. It reads configuration, starts the parts, speaks the protocols, and stops in
//! the right order. Words of other systems (`dataSource` in a compatible body) end here.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line: the server itself, and the subcommands that talk to one |
//! | [`config`] | one typed tree in layers |
//! | [`data_dir`], [`storage`] | the folder, its lock and its name; catalog and deep storage |
//! | [`node`], [`startup`], [`shutdown`] | the parts of one process, its two runtimes; the order of starting and of stopping |
//! | [`queries`] | from a door to the engine and back through a bounded channel |
//! | [`http`] | routes, guards, one module for each resource, result formats, live subscriptions, the page |
//! | [`druid`] | Druid's JSON specs |
//! | [`demo`] | the seeded demo stream |
//! | [`system`] | what `sys` tells |
//! | [`coordinator`] | the care of what is stored: compaction, cleanup, scrub, copies of the catalog; drop and undo |
//! | [`tasks`] | batch tasks, one after the other |
//! | [`telemetry`] | logs and metrics |
//!
//! An address that other machines can reach is refused before anything starts:
//! ```
//! use freshet_server::config::{Config, Flags};
//!
//! let flags = Flags { listen: Some("0.0.0.0:8888".to_owned()), ..Flags::default() };
//! let refused = Config::load(None, [], &flags).unwrap_err();
//! assert!(refused.to_string().contains("no login yet"));
//! ```

pub mod cli;
pub mod config;
pub mod coordinator;
pub mod data_dir;
pub mod demo;
pub mod druid;
pub mod error;
pub mod http;
pub mod nearest;
pub mod node;
pub mod queries;
pub mod shutdown;
pub mod sockets;
pub mod startup;
pub mod storage;
pub mod system;
pub mod tasks;
pub mod telemetry;
