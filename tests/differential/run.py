"""Asks a running server and DuckDB the same random queries over the same random tables, and compares the answers.

    run.py --server http://127.0.0.1:8888 --seed 1 --queries 300
    run.py --server http://127.0.0.1:8888 --seed 1 --only 17        # round 17 of that run again, nothing else

Tables are pushed growing, sealed and half of each by turns. A difference is cut down to a small query over few rows and printed with the
seed, the rows, both texts and both answers. The program ends with 1 when there was one, or when too little could be compared.
"""

import argparse
import http.client
import itertools
import json
import math
import random
import sys
import time
import urllib.parse

import duckdb

import data
import queries
from nodes import DUCKDB, FRESHET, SQL_TYPES, T, smaller

FORMS = ["growing", "sealed", "mixed"]
QUERIES_PER_ROUND = 20
SIZES = [1, 3, 20, 60, 200, 200, 700, 9_000]
# Differences that are cut down and printed; more of them say nothing new.
REPORTED_MAX = 12
SMALLER_SECONDS = 20
# Of the queries, so many may be refused by both.
REFUSED_SHARE_MAX = 0.05
# Every push goes to a new table.
NUMBERS = itertools.count()


class Refused(Exception):
    """A query that was not answered."""


class Freshet:
    def __init__(self, url):
        self.host = urllib.parse.urlsplit(url).netloc
        self.connection = None

    def post(self, path, body, content_type="application/json"):
        for attempt in (1, 2):
            try:
                self.connection = self.connection or http.client.HTTPConnection(self.host, timeout=120)
                self.connection.request("POST", path, body.encode(), {"Content-Type": content_type})
                answer = self.connection.getresponse()
                return answer.status, answer.read().decode()
            except http.client.IncompleteRead as error:
                self.connection = None
                raise Refused("the body was cut short") from error
            except (http.client.HTTPException, ConnectionError):
                # A kept connection may have been closed meanwhile.
                self.connection = None
                if attempt == 2:
                    raise Refused("the connection was closed without an answer")

    def push(self, table, form, lines):
        sealed = {"growing": 0, "sealed": len(lines), "mixed": (len(lines) + 1) // 2}[form]
        for part, seal in ((lines[:sealed], True), (lines[sealed:], False)):
            if part:
                status, text = self.post(f"/api/v1/push/{table}", "\n".join(part), "application/x-ndjson")
                if status != 200 or json.loads(text)["rejected"]:
                    raise SystemExit(f"push refused: {text}\n{part[0]}")
            if part and seal:
                status, text = self.post(f"/api/v1/tables/{table}/publish", "{}")
                if status != 200:
                    raise SystemExit(f"publish refused: {text}")

    def rows(self, sql):
        status, text = self.post("/druid/v2/sql", json.dumps({"query": sql, "resultFormat": "array"}))
        if status != 200:
            raise Refused(f"{status} {json.loads(text).get('errorMessage', text)}")
        return json.loads(text)


class DuckDB:
    def __init__(self):
        self.connection = duckdb.connect()
        for setting in ("SET TimeZone = 'UTC'", "SET default_null_order = 'nulls_first_on_asc_last_on_desc'", "SET threads = 1",
                        # A whole number as 64 bits hold it.
                        "CREATE MACRO wrap(x) AS CAST((((x::HUGEINT + 9223372036854775808) % 18446744073709551616) + 18446744073709551616)"
                        " % 18446744073709551616 - 9223372036854775808 AS BIGINT)"):
            self.connection.execute(setting)

    def load(self, table):
        columns = ", ".join(f'"{name}" {SQL_TYPES[kind]}' for name, kind in table.columns.items())
        self.connection.execute(f'CREATE OR REPLACE TABLE "{table.name}" ({columns})')
        typed = [[data.EPOCH + data.datetime.timedelta(milliseconds=v) if k == T and v is not None else v
                  for k, v in zip(table.columns.values(), row)] for row in table.rows]
        # Many rows a statement: one by one is slow.
        slots = "(" + ", ".join("?" * len(table.columns)) + ")"
        for at in range(0, len(typed), 200):
            part = typed[at:at + 200]
            self.connection.execute(f'INSERT INTO "{table.name}" VALUES {", ".join([slots] * len(part))}', [v for row in part for v in row])

    def rows(self, sql):
        try:
            return [list(row) for row in self.connection.execute(sql).fetchall()]
        except duckdb.Error as error:
            raise Refused(str(error).splitlines()[0]) from error


def near(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3)
    return a == b


def same_row(a, b):
    return len(a) == len(b) and all(near(x, y) for x, y in zip(a, b))


def rank(row):
    doubles = [value if isinstance(value, float) else 0.0 for value in row]
    return [(value is not None, f"{value:.6g}" if isinstance(value, float) else str(value)) for value in row], doubles


def same_rows(a, b, ordered):
    if len(a) != len(b):
        return False
    if any(isinstance(value, float) and math.isnan(value) for row in a for value in row):
        # Infinity times zero is a NaN with a sign, which comes before all numbers here and after them in DuckDB.
        ordered = False
    if not ordered:
        a, b = sorted(a, key=rank), sorted(b, key=rank)
    if all(same_row(x, y) for x, y in zip(a, b)):
        return True
    if ordered or len(a) > 2000:
        return False
    # Doubles that round to different keys: look for each row's partner.
    rest = list(b)
    for row in a:
        partner = next((n for n, other in enumerate(rest) if same_row(row, other)), None)
        if partner is None:
            return False
        rest.pop(partner)
    return True


class Sides:
    """Both engines with the tables of one round."""

    def __init__(self, freshet, tables, form, seed):
        self.freshet, self.form, self.tables, self.seed = freshet, form, tables, seed
        self.duckdb = DuckDB()
        self.names = {}
        for table in tables:
            self.load(table)

    def load(self, table):
        self.names[table.name] = f"{table.name}_{next(NUMBERS)}"
        lines = table.lines(random.Random(f"{self.seed} holes"))
        self.freshet.push(self.names[table.name], self.form, lines)
        self.duckdb.load(table)

    def answers(self, query):
        """Both answers, each rows or a refusal."""
        kinds = [item.node.kind for item in query.items]
        out = []
        for dialect, side in ((FRESHET, self.freshet), (DUCKDB, self.duckdb)):
            sql = query.sql(dialect)
            if dialect == FRESHET:
                for name, actual in self.names.items():
                    sql = sql.replace(f'"{name}"', f'"{actual}"')
            try:
                out.append([[data.show(kind, value) for kind, value in zip(kinds, row)] for row in side.rows(sql)])
            except Refused as refused:
                out.append(refused)
        return out

    def verdict(self, query):
        """`same`, `refused` by DuckDB, or what differs."""
        ours, theirs = self.answers(query)
        if isinstance(theirs, Refused):
            return "refused"
        if isinstance(ours, Refused):
            return f"error {ours.args[0][:120]}"
        return "same" if same_rows(ours, theirs, query.order is not None) else "rows"


def minimal(sides, query):
    """A smaller query and smaller tables that still differ in the same way."""
    wanted, deadline = sides.verdict(query), time.monotonic() + SMALLER_SECONDS
    found = True
    while found and time.monotonic() < deadline:
        found = False
        for candidate in smaller(query):
            if candidate is not None and len(candidate.sql(FRESHET)) < len(query.sql(FRESHET)) and sides.verdict(candidate) == wanted:
                query, found = candidate, True
                break
            if time.monotonic() > deadline:
                break
    for index, table in enumerate(sides.tables):
        step = max(len(table.rows) // 2, 1)
        while step and time.monotonic() < deadline:
            at = 0
            while at < len(table.rows) and time.monotonic() < deadline:
                rest = table.rows[:at] + table.rows[at + step:]
                if rest:
                    sides.load(table.part(rest))
                    if sides.verdict(query) == wanted:
                        table = table.part(rest)
                        continue
                at += step
            step //= 2
        sides.load(table)
        sides.tables[index] = table
    return query


def report(sides, query, place):
    query = minimal(sides, query)
    ours, theirs = sides.answers(query)
    lines = [f"=== {place}, rows {sides.form}"]
    for table in sides.tables:
        if f'"{table.name}"' in query.sql(FRESHET):
            rows = table.lines()
            lines += [f"PUSH {table.name}"] + rows[:20] + ([f".. {len(rows)} rows"] if len(rows) > 20 else [])
    lines += ["freshet: " + query.sql(FRESHET), "duckdb:  " + query.sql(DUCKDB)]
    for name, answer in (("freshet", ours), ("duckdb", theirs)):
        lines.append(f"{name} answers: " + (str(answer) if isinstance(answer, Refused) else f"{len(answer)} rows {answer[:8]}"))
    print("\n".join(lines), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--only", type=int, help="one round")
    options = parser.parse_args()
    freshet = Freshet(options.server)
    rounds = range(-(-options.queries // QUERIES_PER_ROUND)) if options.only is None else [options.only]
    counts = {"same": 0, "refused": 0, "error": 0, "rows": 0}
    reported = with_rows = 0
    for round_number in rounds:
        seed = f"{options.seed}/{round_number}"
        maker = random.Random(seed)
        name = f"diff_{options.seed}_{round_number}_{time.time_ns() % 1_000_000_000}"
        size = maker.choice(SIZES)
        table = data.table(maker, f"{name}_t", size)
        sides = Sides(freshet, [table, data.lookup(maker, f"{name}_l", table)], FORMS[round_number % 3], seed)
        for number in range(QUERIES_PER_ROUND):
            maker = random.Random(f"{seed}/{number}")
            query = queries.Queries(maker, *sides.tables).query()
            verdict = sides.verdict(query)
            counts[verdict.split()[0]] += 1
            if verdict == "refused":
                print(f"refused by DuckDB, {seed}/{number}: {sides.answers(query)[1]}", file=sys.stderr)
            if verdict not in ("same", "refused") and reported < REPORTED_MAX:
                reported += 1
                report(Sides(freshet, [table, sides.tables[1]], sides.form, seed), query, f"seed {seed}/{number}")
    total = sum(counts.values())
    print(f"queries compared: {counts['same']} same, {counts['rows']} with other rows, {counts['error']} refused by Freshet alone, "
          f"{counts['refused']} refused by DuckDB; seed {options.seed}")
    if counts["rows"] or counts["error"] or counts["refused"] > total * REFUSED_SHARE_MAX:
        sys.exit(1)


if __name__ == "__main__":
    main()
