//! A table's columns: what they hold, and how a schema may widen.
//!
//! The schema lives in the catalog and only widens: LONG to DOUBLE to STRING, one value to several, anything to JSON when
//! an object appears. Segments and chunks keep the types they were written with; a reader asks for a column in the type
//! of *its* reading's schema and gets it cast, or null where the column is missing.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::{Result, SegmentError};

/// Name of the time column of every table.
pub const TIME_COLUMN: &str = "__time";
/// Metadata key of an Arrow field that names the column's type where Arrow's own type does not tell.
pub const TYPE_KEY: &str = "freshet.type";
/// Metadata key of an Arrow field whose rows may hold several values.
pub const MULTI_KEY: &str = "freshet.multi";
/// Most columns a table may have.
pub const COLUMN_COUNT_MAX: usize = 10_000;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// 64-bit integer.
    Long,
    /// 64-bit floating point.
    Double,
    /// 32-bit floating point.
    Float,
    /// UTF-8 text, dictionary encoded.
    String,
    /// Milliseconds in UTC.
    Timestamp,
    /// Canonical JSON text.
    Json,
}

impl ColumnType {
    /// The name used in schemas, answers and field metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::Float => "FLOAT",
            Self::String => "STRING",
            Self::Timestamp => "TIMESTAMP",
            Self::Json => "JSON",
        }
    }

    /// The Arrow type a reader gets.
    pub fn arrow_type(self) -> DataType {
        match self {
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Float => DataType::Float32,
            Self::String | Self::Json => DataType::Utf8View,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))),
        }
    }

    /// The narrowest type that holds both: a column that was one and now meets the other becomes this.
    pub fn widen(self, other: Self) -> Self {
        use ColumnType::{Double, Float, Json, Long, String, Timestamp};
        match (self, other) {
            (a, b) if a == b => a,
            (Json, _) | (_, Json) => Json,
            (Long | Double | Float, Double) | (Double, Long | Float) | (Float, Long) | (Long, Float) => Double,
            (String, _) | (_, String) | (Timestamp, _) | (_, Timestamp) => String,
            (a, _) => a,
        }
    }

    /// Whether values are text behind a dictionary.
    pub fn is_text(self) -> bool {
        matches!(self, Self::String | Self::Json)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ColumnType {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        Ok(match s.to_ascii_uppercase().as_str() {
            "LONG" => Self::Long,
            "DOUBLE" => Self::Double,
            "FLOAT" => Self::Float,
            "STRING" => Self::String,
            "TIMESTAMP" => Self::Timestamp,
            "JSON" => Self::Json,
            _ => {
                return Err(SegmentError::invalid(
                    "column type",
                    format!("`{s}` is none of LONG, DOUBLE, FLOAT, STRING, TIMESTAMP, JSON"),
                ));
            }
        })
    }
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnRole {
    /// The time column.
    Time,
    /// One groups and filters by it.
    Dimension,
    /// One aggregates it.
    Metric,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name; case-sensitive.
    pub name: Arc<str>,
    /// What it holds.
    pub column_type: ColumnType,
    /// What it is for.
    pub role: ColumnRole,
    /// Raised for ever by the first row with several values; such a row's text is a JSON array.
    pub multi_value: bool,
}

impl Column {
    /// The time column.
    pub fn time() -> Self {
        Self {
            name: Arc::from(TIME_COLUMN),
            column_type: ColumnType::Timestamp,
            role: ColumnRole::Time,
            multi_value: false,
        }
    }

    /// A dimension with one value a row.
    pub fn dimension(name: &str, column_type: ColumnType) -> Self {
        Self { name: Arc::from(name), column_type, role: ColumnRole::Dimension, multi_value: false }
    }

    /// The Arrow field a reader gets, with the column's own type in its metadata.
    pub fn field(&self) -> Field {
        let nullable = self.role != ColumnRole::Time;
        let mut metadata = HashMap::from([(TYPE_KEY.to_owned(), self.column_type.name().to_owned())]);
        if self.multi_value {
            metadata.insert(MULTI_KEY.to_owned(), "true".to_owned());
        }
        Field::new(&*self.name, self.column_type.arrow_type(), nullable).with_metadata(metadata)
    }
}

/// A column as a batch of rows shows it; a schema widens to take it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its name.
    pub name: Arc<str>,
    /// What the batch holds.
    pub column_type: ColumnType,
    /// What the column is for, if it is new.
    pub role: ColumnRole,
    /// Whether some row holds several values.
    pub multi_value: bool,
}

impl Observed {
    /// Reads a field of an incoming batch.
    ///
    /// # Errors
    /// `Invalid` when the field has an Arrow type that no column has, or a bad type name in its metadata.
    pub fn from_field(field: &Field) -> Result<Self> {
        let column_type = match field.metadata().get(TYPE_KEY) {
            Some(name) => name.parse()?,
            None => match field.data_type() {
                DataType::Int64 => ColumnType::Long,
                DataType::Float64 => ColumnType::Double,
                DataType::Float32 => ColumnType::Float,
                DataType::Utf8 | DataType::Utf8View => ColumnType::String,
                DataType::Timestamp(TimeUnit::Millisecond, _) => ColumnType::Timestamp,
                other => {
                    return Err(SegmentError::invalid(
                        "batch",
                        format!("column `{}` has Arrow type {other}, which no column can hold", field.name()),
                    ));
                }
            },
        };
        let role = if field.name() == TIME_COLUMN { ColumnRole::Time } else { ColumnRole::Dimension };
        let multi_value = field.metadata().get(MULTI_KEY).is_some_and(|v| v == "true");
        Ok(Self { name: Arc::from(field.name().as_str()), column_type, role, multi_value })
    }
}

/// The columns of a table, the time column first.
#[derive(Debug, Clone)]
pub struct TableSchema {
    version: u64,
    columns: Vec<Column>,
    by_name: HashMap<Arc<str>, usize>,
    arrow: SchemaRef,
}

impl TableSchema {
    /// A schema of the time column and `columns`, in this order.
    ///
    /// # Errors
    /// `Invalid` when a name comes twice, is empty, is the time column's, or there are more than 10,000 columns.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        let mut all = vec![Column::time()];
        all.extend(columns);
        Self::build(1, all)
    }

    /// A schema as it was kept: all columns, the time column first.
    pub(crate) fn restore(version: u64, columns: Vec<Column>) -> Result<Self> {
        if columns.first() != Some(&Column::time()) || version == 0 {
            return Err(SegmentError::invalid(
                "table schema",
                "it does not begin with the time column, or has no version",
            ));
        }
        Self::build(version, columns)
    }

    fn build(version: u64, columns: Vec<Column>) -> Result<Self> {
        if columns.len() > COLUMN_COUNT_MAX {
            return Err(SegmentError::Full {
                what: "table schema",
                limit: COLUMN_COUNT_MAX as u64,
                cure: "list the wanted dimensions in the spec, or nest rare fields in one object",
            });
        }
        let mut by_name = HashMap::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            if column.name.is_empty() {
                return Err(SegmentError::invalid("table schema", "a column has no name"));
            }
            if by_name.insert(Arc::clone(&column.name), index).is_some() {
                return Err(SegmentError::invalid("table schema", format!("column `{}` comes twice", column.name)));
            }
        }
        let arrow = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        Ok(Self { version, columns, by_name, arrow })
    }

    /// Grows by one with each widening.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All columns, the time column first, then in the order they were declared or seen.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Position of a column.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.index_of(name).map(|i| &self.columns[i])
    }

    /// The schema of the batches a reader gets.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    /// The schema that also holds `observed`; nothing when this one does already.
    ///
    /// # Errors
    /// `Full` past 10,000 columns; `Invalid` when the time column would change.
    pub fn widen(&self, observed: &[Observed]) -> Result<Option<Self>> {
        let mut columns = self.columns.clone();
        let mut changed = false;
        let mut added: HashMap<&str, usize> = HashMap::new();
        for seen in observed {
            if &*seen.name == TIME_COLUMN {
                if seen.column_type != ColumnType::Timestamp {
                    return Err(SegmentError::invalid("table schema", "`__time` holds timestamps and cannot change"));
                }
                continue;
            }
            match self.index_of(&seen.name).or_else(|| added.get(&*seen.name).copied()) {
                None => {
                    added.insert(&seen.name, columns.len());
                    columns.push(Column {
                        name: Arc::clone(&seen.name),
                        column_type: seen.column_type,
                        role: ColumnRole::Dimension,
                        multi_value: seen.multi_value,
                    });
                    changed = true;
                }
                Some(index) => {
                    let column = &mut columns[index];
                    let mut wide = column.column_type.widen(seen.column_type);
                    let multi_value = column.multi_value || seen.multi_value;
                    if multi_value && wide != ColumnType::Json {
                        wide = ColumnType::String;
                    }
                    changed |= wide != column.column_type || multi_value != column.multi_value;
                    column.column_type = wide;
                    column.multi_value = multi_value;
                }
            }
        }
        if changed { Self::build(self.version + 1, columns).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, column_type: ColumnType) -> Observed {
        Observed { name: Arc::from(name), column_type, role: ColumnRole::Dimension, multi_value: false }
    }

    #[test]
    fn a_schema_only_widens() {
        let schema = TableSchema::new(vec![Column::dimension("n", ColumnType::Long)]).expect("a schema");
        assert!(schema.widen(&[seen("n", ColumnType::Long)]).expect("nothing new").is_none());
        let wider = schema
            .widen(&[seen("n", ColumnType::Double), seen("s", ColumnType::String)])
            .expect("fits")
            .expect("wider");
        assert_eq!(wider.version(), 2);
        assert_eq!(wider.column("n").map(|c| c.column_type), Some(ColumnType::Double));
        assert_eq!(wider.index_of("s"), Some(2));
        let text = wider.widen(&[seen("n", ColumnType::String)]).expect("fits").expect("wider");
        assert!(text.widen(&[seen("n", ColumnType::Long)]).expect("fits").is_none(), "a string column never narrows");
        let json = text.widen(&[seen("n", ColumnType::Json)]).expect("fits").expect("wider");
        assert_eq!(json.column("n").map(|c| c.column_type), Some(ColumnType::Json));
    }

    #[test]
    fn widening_is_commutative_and_idempotent() {
        use ColumnType::{Double, Float, Json, Long, String, Timestamp};
        let all = [Long, Double, Float, String, Timestamp, Json];
        for a in all {
            for b in all {
                let wide = a.widen(b);
                assert_eq!(wide, b.widen(a), "{a} {b}");
                assert_eq!((wide.widen(a), wide.widen(b)), (wide, wide), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_time_column_is_fixed_and_names_are_unique() {
        let schema = TableSchema::new(vec![]).expect("a schema");
        assert!(schema.widen(&[seen(TIME_COLUMN, ColumnType::Long)]).is_err());
        let twice = vec![Column::dimension("a", ColumnType::Long), Column::dimension("a", ColumnType::Long)];
        assert!(TableSchema::new(twice).is_err());
        assert!(TableSchema::new(vec![Column::dimension(TIME_COLUMN, ColumnType::Long)]).is_err());
    }
}
