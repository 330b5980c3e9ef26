//! INFORMATION_SCHEMA and sys: tables about tables, built when a query asks from its reading, the function catalogue, and what the
//! server hands in.
//!
//! They are ordinary tables in memory, so joins, filters and functions work on them as on any other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use freshet_segment::schema::{Column, ColumnRole, ColumnType};
use freshet_segment::timeline::Reading;

mod source;
mod sys;

use crate::error::QueryError;
use crate::plan::table::FreshetTable;
use crate::sql::functions::catalogue;

pub use source::{DataGapRow, DeadLetterRow, ServerRow, SupervisorRow, SystemSource, TaskRow};
pub(crate) use sys::{SYS, SYS_NAMES};

/// The one catalog.
pub(crate) const CATALOG: &str = "druid";
/// The schema of Freshet's tables.
pub(crate) const DEFAULT_SCHEMA: &str = "druid";
/// The schema of these tables.
pub(crate) const INFORMATION_SCHEMA: &str = "INFORMATION_SCHEMA";
/// Their names.
pub(crate) const TABLE_NAMES: [&str; 4] = ["COLUMNS", "ROUTINES", "SCHEMATA", "TABLES"];
/// All schemas, in the order they are listed.
const SCHEMAS: [&str; 4] = [INFORMATION_SCHEMA, "druid", "lookup", SYS];

/// The catalog of one query.
#[derive(Debug)]
pub(crate) struct QueryCatalog {
    reading: Reading,
    system: Option<Arc<dyn SystemSource>>,
    pushdown: bool,
}

impl QueryCatalog {
    /// The tables that `reading` shows.
    pub(crate) fn list(
        reading: Reading,
        system: Option<Arc<dyn SystemSource>>,
        pushdown: bool,
    ) -> Arc<dyn CatalogProviderList> {
        Arc::new(CatalogList(Arc::new(Self { reading, system, pushdown })))
    }
}

#[derive(Debug)]
struct CatalogList(Arc<QueryCatalog>);

impl CatalogProviderList for CatalogList {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(Catalog(Arc::clone(&self.0))) as Arc<dyn CatalogProvider>)
    }
}

#[derive(Debug)]
struct Catalog(Arc<QueryCatalog>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        SCHEMAS.iter().map(|s| (*s).to_owned()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            DEFAULT_SCHEMA => Some(Arc::new(Tables(Arc::clone(&self.0)))),
            INFORMATION_SCHEMA => Some(Arc::new(Information(Arc::clone(&self.0)))),
            SYS => Some(Arc::new(System(Arc::clone(&self.0)))),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Tables(Arc<QueryCatalog>);

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.0.reading.table_names().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let view = self.0.reading.table(name);
        Ok(view.map(|view| Arc::new(FreshetTable::new(view, self.0.pushdown)) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.reading.table(name).is_some()
    }
}

#[derive(Debug)]
struct Information(Arc<QueryCatalog>);

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        TABLE_NAMES.iter().map(|s| (*s).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let rows = match name {
            "SCHEMATA" => schemata(),
            "TABLES" => tables(&self.0.reading),
            "COLUMNS" => columns(&self.0.reading),
            "ROUTINES" => routines(),
            _ => return Ok(None),
        };
        Ok(Some(rows.table()?))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLE_NAMES.contains(&name)
    }
}

#[derive(Debug)]
struct System(Arc<QueryCatalog>);

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        SYS_NAMES.iter().map(|s| (*s).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let rows = sys::rows(name, &self.0.reading, self.0.system.as_deref()).await;
        rows.map_err(QueryError::into_datafusion)?.map(|rows| rows.table()).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        SYS_NAMES.contains(&name)
    }
}

/// A cell of one of these tables.
#[derive(Debug, Clone)]
enum Cell {
    Text(Option<String>),
    Long(Option<i64>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Long(number)
    }
}

/// Rows of one of these tables; its columns are named once and typed by what they hold.
struct Rows {
    names: &'static [&'static str],
    longs: &'static [&'static str],
    cells: Vec<Vec<Cell>>,
}

impl Rows {
    fn batch(&self) -> DfResult<RecordBatch> {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let cells = self.cells.iter().filter_map(|row| row.get(index));
            if self.longs.contains(name) {
                let values = cells.map(|c| match c {
                    Cell::Long(n) => *n,
                    Cell::Text(_) => None,
                });
                arrays.push(Arc::new(values.collect::<Int64Array>()));
                fields.push(Field::new(*name, DataType::Int64, true));
            } else {
                let values = cells.map(|c| match c {
                    Cell::Text(t) => t.as_deref(),
                    Cell::Long(_) => None,
                });
                arrays.push(Arc::new(values.collect::<StringViewArray>()));
                fields.push(Field::new(*name, DataType::Utf8View, true));
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    fn table(&self) -> DfResult<Arc<dyn TableProvider>> {
        let batch = self.batch()?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

const SCHEMATA: &[&str] = &[
    "CATALOG_NAME",
    "SCHEMA_NAME",
    "SCHEMA_OWNER",
    "DEFAULT_CHARACTER_SET_CATALOG",
    "DEFAULT_CHARACTER_SET_SCHEMA",
    "DEFAULT_CHARACTER_SET_NAME",
    "SQL_PATH",
];

fn schemata() -> Rows {
    let cells = SCHEMAS
        .iter()
        .map(|schema| {
            let mut row = vec![Cell::from(CATALOG), Cell::from(*schema)];
            row.resize(SCHEMATA.len(), Cell::Text(None));
            row
        })
        .collect();
    Rows { names: SCHEMATA, longs: &[], cells }
}

const TABLES: &[&str] = &["TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "IS_JOINABLE", "IS_BROADCAST"];

fn tables(reading: &Reading) -> Rows {
    let row = |schema: &str, name: &str, kind: &str| -> Vec<Cell> {
        [CATALOG, schema, name, kind, "NO", "NO"].into_iter().map(Cell::from).collect()
    };
    let mut cells: Vec<_> = reading.table_names().map(|name| row(DEFAULT_SCHEMA, name.as_str(), "TABLE")).collect();
    cells.extend(TABLE_NAMES.iter().map(|name| row(INFORMATION_SCHEMA, name, "SYSTEM_TABLE")));
    cells.extend(SYS_NAMES.iter().map(|name| row(SYS, name, "SYSTEM_TABLE")));
    Rows { names: TABLES, longs: &[], cells }
}

const COLUMNS: &[&str] = &[
    "TABLE_CATALOG",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "COLUMN_NAME",
    "ORDINAL_POSITION",
    "COLUMN_DEFAULT",
    "IS_NULLABLE",
    "DATA_TYPE",
    "CHARACTER_MAXIMUM_LENGTH",
    "CHARACTER_OCTET_LENGTH",
    "NUMERIC_PRECISION",
    "NUMERIC_PRECISION_RADIX",
    "NUMERIC_SCALE",
    "DATETIME_PRECISION",
    "CHARACTER_SET_NAME",
    "COLLATION_NAME",
    "JDBC_TYPE",
];
const COLUMNS_LONGS: &[&str] = &[
    "ORDINAL_POSITION",
    "NUMERIC_PRECISION",
    "NUMERIC_PRECISION_RADIX",
    "NUMERIC_SCALE",
    "DATETIME_PRECISION",
    "JDBC_TYPE",
];

/// What COLUMNS says of a type.
struct TypeRow {
    data_type: &'static str,
    numeric: Option<(i64, Option<i64>)>,
    datetime_precision: Option<i64>,
    is_text: bool,
    jdbc: i64,
}

fn type_row(column_type: ColumnType) -> TypeRow {
    // Calcite prints the smallest int where a type has no scale; no client reads it.
    const NO_SCALE: i64 = -2_147_483_648;
    let plain = |data_type, jdbc| TypeRow { data_type, numeric: None, datetime_precision: None, is_text: false, jdbc };
    match column_type {
        ColumnType::Long => TypeRow { numeric: Some((19, Some(0))), ..plain("BIGINT", -5) },
        ColumnType::Double => TypeRow { numeric: Some((15, Some(NO_SCALE))), ..plain("DOUBLE", 8) },
        ColumnType::Float => TypeRow { numeric: Some((15, Some(NO_SCALE))), ..plain("FLOAT", 6) },
        ColumnType::String => TypeRow { is_text: true, ..plain("VARCHAR", 12) },
        ColumnType::Timestamp => TypeRow { datetime_precision: Some(3), ..plain("TIMESTAMP", 93) },
        ColumnType::Json => plain("COMPLEX<json>", 1111),
    }
}

fn columns(reading: &Reading) -> Rows {
    let mut cells = Vec::new();
    for view in reading.tables() {
        for (index, column) in view.schema.columns().iter().enumerate() {
            cells.push(column_row(DEFAULT_SCHEMA, view.name.as_str(), index, column));
        }
    }
    let information: [(&str, &[&str], &[&str]); 4] = [
        ("COLUMNS", COLUMNS, COLUMNS_LONGS),
        ("ROUTINES", ROUTINES, &[]),
        ("SCHEMATA", SCHEMATA, &[]),
        ("TABLES", TABLES, &[]),
    ];
    let information = information.map(|(table, names, longs)| (INFORMATION_SCHEMA, table, names, longs));
    let sys = SYS_NAMES.map(|table| {
        let (names, longs) = sys::shape(table);
        (SYS, table, names, longs)
    });
    for (schema, table, names, longs) in information.into_iter().chain(sys) {
        for (index, name) in names.iter().enumerate() {
            let column_type = if longs.contains(name) { ColumnType::Long } else { ColumnType::String };
            cells.push(column_row(schema, table, index, &Column::dimension(name, column_type)));
        }
    }
    Rows { names: COLUMNS, longs: COLUMNS_LONGS, cells }
}

fn column_row(schema: &str, table: &str, index: usize, column: &Column) -> Vec<Cell> {
    let shown = type_row(column.column_type);
    let text = |value: &'static str| Cell::from(shown.is_text.then_some(value));
    vec![
        CATALOG.into(),
        schema.into(),
        table.into(),
        (&*column.name).into(),
        Cell::Long(i64::try_from(index + 1).ok()),
        "".into(),
        (if column.role == ColumnRole::Time { "NO" } else { "YES" }).into(),
        shown.data_type.into(),
        Cell::Text(None),
        Cell::Text(None),
        shown.numeric.map(|(precision, _)| precision).into(),
        shown.numeric.map(|_| 10).into(),
        shown.numeric.and_then(|(_, scale)| scale).into(),
        shown.datetime_precision.into(),
        text("UTF-16LE"),
        text("UTF-16LE$en_US$primary"),
        Some(shown.jdbc).into(),
    ]
}

const ROUTINES: &[&str] =
    &["ROUTINE_CATALOG", "ROUTINE_SCHEMA", "ROUTINE_NAME", "ROUTINE_TYPE", "IS_AGGREGATOR", "SIGNATURES"];

fn routines() -> Rows {
    let mut functions: Vec<_> = catalogue::all().collect();
    functions.sort_by_key(|f| f.name);
    let cells = functions
        .into_iter()
        .map(|f| {
            vec![
                CATALOG.into(),
                INFORMATION_SCHEMA.into(),
                f.name.into(),
                "FUNCTION".into(),
                (if f.aggregator { "YES" } else { "NO" }).into(),
                f.signature.into(),
            ]
        })
        .collect();
    Rows { names: ROUTINES, longs: &[], cells }
}
