//! Names and types of an answer's columns, in Druid's words.
//!
//! Arrow's type decides, except where it cannot: a JSON text, a date (held as the instant of local midnight) and the
//! bare literals of the SELECT list, whose SQL types (`CHAR`, `INTEGER`, `DECIMAL`, `NULL`) Arrow does not have.

use std::fmt;

use arrow::datatypes::{DataType, Field};

use crate::error::{QueryError, Result};

/// Metadata key of a field whose SQL type its Arrow type does not show. Its only value so far is `DATE`.
pub(crate) const SQL_TYPE_KEY: &str = "freshet.sql_type";
/// Metadata key of the stored type, as the segments write it.
pub(crate) const STORED_TYPE_KEY: &str = "freshet.type";

/// Value of the stored type for an array of JSON.
pub(crate) const JSON_ITEMS: &str = "JSON ARRAY";

/// Sketches that a column of an answer can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SketchKind {
    /// Counts distinct values.
    Hll,
    /// Counts distinct values and knows intersections.
    Theta,
    /// Ranks and quantiles.
    Quantiles,
    /// Quantiles, finest at both ends.
    TDigest,
}

impl SketchKind {
    const ALL: [Self; 4] = [Self::Hll, Self::Theta, Self::Quantiles, Self::TDigest];

    /// Druid's name of the type.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Hll => "HLLSketch",
            Self::Theta => "thetaSketch",
            Self::Quantiles => "quantilesDoublesSketch",
            Self::TDigest => "tDigestSketch",
        }
    }

    /// A field that holds such sketches.
    pub(crate) fn field(self, name: &str) -> Field {
        let metadata = [(STORED_TYPE_KEY.to_owned(), self.type_name().to_owned())];
        Field::new(name, DataType::Binary, true).with_metadata(metadata.into())
    }

    /// The sketch that a field is marked with.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        let name = field.metadata().get(STORED_TYPE_KEY)?;
        Self::ALL.into_iter().find(|kind| kind.type_name() == name)
    }
}

/// A field of JSON texts.
pub(crate) fn json_field(name: &str) -> Field {
    let metadata = [(STORED_TYPE_KEY.to_owned(), "JSON".to_owned())];
    Field::new(name, DataType::Utf8View, true).with_metadata(metadata.into())
}

/// Druid's native types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NativeType {
    String,
    Long,
    Double,
    Float,
    ArrayString,
    ArrayLong,
    ArrayDouble,
    ArrayJson,
    ComplexJson,
    Sketch(SketchKind),
    Complex,
}

impl fmt::Display for NativeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Sketch(kind) = self {
            return write!(f, "COMPLEX<{}>", kind.type_name());
        }
        f.write_str(match self {
            Self::String => "STRING",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::Float => "FLOAT",
            Self::ArrayString => "ARRAY<STRING>",
            Self::ArrayLong => "ARRAY<LONG>",
            Self::ArrayDouble => "ARRAY<DOUBLE>",
            Self::ArrayJson => "ARRAY<COMPLEX<json>>",
            Self::ComplexJson => "COMPLEX<json>",
            Self::Sketch(_) | Self::Complex => "COMPLEX",
        })
    }
}

/// SQL types as JDBC names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SqlType {
    Varchar,
    Char,
    Bigint,
    Integer,
    Decimal,
    Double,
    Float,
    Boolean,
    Timestamp,
    Date,
    Array,
    Null,
    Other,
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varchar => "VARCHAR",
            Self::Char => "CHAR",
            Self::Bigint => "BIGINT",
            Self::Integer => "INTEGER",
            Self::Decimal => "DECIMAL",
            Self::Double => "DOUBLE",
            Self::Float => "FLOAT",
            Self::Boolean => "BOOLEAN",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Array => "ARRAY",
            Self::Null => "NULL",
            Self::Other => "OTHER",
        })
    }
}

/// One column of an answer. Several may share a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// As the SELECT list names it; `EXPR$n` when it does not.
    pub name: String,
    /// Druid's native type.
    pub native_type: NativeType,
    /// SQL type.
    pub sql_type: SqlType,
}

impl OutputColumn {
    /// The column that shows `field` under `name`; `literal` overrides the SQL type.
    pub(crate) fn new(name: String, field: &Field, literal: Option<SqlType>) -> Self {
        let (native_type, sql_type) = types_of(field);
        let native_type = if literal == Some(SqlType::Null) { NativeType::String } else { native_type };
        Self { name, native_type, sql_type: literal.unwrap_or(sql_type) }
    }
}

fn types_of(field: &Field) -> (NativeType, SqlType) {
    if field.metadata().get(STORED_TYPE_KEY).is_some_and(|t| t == "JSON") {
        return (NativeType::ComplexJson, SqlType::Other);
    }
    if field.metadata().get(STORED_TYPE_KEY).is_some_and(|t| t == JSON_ITEMS) {
        return (NativeType::ArrayJson, SqlType::Array);
    }
    if let Some(kind) = SketchKind::of(field) {
        return (NativeType::Sketch(kind), SqlType::Other);
    }
    if field.metadata().get(SQL_TYPE_KEY).is_some_and(|t| t == "DATE") {
        return (NativeType::Long, SqlType::Date);
    }
    scalar_types(field.data_type())
}

fn scalar_types(data_type: &DataType) -> (NativeType, SqlType) {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (NativeType::String, SqlType::Varchar),
        DataType::Dictionary(_, value) => scalar_types(value),
        DataType::Boolean => (NativeType::Long, SqlType::Boolean),
        DataType::Int64 | DataType::UInt64 | DataType::UInt32 => (NativeType::Long, SqlType::Bigint),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            (NativeType::Long, SqlType::Integer)
        }
        DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            (NativeType::Double, SqlType::Double)
        }
        DataType::Float16 | DataType::Float32 => (NativeType::Float, SqlType::Float),
        DataType::Timestamp(..) => (NativeType::Long, SqlType::Timestamp),
        DataType::Date32 | DataType::Date64 => (NativeType::Long, SqlType::Date),
        DataType::Null => (NativeType::String, SqlType::Null),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::FixedSizeList(item, _) => {
            let native = match scalar_types(item.data_type()).0 {
                NativeType::Long => NativeType::ArrayLong,
                NativeType::Double | NativeType::Float => NativeType::ArrayDouble,
                _ => NativeType::ArrayString,
            };
            (native, SqlType::Array)
        }
        _ => (NativeType::Complex, SqlType::Other),
    }
}

/// What a type is called in SQL, for messages.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Struct(_) => "ROW".to_owned(),
        DataType::Map(..) => "MAP".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{} ARRAY", type_name(item.data_type()))
        }
        _ => match scalar_types(data_type) {
            (NativeType::Complex, _) => "a sketch".to_owned(),
            (_, sql_type) => sql_type.to_string(),
        },
    }
}

/// Refuses a column of the answer that no protocol can write.
pub(crate) fn check_shown(name: &str, field: &Field) -> Result<()> {
    let hint = match field.data_type() {
        DataType::Interval(_) => "add it to a TIMESTAMP, or subtract it from one",
        DataType::Duration(_) => "TIMESTAMPDIFF(unit, from, to) gives the difference of two times as a number",
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => {
            "write its parts as columns, or make JSON of them with JSON_OBJECT"
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
            if !field.metadata().contains_key(STORED_TYPE_KEY) && !field.metadata().contains_key(SQL_TYPE_KEY) =>
        {
            "cast it to a type that has a text"
        }
        DataType::Time32(_) | DataType::Time64(_) => "cast it to TIMESTAMP or VARCHAR",
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return check_shown(name, item);
        }
        _ => return Ok(()),
    };
    let what = type_name(field.data_type());
    Err(QueryError::invalid(format!("column \"{name}\" of the answer is of type {what}, which cannot be shown"))
        .with_hint(Some(hint.to_owned())))
}
