"""Reads Parquet files with DuckDB and with pyarrow, and prints what each of them finds, as JSON.

Input, JSON on stdin: {"files": [path, ..]}. The files hold a table with __time, country and amount.
"""

import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

files = json.load(sys.stdin)["files"]


def with_duckdb():
    query = duckdb.connect()
    # In UTC, or the zone of this machine gets into the milliseconds.
    query.execute("SET TimeZone = 'UTC'")
    table = "read_parquet(?, union_by_name = true)"
    rows, amount, first, last = query.execute(
        f"SELECT count(*), sum(amount), epoch_ms(min(__time)), epoch_ms(max(__time)) FROM {table}", [files]
    ).fetchone()
    groups = query.execute(
        f"SELECT coalesce(country, '(null)'), count(*), sum(amount) FROM {table} GROUP BY 1", [files]
    ).fetchall()
    return {
        "rows": rows,
        "amount": int(amount),
        "first": first,
        "last": last,
        "by_country": {country: [count, int(total)] for country, count, total in groups},
    }


def with_pyarrow():
    table = ds.dataset(files, format="parquet").to_table(columns=["__time", "country", "amount"])
    time = table["__time"]
    assert time.type == pa.timestamp("ms", tz="UTC"), time.type
    time = time.cast(pa.int64())
    country = pc.fill_null(table["country"].cast(pa.string()), "(null)")
    groups = table.set_column(1, "country", country).group_by("country").aggregate([("amount", "count"), ("amount", "sum")])
    return {
        "rows": table.num_rows,
        "amount": pc.sum(table["amount"]).as_py(),
        "first": pc.min(time).as_py(),
        "last": pc.max(time).as_py(),
        "by_country": {g["country"]: [g["amount_count"], g["amount_sum"]] for g in groups.to_pylist()},
    }


json.dump({"duckdb": with_duckdb(), "pyarrow": with_pyarrow()}, sys.stdout)
