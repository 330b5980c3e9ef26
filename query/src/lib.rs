//! SQL for Freshet: a text and a reading go in, Arrow batches come out.
//!
//! The one door is [`Engine::run`]. It knows nothing of where rows come from nor of how an answer is written down, so
//! every protocol gets the same rows.
//!
//! | module | what |
//! |---|---|
//! | `engine`, `context`, `stream` | the door; what belongs to one query; its answer as it arrives |
//! | `sql` | Druid's dialect on DataFusion's parser and planner; functions; INFORMATION_SCHEMA and sys |
//! | `plan` | a scan becomes a fragment: segments pruned, filters pushed down exactly |
//! | `fragment`, `scan` | the plan's leaf: selections and batches from segments |
//! | `columns`, `request`, `error` | plain values at the door |
//!
//! ```
//! use std::sync::Arc;
//! use freshet_query::{Engine, EngineOptions, QueryRequest};
//! use freshet_segment::{clock::SystemClock, timeline::Timeline};
//! use futures::TryStreamExt;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let engine = Engine::new(EngineOptions {
//!     timeline: Arc::new(Timeline::new()),
//!     clock: Arc::new(SystemClock::new()),
//!     memory_bytes_max: 64 << 20,
//!     threads: 2,
//!     system: None,
//! })?;
//! let answer = engine.run(QueryRequest::new("q1", "SELECT 1 + 1 AS two, 'x' AS t")).await?;
//! assert_eq!(answer.columns()[0].name, "two");
//! assert_eq!(answer.columns()[1].sql_type.to_string(), "CHAR");
//! let batches: Vec<_> = answer.try_collect().await?;
//! assert_eq!(batches[0].num_rows(), 1);
//! # Ok(()) }) }
//! ```

mod columns;
mod context;
mod engine;
pub mod error;
mod fragment;
#[cfg(test)]
mod known_answers;
mod plan;
mod request;
mod scan;
mod sql;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use columns::{NativeType, OutputColumn, SketchKind, SqlType};
pub use engine::{Engine, EngineOptions};
pub use error::{Position, QueryError, Result};
pub use request::{Missing, Parameter, ParameterValue, QueryOptions, QueryRequest, ReadingInfo, RunningQuery};
pub use sql::settings;
pub use sql::system::{DataGapRow, DeadLetterRow, ServerRow, SupervisorRow, SystemSource, TaskRow};
pub use stream::ResultStream;
