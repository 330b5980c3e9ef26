//! The catalog in one SQLite file.
//!
//! `journal_mode=WAL` with `synchronous=FULL`: a commit is synced before it is answered (`NORMAL` may lose the last ones).
//! One connection writes, each transaction `BEGIN IMMEDIATE`, so two writers wait for each other and never meet half way;
//! a few read, each in a transaction of its own, and see one moment. A future that is dropped in the middle rolls back.
//!
//! What SQLite cannot tell from a crash is damage in the write-ahead log: it ends the log there, and the catalog stands at
//! an earlier whole commit. Who reads on from a checkpoint then reads again (a topic), or finds that what it needs was cut
//! (a journal).
//!
//! Opening is where damage is looked for first: the pages (`quick_check`), the texts of the schema against those of this
//! version, the guards. After that every row is hashed as it is read. The migrations stand in `migrations/`, numbered; the
//! table `schema_version` says which were run. Integers and texts only, strict tables without row ids: what lies on disk
//! is what the ledger wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, Sqlite, Transaction, TypeInfo, ValueRef};

use super::books::{Access, Books, Record, Relation, Scan, Store, Value};
use super::ledger;
use crate::clock::Clock;
use crate::error::{Result, SegmentError};

/// All migrations: the first brings an empty file to version 1, and so on.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];
/// Connections that read: a reading is short, and more would fight over two cores.
const READERS: u32 = 4;
/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);
/// How long a call waits for a connection before it says that the catalog is away.
const WAIT: Duration = Duration::from_secs(30);
/// Rows of one inserting statement, when there are that many.
const ROWS_AT_ONCE: usize = 64;

/// A catalog in a SQLite file. Leases run by the database's clock.
#[derive(Debug)]
pub struct SqliteCatalog {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl SqliteCatalog {
    /// Opens the file, or makes it; brings it to this version.
    ///
    /// # Errors
    /// `Corrupt` when the file is damaged or no database; `Invalid` when it is another database, or of a newer version;
    /// `Unavailable` when it cannot be opened.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("fullfsync", "1")
            .pragma("checkpoint_fullfsync", "1")
            .pragma("cell_size_check", "1")
            .pragma("trusted_schema", "0")
            .disable_statement_logging();
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(WAIT)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .after_release(|connection, _| Box::pin(is_at_rest(connection)))
        };
        let mut first = SqliteConnection::connect_with(&options).await.map_err(|error| failed("opening", error))?;
        let fresh = prepare(&mut first).await;
        // Closed in any case, so that nothing holds the file of a catalog that was not opened.
        let closed = first.close().await;
        if fresh? {
            sync_folder(path)?;
        }
        closed.map_err(|error| failed("opening", error))?;
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| failed("opening", error))?;
        let readers = pool(READERS).connect_lazy_with(options.create_if_missing(false).read_only(true));
        let catalog = Arc::new(Self { path: path.to_owned(), writer, readers, clock });
        if let Err(error) = ledger::check_foundation(&*catalog).await {
            catalog.close().await;
            return Err(error);
        }
        Ok(catalog)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file when the calls that run are done; its write-ahead log is then folded in. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection can be used again. A full disk or a failed read makes SQLite end a transaction by itself; the roll-back
/// that follows then fails, and to the driver the transaction is open for ever. Such a connection is closed.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // The roll-back of a dropped transaction waits in the connection's queue before this.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// A new file's name must survive a power cut as its content does.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| SegmentError::Io {
        doing: "syncing the folder of the catalog",
        path: folder.display().to_string(),
        source,
    })
}

/// Looks for damage and brings the file to this version. Says whether it was new.
async fn prepare(connection: &mut SqliteConnection) -> Result<bool> {
    let sound: Vec<String> = texts(connection, "PRAGMA quick_check(1)").await?;
    if sound != ["ok"] {
        return Err(SegmentError::corrupt("the catalog's file", sound.join("; ")));
    }
    let version = migrate(connection).await?;
    let mut pattern = SqliteConnectOptions::new()
        .in_memory(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| failed("opening", error))?;
    migrate(&mut pattern).await?;
    const SCHEMA: &str = "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    let (is, must) = (texts(connection, SCHEMA).await?, texts(&mut pattern, SCHEMA).await?);
    pattern.close().await.map_err(|error| failed("opening", error))?;
    if is != must {
        let reason = "its tables are not those of this version: rebuild the catalog from its nightly copy";
        return Err(SegmentError::corrupt("the catalog's schema", reason));
    }
    Ok(version == 0)
}

/// Runs what is missing of the migrations. Gives the version the file had.
async fn migrate(connection: &mut SqliteConnection) -> Result<usize> {
    let fault = |error| failed("migrating", error);
    let mut books = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
    let tables = texts(&mut books, "SELECT name FROM sqlite_schema WHERE type = 'table'").await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let version: i64 = if tables.iter().any(|name| name == "schema_version") {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
            .fetch_one(&mut *books)
            .await
            .map_err(fault)?
    } else if tables.is_empty() {
        0
    } else {
        let reason = format!("it holds the table `{}` and none of Freshet's", tables.join("`, `"));
        return Err(SegmentError::invalid("catalog file", reason));
    };
    if version > known {
        let reason = format!("it has version {version}, this server knows up to {known}: run the newer server");
        return Err(SegmentError::invalid("catalog file", reason));
    }
    let version = usize::try_from(version).map_err(|_| SegmentError::corrupt("the catalog's version", "below 0"))?;
    for (text, number) in MIGRATIONS.iter().zip(1_i64..).skip(version) {
        sqlx::raw_sql(*text).execute(&mut *books).await.map_err(fault)?;
        if number == 1 {
            const VERSIONS: &str = "CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY) STRICT";
            sqlx::raw_sql(VERSIONS).execute(&mut *books).await.map_err(fault)?;
            for (relation, record) in ledger::founding() {
                insert(&mut books, relation, &[record]).await?;
            }
        }
        let noted = sqlx::query("INSERT INTO schema_version (version) VALUES (?)").bind(number);
        noted.execute(&mut *books).await.map_err(fault)?;
    }
    books.commit().await.map_err(fault)?;
    Ok(version)
}

async fn texts(connection: &mut SqliteConnection, sql: &'static str) -> Result<Vec<String>> {
    sqlx::query_scalar(sql).fetch_all(connection).await.map_err(|error| failed("reading", error))
}

/// What the database says, as a kind a caller can act on. Codes: <https://sqlite.org/rescode.html>.
fn failed(doing: &'static str, error: sqlx::Error) -> SegmentError {
    let reason = format!("{doing}: {error}");
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            match code & 0xff {
                // ERROR: our statements are fixed, so it is the schema that differs. CORRUPT, CONSTRAINT (the ledger let
                // through what the schema does not allow), MISMATCH, NOTADB.
                1 | 11 | 19 | 20 | 26 => SegmentError::corrupt("the catalog's file", reason),
                13 => SegmentError::Io {
                    doing: "writing the catalog",
                    path: String::new(),
                    source: std::io::Error::new(std::io::ErrorKind::StorageFull, reason),
                },
                _ => SegmentError::unavailable("the catalog", reason),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            SegmentError::corrupt("the catalog's file", reason)
        }
        _ => SegmentError::unavailable("the catalog", reason),
    }
}

#[async_trait]
impl Store for SqliteCatalog {
    type Books = SqliteBooks;

    async fn begin(&self, access: Access) -> Result<SqliteBooks> {
        let begun = match access {
            Access::Read => self.readers.begin().await,
            Access::Write => self.writer.begin_with("BEGIN IMMEDIATE").await,
        };
        Ok(SqliteBooks { books: begun.map_err(|error| failed("beginning", error))? })
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct SqliteBooks {
    books: Transaction<'static, Sqlite>,
}

type Asked<'a> = Query<'a, Sqlite, SqliteArguments>;

fn bind<'a>(query: Asked<'a>, values: impl IntoIterator<Item = &'a Value>) -> Asked<'a> {
    values.into_iter().fold(query, |query, value| match value {
        Value::Null => query.bind(None::<i64>),
        Value::Int(int) => query.bind(*int),
        Value::Text(text) => query.bind(text.as_str()),
    })
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// `WHERE` for a beginning of a key of so many columns, and the columns of the key.
fn where_key(relation: &Relation, prefix: usize, from: bool) -> String {
    let mut parts: Vec<String> = relation.columns.iter().take(prefix).map(|name| format!("\"{name}\" = ?")).collect();
    if let Some(next) = relation.columns.get(prefix).filter(|_| from) {
        parts.push(format!("\"{next}\" >= ?"));
    }
    if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
}

fn select(relation: &Relation) -> String {
    format!("SELECT {}, row_sum FROM \"{}\"", quoted(relation.columns), relation.name)
}

/// A row as it lies there, not yet compared with its hash.
fn record(relation: &Relation, row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let mut values = Vec::with_capacity(relation.columns.len());
    for at in 0..relation.columns.len() {
        let raw = row.try_get_raw(at)?;
        let sort = raw.type_info().name().to_owned();
        values.push(match sort.as_str() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" => Value::Int(row.try_get_unchecked(at)?),
            "TEXT" => Value::Text(row.try_get_unchecked(at)?),
            other => return Err(sqlx::Error::Decode(format!("a value of the sort {other}").into())),
        });
    }
    let sum: i64 = row.try_get(relation.columns.len())?;
    Ok(Record { values, sum: sum.cast_unsigned() })
}

async fn insert(connection: &mut SqliteConnection, relation: &'static Relation, rows: &[Record]) -> Result<()> {
    let places = format!("({})", vec!["?"; relation.columns.len() + 1].join(", "));
    let (key, rest) = relation.columns.split_at(relation.key);
    let set: Vec<String> =
        rest.iter().chain(&["row_sum"]).map(|name| format!("\"{name}\" = excluded.\"{name}\"")).collect();
    let sql = format!(
        "INSERT INTO \"{}\" ({}, row_sum) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
        relation.name,
        quoted(relation.columns),
        vec![places; rows.len()].join(", "),
        quoted(key),
        set.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for row in rows {
        query = bind(query, &row.values).bind(row.sum.cast_signed());
    }
    query.execute(connection).await.map_err(|error| failed("writing", error)).map(drop)
}

#[async_trait]
impl Books for SqliteBooks {
    async fn get(&mut self, relation: &'static Relation, key: &[Value]) -> Result<Option<Record>> {
        let sql = format!("{}{}", select(relation), where_key(relation, key.len(), false));
        let query = bind(sqlx::query(AssertSqlSafe(sql)), key);
        let row = query.fetch_optional(&mut *self.books).await.map_err(|error| failed("reading", error))?;
        let Some(row) = row else { return Ok(None) };
        record(relation, &row).map_err(|error| failed("reading", error))?.verified(relation).map(Some)
    }

    async fn scan(&mut self, relation: &'static Relation, scan: Scan) -> Result<Vec<Record>> {
        let Scan { prefix, from, limit, reverse } = scan;
        let order = if reverse { " DESC" } else { "" };
        let key: Vec<String> =
            relation.columns.iter().take(relation.key).map(|name| format!("\"{name}\"{order}")).collect();
        let sql = format!(
            "{}{} ORDER BY {} LIMIT ?",
            select(relation),
            where_key(relation, prefix.len(), from.is_some()),
            key.join(", ")
        );
        // A negative limit is none.
        let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let query = bind(sqlx::query(AssertSqlSafe(sql)), prefix.iter().chain(&from)).bind(limit);
        let rows = query.fetch_all(&mut *self.books).await.map_err(|error| failed("reading", error))?;
        rows.iter()
            .map(|row| record(relation, row).map_err(|error| failed("reading", error))?.verified(relation))
            .collect()
    }

    async fn count(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM \"{}\"{}", relation.name, where_key(relation, prefix.len(), false));
        let query = bind(sqlx::query(AssertSqlSafe(sql)), prefix);
        let row = query.fetch_one(&mut *self.books).await.map_err(|error| failed("counting", error))?;
        let count: i64 = row.try_get(0).map_err(|error| failed("counting", error))?;
        Ok(count.cast_unsigned())
    }

    async fn put(&mut self, relation: &'static Relation, rows: Vec<Record>) -> Result<()> {
        // Statements of two lengths only, because each length is a statement to keep.
        let (many, few) = rows.as_chunks::<ROWS_AT_ONCE>();
        for rows in many {
            insert(&mut self.books, relation, rows).await?;
        }
        for row in few {
            insert(&mut self.books, relation, std::slice::from_ref(row)).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<()> {
        let sql = format!("DELETE FROM \"{}\"{}", relation.name, where_key(relation, prefix.len(), false));
        let query = bind(sqlx::query(AssertSqlSafe(sql)), prefix);
        query.execute(&mut *self.books).await.map_err(|error| failed("removing", error)).map(drop)
    }

    async fn lease_now(&mut self) -> Result<i64> {
        let now = sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)");
        now.fetch_one(&mut *self.books).await.map_err(|error| failed("asking the time", error))
    }

    async fn audit(&mut self, relations: &[&'static Relation]) -> Result<Vec<String>> {
        let mut findings = texts(&mut self.books, "PRAGMA integrity_check").await?;
        findings.retain(|line| line != "ok");
        let strays = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *self.books).await;
        let strays = strays.map_err(|error| failed("checking", error))?;
        findings.extend(strays.iter().map(|row| {
            let table: String = row.try_get(0).unwrap_or_default();
            format!("{table}: a row names another one that is not there")
        }));
        for relation in relations {
            let rows = sqlx::query(AssertSqlSafe(select(relation))).fetch_all(&mut *self.books).await;
            let rows = match rows {
                Ok(rows) => rows,
                Err(error) => {
                    findings.push(format!("{}: {error}", relation.name));
                    continue;
                }
            };
            for row in rows {
                let verified = record(relation, &row).map_err(|error| failed("checking", error));
                if let Err(error) = verified.and_then(|record| record.verified(relation)) {
                    findings.push(error.to_string());
                }
            }
        }
        Ok(findings)
    }

    async fn commit(self) -> Result<()> {
        self.books.commit().await.map_err(|error| SegmentError::Unavailable {
            what: "the catalog".to_owned(),
            reason: format!("committing: {error}"),
            outcome_unknown: true,
        })
    }
}

#[cfg(test)]
mod tests;
