-- Version 2: what became of the rows that were read, dead letters, and the time column of pushes.

CREATE TABLE accounts (
    "table" INTEGER NOT NULL REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    read INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    late INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    processed_with_error INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", stream, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE letter_sums (
    "table" INTEGER NOT NULL PRIMARY KEY REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    total INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `raw` is `=` and the text of the record, or `x` and its bytes as digits.
CREATE TABLE dead_letters (
    "table" INTEGER NOT NULL,
    number INTEGER NOT NULL,
    time INTEGER NOT NULL,
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    "row" INTEGER NOT NULL,
    place TEXT,
    reason TEXT NOT NULL,
    hint TEXT,
    row_stored INTEGER NOT NULL,
    raw TEXT NOT NULL,
    row_sum INTEGER NOT NULL,
    PRIMARY KEY ("table", number)
) STRICT, WITHOUT ROWID;

CREATE TABLE push_times (
    "table" INTEGER NOT NULL PRIMARY KEY REFERENCES tables (id) DEFERRABLE INITIALLY DEFERRED,
    field TEXT NOT NULL,
    row_sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
