//! What a caller hands in and what comes back beside the rows: plain values, the same for every protocol.

use std::fmt;
use std::time::Duration;

use freshet_segment::id::SegmentId;
use freshet_segment::time::{Timestamp, Zone};

/// One query as a protocol understood it.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// Name by which it can be cancelled; need not be unique.
    pub query_id: String,
    /// The text, with any leading `SET` statements.
    pub sql: String,
    /// Values of `?`, in order.
    pub parameters: Vec<Parameter>,
    /// Everything else.
    pub options: QueryOptions,
}

impl QueryRequest {
    /// A query without parameters, in UTC and without a deadline.
    pub fn new(query_id: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { query_id: query_id.into(), sql: sql.into(), parameters: Vec::new(), options: QueryOptions::default() }
    }
}

/// How to understand and bound a query. A leading `SET` wins over these.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Zone of literals, buckets and dates (`sqlTimeZone`).
    pub zone: Zone,
    /// Time from the start of `run` to the last batch; none: no deadline.
    pub timeout: Option<Duration>,
    /// Largest number of rows to answer (`sqlOuterLimit`).
    pub outer_limit: Option<u64>,
    /// Whether filters may be answered by the segments themselves. Off only where both ways are compared.
    pub filter_pushdown: bool,
    /// Whether an answer may lack what cannot be read now (`allowPartial`); what it lacks is listed.
    pub allow_partial: bool,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { zone: Zone::Utc, timeout: None, outer_limit: None, filter_pushdown: true, allow_partial: false }
    }
}

/// Value of one `?`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// SQL type name: `VARCHAR`, `BIGINT`, `INTEGER`, `DOUBLE`, `TIMESTAMP`, `DATE`, `BOOLEAN`, `ARRAY`, ...
    pub sql_type: String,
    /// The value.
    pub value: ParameterValue,
}

/// The value of a parameter as the protocol carried it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ParameterValue {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    String(String),
    Array(Vec<Self>),
}

impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::String(value) => write!(f, "{value:?}"),
            Self::Array(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(","))
            }
        }
    }
}

/// What a query saw.
#[derive(Debug, Clone)]
pub struct ReadingInfo {
    /// When the reading was taken; also the query's CURRENT_TIMESTAMP.
    pub at: Timestamp,
    /// Latest production time among the rows of the tables read, where the source tells it.
    pub produced_max: Option<Timestamp>,
    /// Tables read and the sequence number of each one's view.
    pub tables: Vec<(String, u64)>,
}

/// What a partial answer lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// Rows of a table that is being recovered.
    Rows {
        /// The table.
        table: String,
        /// What it waits for.
        reason: String,
    },
    /// A sealed segment that cannot be read.
    Segment(SegmentId),
}

/// A query that is running.
#[derive(Debug, Clone)]
pub struct RunningQuery {
    /// As requested.
    pub query_id: String,
    /// The text.
    pub sql: String,
    /// When it came.
    pub started: Timestamp,
}
