//! Rows, indexes, the catalog and the timeline of Freshet: what is stored, and what can be seen of it.
//!
//! This is the lowest crate: it knows Arrow, and neither SQL nor any source of rows. Ingestion and queries meet here and
//! nowhere else, at the [`timeline`].
//!
//! | module | what |
//! |---|---|
//! | [`time`], [`clock`], [`id`], [`number`] | instants, intervals, calendars; where time comes from; names; numbers as text |
//! | [`schema`] | a table's columns, and how they widen |
//! | [`growing`] | rows in memory, appended to by one task, queryable at once |
//! | [`predicate`], [`index`], [`selection`] | which rows are wanted, and which they are |
//! | [`sealed`], [`deep_storage`] | rows in Parquet files with an index beside them; where these are kept for good |
//! | [`timeline`], [`freshness`] | what a query sees; how soon it sees it |
//! | [`disk`], [`journal`], [`failpoint`] | file calls; the durable log of pushes; where a test lets a step fail |
//! | [`catalog`] | what is official: tables, schemas, leases, checkpoints, sealed segments, in one transaction |
//!
//! Rows become visible when their snapshot is published, and a reading taken before does not see them:
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
//! use freshet_segment::{growing::GrowingSegment, id::{SegmentId, TableId, TableName, Version}, schema::*, time::*};
//! use freshet_segment::timeline::{Timeline, Visible};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name: TableName = "clicks".parse()?;
//! let schema = Arc::new(TableSchema::new(vec![Column::dimension("bytes", ColumnType::Long)])?);
//! let timeline = Timeline::new();
//! let table = timeline.create_table(TableId(1), &name, schema.clone());
//! let before = timeline.reading();
//! assert_eq!(before.table("clicks").map(|t| t.rows()), Some(0));
//!
//! let at = Timestamp::parse("2015-09-12T00:46:58.771Z")?;
//! let id = SegmentId { table: name, interval: Granularity::DAY.bucket(at), version: Version::at(at), number: 1 };
//! let mut segment = GrowingSegment::new(id, schema.clone());
//! let times = TimestampMillisecondArray::from(vec![at.as_millis(); 3]).with_timezone("UTC");
//! let columns: [(&str, ArrayRef); 2] =
//!     [("__time", Arc::new(times)), ("bytes", Arc::new(Int64Array::from(vec![Some(7), None, Some(9)])))];
//! segment.append(&RecordBatch::try_from_iter(columns)?, &[0, 2])?;
//! table.publish(vec![segment.snapshot()], Visible { schema, min_changed: at, produced_max: None });
//!
//! assert_eq!(timeline.reading().table("clicks").map(|t| t.rows()), Some(2));
//! assert_eq!(before.table("clicks").map(|t| t.rows()), Some(0));
//! # Ok(()) }
//! ```

pub mod catalog;
pub mod clock;
pub mod deep_storage;
pub mod disk;
pub mod error;
pub mod failpoint;
pub mod freshness;
pub mod growing;
pub mod id;
pub mod index;
pub mod journal;
pub mod number;
pub mod predicate;
pub mod schema;
pub mod sealed;
pub mod selection;
pub mod time;
pub mod timeline;

pub use error::{ErrorKind, Result, SegmentError};
