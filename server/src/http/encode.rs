//! Batches → bytes: `object`, `array`, `csv`, the Lines forms, and Arrow's IPC stream.
//!
//! The bytes are Druid's (contract sections 1.3 and 1.4), because clients depend on details: the empty line that ends Lines and
//! csv shows that nothing was cut, whole doubles keep `.0` so that type sniffing sees a float, and a backslash in `object` rows is
//! written `\u005c`, because one client loses its quote state on a string that ends in `\\`.
//!
//! A batch is downcast once per column into a [`Cells`]; rows are then written cell by cell into one growing buffer, without a
//! string or a boxed value per cell. Timestamps are written by hand for the same reason.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use freshet_query::{OutputColumn, QueryError, ReadingInfo, ResultStream, SqlType};
use freshet_segment::time::Zone;

use super::cells::{Cells, Text, can_write, write_string};

/// One of the result formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of objects.
    Object,
    /// A JSON array of arrays.
    Array,
    /// One object a line.
    ObjectLines,
    /// One array a line.
    ArrayLines,
    /// Comma-separated values.
    Csv,
    /// Arrow IPC stream; ours.
    Arrow,
}

impl Format {
    /// The names, as clients write them; matched without regard to case.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("object", Self::Object),
        ("array", Self::Array),
        ("objectLines", Self::ObjectLines),
        ("arrayLines", Self::ArrayLines),
        ("csv", Self::Csv),
        ("arrow", Self::Arrow),
    ];

    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| format)
    }

    /// `Content-Type` of an answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Object | Self::Array => "application/json",
            Self::ObjectLines | Self::ArrayLines => "text/plain",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// How an answer is to look.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The format.
    pub format: Format,
    /// Whether names come first.
    pub header: bool,
    /// Whether the header says native types.
    pub types: bool,
    /// Whether the header says SQL types.
    pub sql_types: bool,
    /// Zone of timestamps.
    pub zone: Zone,
    /// Whether arrays are written as strings that hold JSON.
    pub stringify_arrays: bool,
    /// Metadata of the Arrow schema.
    pub metadata: Vec<(String, String)>,
    /// Whether the Arrow schema's metadata says what was read: `produced`, in epoch ms or empty.
    pub produced: bool,
}

impl Shape {
    /// A format with nothing else asked for.
    #[must_use]
    pub fn plain(format: Format) -> Self {
        Self {
            format,
            header: false,
            types: false,
            sql_types: false,
            zone: Zone::Utc,
            stringify_arrays: true,
            metadata: Vec::new(),
            produced: false,
        }
    }
}

/// Why an answer cannot be written in any format, when one of its columns is of a type that none of them has.
#[must_use]
pub fn unwritable(answer: &ResultStream) -> Option<QueryError> {
    let columns = answer.columns().iter().zip(answer.schema().fields());
    let (index, (column, field)) = columns.enumerate().find(|(_, (_, field))| !can_write(field.data_type()))?;
    let kind = type_word(field.data_type());
    Some(QueryError::Invalid {
        message: format!("column {} (`{}`) is of type {kind}, which no answer can hold", index + 1, column.name),
        position: None,
        hint: Some("select its parts, or CAST it to VARCHAR, BIGINT or DOUBLE".to_owned()),
    })
}

/// What people call a type that is not written.
fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(_) => "ROW".to_owned(),
        DataType::Map(..) => "MAP".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("ARRAY of {}", type_word(item.data_type()))
        }
        other => other.to_string(),
    }
}

/// Writes one result. `new`, any number of `push`, `finish`; `take` in between as often as wanted.
pub struct Encoder {
    shape: Shape,
    out: Vec<u8>,
    /// For each column `"name":` as `object` rows have it.
    keys: Vec<Vec<u8>>,
    rows_written: bool,
    arrow: Option<ArrowStream>,
}

impl Encoder {
    /// Writes what stands before the first row.
    ///
    /// # Errors
    /// When Arrow refuses the schema.
    pub fn new(shape: Shape, columns: &[OutputColumn], info: &ReadingInfo) -> Result<Self, ArrowError> {
        let keys = columns
            .iter()
            .map(|column| {
                let mut key = Vec::new();
                write_string(&mut key, &column.name, Text::Object);
                key.push(b':');
                key
            })
            .collect();
        let mut encoder = Self { shape, out: Vec::new(), keys, rows_written: false, arrow: None };
        if encoder.shape.format == Format::Arrow {
            encoder.arrow = Some(ArrowStream::new(&encoder.shape, columns, info)?);
            return Ok(encoder);
        }
        if matches!(encoder.shape.format, Format::Object | Format::Array) {
            encoder.out.push(b'[');
        }
        if encoder.shape.header {
            encoder.header(columns);
        }
        Ok(encoder)
    }

    /// Bytes waiting to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() + self.arrow.as_ref().map_or(0, ArrowStream::len)
    }

    /// Whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes so far.
    pub fn take(&mut self) -> Bytes {
        match &mut self.arrow {
            Some(stream) => stream.take(),
            None => std::mem::take(&mut self.out).into(),
        }
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// When a column is of a type that cannot be written.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        if let Some(stream) = &mut self.arrow {
            return stream.push(batch);
        }
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields());
        let cells = columns.map(|(column, field)| Cells::of(column, field)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            match self.shape.format {
                Format::Object | Format::ObjectLines => self.object_row(&cells, row),
                Format::Array | Format::ArrayLines => self.array_row(&cells, row),
                Format::Csv => self.csv_row(&cells, row),
                Format::Arrow => {}
            }
        }
        Ok(())
    }

    /// Writes what stands after the last row.
    ///
    /// # Errors
    /// When Arrow's writer fails.
    pub fn finish(&mut self) -> Result<(), ArrowError> {
        match self.shape.format {
            Format::Object | Format::Array => self.out.extend_from_slice(b"]\n"),
            Format::ObjectLines | Format::ArrayLines => {
                self.out.extend_from_slice(if self.rows_written { b"\n" } else { b"\n\n" });
            }
            Format::Csv => self.out.push(b'\n'),
            Format::Arrow => {
                if let Some(stream) = &mut self.arrow {
                    stream.finish()?;
                }
            }
        }
        Ok(())
    }

    fn separate(&mut self) {
        if self.rows_written && matches!(self.shape.format, Format::Object | Format::Array) {
            self.out.push(b',');
        }
        self.rows_written = true;
    }

    fn end_line(&mut self) {
        if !matches!(self.shape.format, Format::Object | Format::Array) {
            self.out.push(b'\n');
        }
    }

    fn object_row(&mut self, cells: &[Cells<'_>], row: usize) {
        self.separate();
        let mut mark = b'{';
        for (key, cells) in self.keys.iter().zip(cells) {
            self.out.push(mark);
            mark = b',';
            self.out.extend_from_slice(key);
            cells.write_json(&mut self.out, row, Text::Object, &self.shape.zone, self.shape.stringify_arrays);
        }
        if mark == b'{' {
            self.out.push(mark);
        }
        self.out.push(b'}');
        self.end_line();
    }

    fn array_row(&mut self, cells: &[Cells<'_>], row: usize) {
        self.separate();
        let mut mark = b'[';
        for cells in cells {
            self.out.push(mark);
            mark = b',';
            cells.write_json(&mut self.out, row, Text::Plain, &self.shape.zone, self.shape.stringify_arrays);
        }
        if mark == b'[' {
            self.out.push(mark);
        }
        self.out.push(b']');
        self.end_line();
    }

    fn csv_row(&mut self, cells: &[Cells<'_>], row: usize) {
        let start = self.out.len();
        for (index, cells) in cells.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            cells.write_csv(&mut self.out, row, &self.shape.zone);
        }
        if self.out.len() == start {
            // Not to be mistaken for the empty line at the end.
            self.out.extend_from_slice(b"\"\"");
        }
        self.out.push(b'\n');
        self.rows_written = true;
    }

    fn header(&mut self, columns: &[OutputColumn]) {
        match self.shape.format {
            Format::Object | Format::ObjectLines => {
                self.separate();
                self.out.push(b'{');
                for (index, column) in columns.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    write_string(&mut self.out, &column.name, Text::Object);
                    self.out.push(b':');
                    let types = [
                        (self.shape.types, "type", column.native_type.to_string()),
                        (self.shape.sql_types, "sqlType", column.sql_type.to_string()),
                    ];
                    let mut mark = b'{';
                    for (_, key, value) in types.iter().filter(|(wanted, ..)| *wanted) {
                        self.out.push(mark);
                        mark = b',';
                        write_string(&mut self.out, key, Text::Object);
                        self.out.push(b':');
                        write_string(&mut self.out, value, Text::Object);
                    }
                    self.out.extend_from_slice(if mark == b'{' { b"null" } else { b"}" });
                }
                self.out.push(b'}');
                self.end_line();
            }
            Format::Array | Format::ArrayLines | Format::Csv => {
                self.header_row(columns.iter().map(|column| column.name.clone()));
                if self.shape.types {
                    self.header_row(columns.iter().map(|column| column.native_type.to_string()));
                }
                if self.shape.sql_types {
                    self.header_row(columns.iter().map(|column| column.sql_type.to_string()));
                }
            }
            Format::Arrow => {}
        }
    }

    fn header_row(&mut self, texts: impl Iterator<Item = String>) {
        let csv = self.shape.format == Format::Csv;
        if !csv {
            self.separate();
            self.out.push(b'[');
        }
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            if csv {
                super::cells::write_csv_text(&mut self.out, &text);
            } else {
                write_string(&mut self.out, &text, Text::Plain);
            }
        }
        if !csv {
            self.out.push(b']');
        }
        self.rows_written = true;
        self.end_line();
    }
}

/// Arrow's stream, in the types that every reader has: strings as Utf8 rather than as views, times in milliseconds. The schema
/// comes from the output columns, so a result without rows has it too.
struct ArrowStream {
    schema: SchemaRef,
    writer: Option<StreamWriter<Vec<u8>>>,
    done: Vec<u8>,
}

impl ArrowStream {
    fn new(shape: &Shape, columns: &[OutputColumn], info: &ReadingInfo) -> Result<Self, ArrowError> {
        let mut metadata: HashMap<String, String> = shape.metadata.iter().cloned().collect();
        if shape.produced {
            let produced = info.produced_max.map_or_else(String::new, |at| at.as_millis().to_string());
            metadata.insert("produced".to_owned(), produced);
        }
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, portable(column.sql_type), true)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let writer = StreamWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { schema, writer: Some(writer), done: Vec::new() })
    }

    fn len(&self) -> usize {
        self.done.len() + self.writer.as_ref().map_or(0, |writer| writer.get_ref().len())
    }

    fn take(&mut self) -> Bytes {
        match &mut self.writer {
            Some(writer) => std::mem::take(writer.get_mut()).into(),
            None => std::mem::take(&mut self.done).into(),
        }
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| cast(column, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        if let Some(mut writer) = self.writer.take() {
            writer.finish()?;
            self.done = writer.into_inner()?;
        }
        Ok(())
    }
}

fn cast(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == wanted {
        return Ok(Arc::clone(column));
    }
    // Arrow's own text of a list is not JSON, and of bytes there is none.
    if *wanted == DataType::Utf8 && (column.data_type().is_nested() || *column.data_type() == DataType::Binary) {
        let cells = Cells::new(column)?;
        let mut texts = StringBuilder::with_capacity(column.len(), 16 * column.len());
        let mut text = Vec::new();
        for row in 0..column.len() {
            text.clear();
            cells.write_text(&mut text, row, &Zone::Utc);
            texts.append_option((!column.is_null(row)).then(|| String::from_utf8_lossy(&text)));
        }
        return Ok(Arc::new(texts.finish()));
    }
    arrow::compute::cast(column, wanted)
}

/// The Arrow type a column is sent as.
fn portable(sql_type: SqlType) -> DataType {
    match sql_type {
        SqlType::Bigint | SqlType::Integer => DataType::Int64,
        SqlType::Double | SqlType::Float | SqlType::Decimal => DataType::Float64,
        SqlType::Boolean => DataType::Boolean,
        SqlType::Timestamp | SqlType::Date => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        SqlType::Varchar | SqlType::Char | SqlType::Array | SqlType::Null | SqlType::Other => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests;
