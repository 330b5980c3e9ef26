//! Snapshots → three files in a staging folder, checked by reading them back.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::content::RowSums;
use super::index::IndexBuilder;
use super::meta::{FORMAT, FileMeta, Meta, StoredSchema, Sums};
use super::opened::{Opened, Paths};
use super::order::{Order, Slice};
use super::{AttemptId, SealedUnit, UNIT_ROWS};
use crate::catalog::{NewSegment, SegmentFiles, StoredFile};
use crate::deep_storage::paths;
use crate::disk::{Disk, DiskFile, io_error};
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::id::SegmentId;
use crate::schema::{TIME_COLUMN, TableSchema};
use crate::selection::Part;
use crate::time::Timestamp;
use crate::timeline::VisibleSegment;

/// How many rows go where. What is not the default is for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Rows of a unit: what one thread takes, and what zones and postings are about. At most 65,536.
    pub unit_rows: u32,
    /// Units of a row group.
    pub units_per_group: u32,
    /// Rows of a data page; divides `unit_rows` into at most 64.
    pub page_rows: u32,
    /// Level of zstd.
    pub zstd_level: i32,
    /// Text columns with so many distinct values get bloom filters.
    pub bloom_values_min: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { unit_rows: UNIT_ROWS, units_per_group: 4, page_rows: 16_384, zstd_level: 3, bloom_values_min: 4_096 }
    }
}

/// What one of a segment's files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// The rows.
    Parquet,
    /// Times, zones, dictionaries, postings.
    Index,
    /// Schema and checksums; uploaded last.
    Meta,
}

impl FileKind {
    /// Its file name's ending.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Index => "idx",
            Self::Meta => "json",
        }
    }
}

/// A written file in the staging folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// What it is.
    pub kind: FileKind,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Hash of all of it.
    pub sha256: [u8; 32],
}

/// A segment whose files are written, synced and verified, and not uploaded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its identity.
    pub id: SegmentId,
    /// The attempt that its files' names carry.
    pub attempt: AttemptId,
    /// How many rows it has.
    pub rows: u64,
    /// First and last event time.
    pub time_range: (Timestamp, Timestamp),
    /// Version of the schema it was written with.
    pub schema_version: u64,
    /// Equal for equal sets of rows.
    pub content_sum: u64,
    /// Parquet, index, JSON: the order in which they are uploaded.
    pub files: [LocalFile; 3],
}

/// What is to be sealed, and how.
#[derive(Debug)]
pub struct Sealing<'a> {
    /// The identity of what comes out: the growing segment's own, or a new one for a merge.
    pub id: SegmentId,
    /// Where the rows are: one growing segment, or several of either form.
    pub sources: &'a [VisibleSegment],
    /// The schema to write; as wide as any source's.
    pub schema: Arc<TableSchema>,
    /// Columns to sort by after the time.
    pub cluster_by: Vec<Arc<str>>,
    /// Makes the files' names unlike all others.
    pub attempt: AttemptId,
    /// How many rows go where.
    pub layout: Layout,
}

impl Sealing<'_> {
    /// Writes the three files into `staging`, syncs them and the folder, and reads everything back. Blocks for as long as
    /// that takes.
    ///
    /// # Errors
    /// `Invalid` without rows, or with a layout that does not fit together; `Exhausted` or `Unavailable` when a file cannot
    /// be written; `Corrupt` when a source, or what was read back, is not what it should be. Files may be left behind:
    /// nothing names them.
    pub fn write(&self, staging: &Path) -> Result<Sealed> {
        self.check()?;
        let mut units = Vec::new();
        for source in self.sources {
            units.extend(source.units(None)?);
        }
        let order = Order::new(units, &self.schema, &self.cluster_by)?;
        failpoint!("seal.sorted")?;
        let local = |kind: FileKind| staging.join(paths::file_name(&self.id, self.attempt, kind));
        let [parquet, index, meta] = [FileKind::Parquet, FileKind::Index, FileKind::Meta].map(local);

        let mut pass =
            Pass { rows: 0, content_sum: 0, times: None, index: IndexBuilder::new(&self.schema, order.rows()) };
        let parquet = self.write_parquet(parquet, &order, &mut pass)?;
        failpoint!("seal.parquet_written")?;
        let (min_time, max_time) =
            pass.times.ok_or_else(|| SegmentError::invalid("sealing", "the sources have no rows"))?;
        let index = write_file(index, |out| pass.index.write(out))?;
        failpoint!("seal.index_written")?;
        let described = Meta {
            format: FORMAT,
            segment: self.id.to_string(),
            attempt: self.attempt.to_string(),
            rows: pass.rows,
            min_time,
            max_time,
            content_sum: format!("{:016x}", pass.content_sum),
            unit_rows: self.layout.unit_rows,
            units_per_group: self.layout.units_per_group,
            page_rows: self.layout.page_rows,
            schema: StoredSchema::of(&self.schema),
            cluster_by: self.cluster_by.clone(),
            parquet: parquet.sums.clone(),
            index: index.sums.clone(),
        };
        let bytes = described.to_bytes();
        let meta = write_file(meta, |mut out| out.write_all(&bytes).map(|()| out))?;
        failpoint!("seal.meta_written")?;
        for written in [&parquet, &index, &meta] {
            written.file.sync_data()?;
        }
        failpoint!("seal.files_synced")?;
        Disk::Real.sync_folder(staging)?;
        failpoint!("seal.folder_synced")?;

        let sealed = Sealed {
            id: self.id.clone(),
            attempt: self.attempt,
            rows: pass.rows,
            time_range: described.time_range(),
            schema_version: self.schema.version(),
            content_sum: pass.content_sum,
            files: [
                parquet.described(FileKind::Parquet),
                index.described(FileKind::Index),
                meta.described(FileKind::Meta),
            ],
        };
        sealed.verify()?;
        failpoint!("seal.verified")?;
        Ok(sealed)
    }

    fn check(&self) -> Result<()> {
        let Layout { unit_rows, units_per_group, page_rows, .. } = self.layout;
        let fits = page_rows > 0
            && (1..=UNIT_ROWS).contains(&unit_rows)
            && unit_rows.is_multiple_of(page_rows)
            && unit_rows / page_rows <= 64
            && units_per_group > 0;
        if fits { Ok(()) } else { Err(SegmentError::invalid("layout", "its numbers of rows do not fit each other")) }
    }

    fn write_parquet(&self, path: PathBuf, order: &Order, pass: &mut Pass) -> Result<Written> {
        let fields: Vec<Field> = self
            .schema
            .columns()
            .iter()
            .map(|c| Field::new(&*c.name, c.column_type.arrow_type(), c.field().is_nullable()))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        // Arrow's own schema would tell other readers of our string views; Parquet's says all there is to say.
        let options = ArrowWriterOptions::new().with_properties(self.properties()?).with_skip_arrow_metadata(true);
        let doing = |source| io_error("writing", &path, source);
        let failed = |error| doing(cause_of(error));
        let out = BufWriter::with_capacity(1 << 18, Hashed::create(&path)?);
        let mut writer = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), options).map_err(failed)?;
        for slice in order.slices(self.layout.unit_rows) {
            let columns = pass.take(&slice, &self.schema)?;
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
                .map_err(|source| SegmentError::Arrow { column: TIME_COLUMN.to_owned(), source })?;
            writer.write(&batch).map_err(failed)?;
        }
        let out = writer.into_inner().map_err(failed)?;
        Ok(out.into_inner().map_err(|e| doing(e.into_error()))?.finish(path))
    }

    fn properties(&self) -> Result<WriterProperties> {
        let level =
            ZstdLevel::try_new(self.layout.zstd_level).map_err(|e| SegmentError::invalid("layout", e.to_string()))?;
        let time = || ColumnPath::from(vec![TIME_COLUMN.to_owned()]);
        let stored = serde_json::to_string(&StoredSchema::of(&self.schema)).expect("plain values have a JSON form");
        let told = [("freshet.format", FORMAT.to_string()), ("freshet.segment", self.id.to_string())]
            .into_iter()
            .chain([("freshet.schema", stored)])
            .map(|(key, value)| KeyValue::new(key.to_owned(), value));
        let Layout { unit_rows, units_per_group, page_rows, .. } = self.layout;
        let sorting = vec![SortingColumn { column_idx: 0, descending: false, nulls_first: true }];
        let mut properties = WriterProperties::builder()
            .set_created_by("freshet".to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(unit_rows as usize * units_per_group as usize))
            .set_data_page_row_count_limit(page_rows as usize)
            .set_write_batch_size(page_rows.min(1024) as usize)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_key_value_metadata(Some(told.collect()))
            .set_sorting_columns(Some(sorting))
            // Sorted times differ little from each other: deltas take a fraction of a dictionary's place.
            .set_column_dictionary_enabled(time(), false)
            .set_column_encoding(time(), Encoding::DELTA_BINARY_PACKED);
        for column in self.schema.columns().iter().filter(|c| c.column_type.is_text()) {
            let values = self.sources.iter().filter_map(|s| s.cardinality(&column.name)).max().unwrap_or(0);
            if values >= self.layout.bloom_values_min {
                let path = ColumnPath::from(vec![column.name.to_string()]);
                properties = properties.set_column_bloom_filter_enabled(path, true);
            }
        }
        Ok(properties.build())
    }
}

/// What is gathered while the rows go by once.
struct Pass {
    rows: u64,
    content_sum: u64,
    times: Option<(i64, i64)>,
    index: IndexBuilder,
}

impl Pass {
    fn take(&mut self, slice: &Slice<'_>, schema: &TableSchema) -> Result<Vec<ArrayRef>> {
        let mut sums = RowSums::new(slice.rows());
        let mut columns = Vec::with_capacity(schema.columns().len());
        for column in schema.columns() {
            let array = slice.read(column)?;
            sums.add(&column.name, &array);
            columns.push(array);
        }
        self.content_sum = self.content_sum.wrapping_add(sums.finish());
        self.rows += slice.rows() as u64;
        if let Some((min, max)) = slice.times() {
            self.times = Some((self.times.map_or(min, |(first, _)| first), max));
            self.index.add((Timestamp::from_millis(min), Timestamp::from_millis(max)), &columns)?;
        }
        Ok(columns)
    }
}

impl Sealed {
    /// One of its files.
    pub fn file(&self, kind: FileKind) -> &LocalFile {
        let [parquet, index, meta] = &self.files;
        match kind {
            FileKind::Parquet => parquet,
            FileKind::Index => index,
            FileKind::Meta => meta,
        }
    }

    /// Its row once the files are in deep storage under their paths.
    pub(crate) fn new_segment(&self) -> NewSegment {
        let stored = |kind: FileKind| {
            let file = self.file(kind);
            let path = paths::of(&self.id.table, self.id.interval, &self.id, self.attempt, kind);
            StoredFile { path, bytes: file.bytes, sha256: file.sha256 }
        };
        NewSegment {
            id: self.id.clone(),
            rows: self.rows,
            time_range: self.time_range,
            schema_version: self.schema_version,
            format: FORMAT,
            files: SegmentFiles {
                parquet: stored(FileKind::Parquet),
                index: stored(FileKind::Index),
                meta: stored(FileKind::Meta),
            },
            content_sum: self.content_sum,
        }
    }

    /// Reads the files back: their hashes, every row, the content sum.
    fn verify(&self) -> Result<()> {
        let row = self.new_segment();
        let named = |error| SegmentError::unreadable(&self.id, error);
        let path = |kind| self.file(kind).path.clone();
        let SegmentFiles { parquet, index, meta } = &row.files;
        for (file, kind) in [(parquet, FileKind::Parquet), (index, FileKind::Index), (meta, FileKind::Meta)] {
            check_hash(&path(kind), file).map_err(named)?;
        }
        let paths =
            Paths { parquet: path(FileKind::Parquet), index: path(FileKind::Index), meta: path(FileKind::Meta) };
        let opened = Arc::new(Opened::open(&row, &paths).map_err(named)?);
        check_rows(&opened).map_err(named)
    }
}

/// Reads a file whole and compares its length and hash.
pub(crate) fn check_hash(path: &Path, expected: &StoredFile) -> Result<()> {
    let doing = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { what: "file", name: expected.path.clone() },
        _ => SegmentError::Io { doing: "read", path: expected.path.clone(), source },
    };
    let mut file = File::open(path).map_err(doing)?;
    let mut sums = Sums::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = file.read(&mut buffer).map_err(doing)?;
        match buffer.get(..length) {
            Some([]) | None => break,
            Some(bytes) => sums.add(bytes),
        }
    }
    let (found, sha256) = sums.finish();
    if found.bytes != expected.bytes || sha256 != expected.sha256 {
        return Err(SegmentError::corrupt(format!("file `{}`", expected.path), "its hash is not what was written"));
    }
    Ok(())
}

/// Reads all rows and compares their number and their sum.
pub(super) fn check_rows(opened: &Arc<Opened>) -> Result<()> {
    let (mut rows, mut content_sum) = (0u64, 0u64);
    for (number, expected) in opened.index.units.iter().enumerate() {
        let unit = SealedUnit::new(Arc::clone(opened), number);
        let mut sums = RowSums::new(unit.rows() as usize);
        for (column, zone) in opened.schema.columns().iter().zip(&expected.columns) {
            let array = unit.read(column, &Part::Run(0..unit.rows()))?;
            unit.forget();
            if array.null_count() != zone.nulls as usize {
                return Err(SegmentError::corrupt(
                    "index file",
                    format!("it miscounts the nulls of `{}`", column.name),
                ));
            }
            sums.add(&column.name, &array);
        }
        rows += u64::from(unit.rows());
        content_sum = content_sum.wrapping_add(sums.finish());
    }
    if rows != opened.rows || content_sum != opened.content_sum {
        return Err(SegmentError::corrupt("Parquet file", "the rows read back are not the rows that were sealed"));
    }
    Ok(())
}

/// A new file whose sums are taken as it is written.
struct Hashed {
    file: DiskFile,
    sums: Sums,
}

/// A file that is written, and not synced yet.
struct Written {
    path: PathBuf,
    file: DiskFile,
    sums: FileMeta,
    sha256: [u8; 32],
}

impl Hashed {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: Disk::Real.create_new(path)?, sums: Sums::default() })
    }

    fn finish(self, path: PathBuf) -> Written {
        let (sums, sha256) = self.sums.finish();
        Written { path, file: self.file, sums, sha256 }
    }
}

impl Written {
    fn described(self, kind: FileKind) -> LocalFile {
        LocalFile { kind, path: self.path, bytes: self.sums.bytes, sha256: self.sha256 }
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.sums.add(bytes.get(..length).unwrap_or(bytes));
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_file(
    path: PathBuf,
    write: impl FnOnce(BufWriter<Hashed>) -> io::Result<BufWriter<Hashed>>,
) -> Result<Written> {
    let doing = |source| io_error("writing", &path, source);
    let out = write(BufWriter::new(Hashed::create(&path)?)).map_err(doing)?;
    Ok(out.into_inner().map_err(|e| doing(e.into_error()))?.finish(path))
}

/// The system's own error where there is one: a full disk must be told from the rest.
fn cause_of(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(own) => *own,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}
