//! A batch read by a decoder, as texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_segment::schema::{ColumnType, TableSchema};

use super::{BadField, DecodeRules, Decoder, Rows};
use crate::spec::{DimensionSpec, DimensionsSpec, Discovery, GranularitySpec, TimeSpec};
use crate::transform::TimeColumn;

/// Every field becomes a column of the type its values show.
pub(crate) fn discovered() -> DimensionsSpec {
    DimensionsSpec::discovered()
}

/// These columns and no others.
pub(crate) fn declared(columns: &[(&str, ColumnType)]) -> DimensionsSpec {
    let spec = |(name, t): &(&str, ColumnType)| DimensionSpec { name: (*name).to_owned(), column_type: *t };
    DimensionsSpec {
        declared: columns.iter().map(spec).collect(),
        discovery: Discovery::Listed,
        include_all: false,
        exclusions: Vec::new(),
    }
}

/// Rows that were read: `null` for null.
pub(crate) struct Table {
    columns: BTreeMap<String, Vec<String>>,
    rejected: Vec<String>,
}

impl Table {
    /// Reads records whose time is in the field `ts`.
    pub(crate) fn read<R: AsRef<[u8]>>(decoder: &mut dyn Decoder, dimensions: &DimensionsSpec, records: &[R]) -> Self {
        let time = TimeSpec::auto("ts");
        let column = TimeColumn::new(&time, &GranularitySpec::default());
        let mut rows = Rows::new(DecodeRules::new(dimensions, &time, column, BadField::Null));
        let schema = Arc::new(TableSchema::new(vec![]).expect("a schema"));
        rows.begin(&schema);
        for (number, record) in (0..).zip(records) {
            decoder.decode(number, record.as_ref(), &mut rows);
        }
        let schema = schema.widen(&rows.observed()).expect("widens").unwrap_or_else(|| (*schema).clone());
        let batch = rows.batch(&schema, 0..rows.len()).expect("a batch");
        let options = FormatOptions::default().with_null("null");
        let texts = |array: &dyn Array| {
            let formatter = ArrayFormatter::try_new(array, &options).expect("a format");
            (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
        };
        let named = batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let columns = named.into_iter().zip(batch.columns()).skip(1).map(|(name, array)| (name, texts(array)));
        let said = |r: &super::rows::Rejection| format!("{}: {}", r.at.text(0).unwrap_or_default(), r.reason);
        Self { columns: columns.collect(), rejected: rows.rejections().iter().map(said).collect() }
    }

    /// The columns beside the time.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.columns.keys().map(String::as_str).collect()
    }

    /// The values of a column.
    pub(crate) fn column(&self, name: &str) -> &[String] {
        self.columns.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Place and reason of each refused row.
    pub(crate) fn rejected(&self) -> Vec<String> {
        self.rejected.clone()
    }
}
