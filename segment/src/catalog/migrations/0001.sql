-- The catalog of Freshet, version 1.
--
-- `row_sum` is a hash over the relation's name and the row's values: a row changed by hand is refused as damaged.
-- Numbers that may use 64 bits without a sign (epochs, sums, hashes) are kept by their bits. Times are milliseconds in UTC.

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How many rows a relation has in a scope, and the sum of their hashes: a lost row has no hash of its own to be wrong.
CREATE TABLE guards (
    relation TEXT NOT NULL,
    scope TEXT NOT NULL,
    rows INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY (relation, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE tables (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    schema TEXT NOT NULL,
    next_number INTEGER NOT NULL,
    dropped_at INTEGER,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX tables_by_name ON tables (name) WHERE dropped_at IS NULL;

CREATE TABLE supervisors (
    id TEXT NOT NULL PRIMARY KEY,
    "table" TEXT NOT NULL,
    spec TEXT NOT NULL,
    suspended INTEGER NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    "group" TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    owner TEXT,
    expires INTEGER NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    "table" INTEGER NOT NULL REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    topic_id TEXT NOT NULL,
    next INTEGER,
    generation INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", stream, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_ranges (
    "table" INTEGER NOT NULL REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    "from" INTEGER NOT NULL,
    "to" INTEGER NOT NULL CHECK ("to" > "from"),
    topic_id TEXT NOT NULL,
    publish TEXT NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", stream, partition, generation, "from")
) STRICT, WITHOUT ROWID;

CREATE TABLE commits (
    seq INTEGER NOT NULL PRIMARY KEY,
    publish TEXT NOT NULL UNIQUE,
    "table" INTEGER NOT NULL,
    at INTEGER NOT NULL,
    cause TEXT NOT NULL,
    opened TEXT NOT NULL,
    closed TEXT NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE publications (
    publish TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL UNIQUE REFERENCES commits (seq) DEFERRABLE INITIALLY DEFERRED,
    content TEXT NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE segments (
    "table" INTEGER NOT NULL REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    rows INTEGER NOT NULL,
    time_min INTEGER NOT NULL,
    time_max INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    format INTEGER NOT NULL,
    content_sum INTEGER NOT NULL,
    parquet_path TEXT NOT NULL,
    parquet_bytes INTEGER NOT NULL,
    parquet_sha256 TEXT NOT NULL,
    index_path TEXT NOT NULL,
    index_bytes INTEGER NOT NULL,
    index_sha256 TEXT NOT NULL,
    meta_path TEXT NOT NULL,
    meta_bytes INTEGER NOT NULL,
    meta_sha256 TEXT NOT NULL,
    publish TEXT NOT NULL,
    visible_from INTEGER NOT NULL,
    visible_until INTEGER CHECK (visible_until > visible_from),
    closed_at INTEGER,
    condemned INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", number)
) STRICT, WITHOUT ROWID;

CREATE TABLE segment_files (
    path TEXT NOT NULL,
    "table" INTEGER NOT NULL,
    number INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY (path, "table", number),
    FOREIGN KEY ("table", number) REFERENCES segments ("table", number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE INDEX segment_files_by_segment ON segment_files ("table", number);

CREATE TABLE closed_segments (
    closed_at INTEGER NOT NULL,
    "table" INTEGER NOT NULL,
    number INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY (closed_at, "table", number),
    FOREIGN KEY ("table", number) REFERENCES segments ("table", number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE INDEX closed_segments_by_segment ON closed_segments ("table", number);

CREATE TABLE dedup_keys (
    "table" INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    answer TEXT NOT NULL,
    at INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", "key")
) STRICT, WITHOUT ROWID;

CREATE TABLE dedup_order (
    "table" INTEGER NOT NULL,
    at INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", at, "key")
) STRICT, WITHOUT ROWID;

CREATE TABLE data_gaps (
    "table" INTEGER NOT NULL,
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "from" INTEGER NOT NULL,
    "to" INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", stream, partition, "from")
) STRICT, WITHOUT ROWID;

-- Lines of the commit log that are not known to be stored elsewhere.
CREATE TABLE outbox (
    seq INTEGER NOT NULL PRIMARY KEY,
    line TEXT NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
