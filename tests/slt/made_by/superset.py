"""Makes superset_*.slt: the statements that Superset's druid engine spec sends, with the answers of DuckDB 2.0.0 over the same edits.

    $(tests/services/python.sh) tests/slt/made_by/superset.py [--check]

Each statement stands here twice: as Superset writes it, and what it means in DuckDB.
"""

import datetime
import pathlib
import sys

import duckdb

FOLDER = pathlib.Path(__file__).parent.parent
EDITS = FOLDER.parent / "fixtures/wikiticker-2015-09-12-sampled.json.gz"
SOURCE = '"druid"."${wikipedia}"'
TIME = 'CAST("__time" AS TIMESTAMP)'
DAY = '''"__time" >= TIME_PARSE('2015-09-12T00:00:00') AND "__time" < TIME_PARSE('2015-09-13T00:00:00')'''
SUM_ADDED = 'SUM("added")'
DUCK_DAY = "t >= '2015-09-12' AND t < '2015-09-13'"


def connect():
    duck = duckdb.connect()
    duck.execute("SET TimeZone = 'UTC'")
    duck.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
    duck.execute(f"""CREATE TABLE w AS SELECT * EXCLUDE (time, isRobot, isNew, isMinor, isAnonymous, isUnpatrolled, metroCode),
        CAST("time" AS TIMESTAMP) AS t, CAST(isRobot AS VARCHAR) AS isRobot, CAST(isNew AS VARCHAR) AS isNew,
        CAST(isMinor AS VARCHAR) AS isMinor, CAST(isAnonymous AS VARCHAR) AS isAnonymous, CAST(metroCode AS VARCHAR) AS metroCode
        FROM read_json('{EDITS}')""")
    return duck


def cell(value):
    if value is None:
        return "NULL"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "(empty)" if value == "" else str(value)


def letter(value):
    return "R" if isinstance(value, float) else "I" if isinstance(value, int) and not isinstance(value, bool) else "T"


class File:
    def __init__(self, duck, name, head):
        self.duck, self.name = duck, name
        self.lines = [f"# {head}",
                      "# Expectations: DuckDB 2.0.0 over the same edits, by tests/slt/made_by/superset.py, which writes this file."]

    def ask(self, sql, meaning, types=None):
        """`meaning` has an ORDER BY that leaves no ties, unless the answer is one row."""
        rows = self.duck.execute(meaning).fetchall()
        assert rows or types, sql
        types = types or "".join(letter(next((row[i] for row in rows if row[i] is not None), "")) for i in range(len(rows[0])))
        self.lines += ["", f"query {types}", sql, "----"] + [" ".join(map(cell, row)) for row in rows]

    def text(self):
        return "\n".join(self.lines) + "\n"


# Grain, its expression, what it means, and a range of time small enough to be read.
GRAINS = [
    ("second", "TIME_FLOOR({c}, 'PT1S')", "date_trunc('second', t)", ("2015-09-12T12:00:00", "2015-09-12T12:00:30")),
    ("5 seconds", "TIME_FLOOR({c}, 'PT5S')", "time_bucket(INTERVAL '5 seconds', t)", ("2015-09-12T12:00:00", "2015-09-12T12:02:00")),
    ("30 seconds", "TIME_FLOOR({c}, 'PT30S')", "time_bucket(INTERVAL '30 seconds', t)", ("2015-09-12T12:00:00", "2015-09-12T12:10:00")),
    ("minute", "TIME_FLOOR({c}, 'PT1M')", "date_trunc('minute', t)", ("2015-09-12T12:00:00", "2015-09-12T12:30:00")),
    ("5 minutes", "TIME_FLOOR({c}, 'PT5M')", "time_bucket(INTERVAL '5 minutes', t)", ("2015-09-12T11:00:00", "2015-09-12T13:00:00")),
    ("10 minutes", "TIME_FLOOR({c}, 'PT10M')", "time_bucket(INTERVAL '10 minutes', t)", ("2015-09-12T11:00:00", "2015-09-12T13:00:00")),
    ("15 minutes", "TIME_FLOOR({c}, 'PT15M')", "time_bucket(INTERVAL '15 minutes', t)", ("2015-09-12T00:00:00", "2015-09-13T00:00:00")),
    ("30 minutes", "TIME_FLOOR({c}, 'PT30M')", "time_bucket(INTERVAL '30 minutes', t)", ("2015-09-12T00:00:00", "2015-09-13T00:00:00")),
    ("hour", "TIME_FLOOR({c}, 'PT1H')", "date_trunc('hour', t)", ("2015-09-12T00:00:00", "2015-09-13T00:00:00")),
    ("6 hours", "TIME_FLOOR({c}, 'PT6H')", "time_bucket(INTERVAL '6 hours', t)", ("2015-09-12T00:00:00", "2015-09-13T00:00:00")),
    ("day", "TIME_FLOOR({c}, 'P1D')", "date_trunc('day', t)", ("2015-09-01T00:00:00", "2015-10-01T00:00:00")),
    ("week", "TIME_FLOOR({c}, 'P1W')", "date_trunc('week', t)", ("2015-09-01T00:00:00", "2015-10-01T00:00:00")),
    ("month", "TIME_FLOOR({c}, 'P1M')", "date_trunc('month', t)", ("2015-01-01T00:00:00", "2016-01-01T00:00:00")),
    ("quarter", "TIME_FLOOR({c}, 'P3M')", "date_trunc('quarter', t)", ("2015-01-01T00:00:00", "2016-01-01T00:00:00")),
    ("year", "TIME_FLOOR({c}, 'P1Y')", "date_trunc('year', t)", ("2015-01-01T00:00:00", "2016-01-01T00:00:00")),
    ("week ending Saturday", "TIME_SHIFT(TIME_FLOOR(TIME_SHIFT({c}, 'P1D', 1), 'P1W'), 'P1D', 5)",
     "date_trunc('week', t + INTERVAL 1 DAY) + INTERVAL 5 DAY", ("2015-09-01T00:00:00", "2015-10-01T00:00:00")),
    ("week starting Sunday", "TIME_SHIFT(TIME_FLOOR(TIME_SHIFT({c}, 'P1D', 1), 'P1W'), 'P1D', -1)",
     "date_trunc('week', t + INTERVAL 1 DAY) - INTERVAL 1 DAY", ("2015-09-01T00:00:00", "2015-10-01T00:00:00")),
]


def time_grains(duck):
    file = File(duck, "superset_time_grains", "Every time grain of Superset's druid engine spec, as its charts use them.")
    for name, form, meaning, (start, end) in GRAINS:
        expression = form.format(c=TIME)
        file.lines += ["", f"# {name}"]
        file.ask(f'SELECT {expression} AS "__timestamp", COUNT(*) AS "count", SUM("added") AS "SUM(added)" FROM {SOURCE} '
                 f'WHERE "__time" >= TIME_PARSE(\'{start}\') AND "__time" < TIME_PARSE(\'{end}\') GROUP BY {expression} '
                 f'ORDER BY "__timestamp" ASC LIMIT 10000',
                 f"SELECT {meaning} AS b, count(*), sum(added)::BIGINT FROM w WHERE t >= '{start}' AND t < '{end}' GROUP BY b ORDER BY b")
    file.lines += ["", "# no grain"]
    file.ask(f'SELECT "__time" AS "__timestamp", "page" AS "page" FROM {SOURCE} WHERE "__time" >= TIME_PARSE(\'2015-09-12T23:59:50\') '
             f'AND "__time" < TIME_PARSE(\'2015-09-13T00:00:00\') ORDER BY "__timestamp" ASC LIMIT 100',
             "SELECT t, page FROM w WHERE t >= '2015-09-12 23:59:50' AND t < '2015-09-13' ORDER BY t")
    return file


def series(where, order, limit):
    inner = (f'SELECT "channel" AS "channel__", {order} AS "mme_inner__" FROM {SOURCE} WHERE {where} GROUP BY "channel" '
             f'ORDER BY "mme_inner__" DESC LIMIT {limit}')
    return f'JOIN ({inner}) AS "series_limit" ON "channel" = "channel__"'


def charts(duck):
    file = File(duck, "superset_charts", "Charts as Superset writes them: filters, metrics, series limits.")
    hour = f"TIME_FLOOR({TIME}, 'PT6H')"
    six = "time_bucket(INTERVAL '6 hours', t)"
    top = "(SELECT channel FROM w WHERE {} GROUP BY channel ORDER BY {} DESC, channel LIMIT {})"
    file.ask(f'SELECT {hour} AS "__timestamp", "channel" AS "channel", COUNT(*) AS "count" FROM {SOURCE} {series(DAY, "COUNT(*)", 5)} '
             f'WHERE {DAY} GROUP BY {hour}, "channel" ORDER BY "count" DESC LIMIT 10000',
             f"SELECT {six} b, channel, count(*) c FROM w WHERE channel IN {top.format(DUCK_DAY, 'count(*)', 5)} GROUP BY ALL ORDER BY c DESC, b, channel")
    file.ask(f'SELECT {hour} AS "__timestamp", "channel" AS "channel", SUM("added") AS "SUM(added)" FROM {SOURCE} '
             f'{series(DAY, SUM_ADDED, 3)} WHERE {DAY} GROUP BY {hour}, "channel" '
             f'ORDER BY "SUM(added)" DESC LIMIT 10000',
             f"SELECT {six} b, channel, sum(added)::BIGINT c FROM w WHERE channel IN {top.format(DUCK_DAY, 'sum(added)', 3)} GROUP BY ALL ORDER BY c DESC, b, channel")
    # Without DRUID_JOINS: the values of a first query become a filter.
    file.ask(f'SELECT {hour} AS "__timestamp", "channel" AS "channel", COUNT(*) AS "count" FROM {SOURCE} WHERE {DAY} AND '
             f'("channel" = \'#en.wikipedia\' OR "channel" = \'#vi.wikipedia\' OR "channel" = \'#de.wikipedia\') GROUP BY {hour}, "channel" '
             f'ORDER BY "count" DESC LIMIT 50000',
             f"SELECT {six} b, channel, count(*) c FROM w WHERE channel IN ('#en.wikipedia', '#vi.wikipedia', '#de.wikipedia') GROUP BY ALL ORDER BY c DESC, b, channel")
    file.ask(f'SELECT "channel" AS "channel", "isRobot" AS "isRobot", COUNT(*) AS "count" FROM {SOURCE} WHERE {DAY} AND "channel" IN '
             f'(\'#en.wikipedia\', \'#fr.wikipedia\') AND "namespace" NOT IN (\'Main\', \'Talk\') GROUP BY "channel", "isRobot" ORDER BY "count" DESC LIMIT 100',
             "SELECT channel, isRobot, count(*) c FROM w WHERE channel IN ('#en.wikipedia', '#fr.wikipedia') AND namespace NOT IN ('Main', 'Talk') GROUP BY ALL ORDER BY c DESC, 1, 2")
    metrics = ('COUNT(*) AS "count", COUNT(DISTINCT "user") AS "COUNT_DISTINCT(user)", SUM("added") AS "SUM(added)", AVG("delta") AS "AVG(delta)", '
               'MIN("delta") AS "MIN(delta)", MAX("delta") AS "MAX(delta)"')
    meanings = "count(*) c, count(DISTINCT \"user\"), sum(added)::BIGINT, avg(delta), min(delta), max(delta)"
    file.ask(f'SELECT {metrics} FROM {SOURCE} WHERE {DAY} LIMIT 50000', f"SELECT {meanings} FROM w")
    file.ask(f'SELECT "countryName" AS "countryName", {metrics} FROM {SOURCE} WHERE {DAY} AND "countryName" IS NOT NULL GROUP BY "countryName" '
             f'ORDER BY "count" DESC LIMIT 10',
             f"SELECT countryName, {meanings} FROM w WHERE countryName IS NOT NULL GROUP BY ALL ORDER BY c DESC, 1 LIMIT 10")
    for condition in ['"cityName" IS NULL', '"cityName" IS NOT NULL', '"cityName" != \'Rome\'', '"page" LIKE \'%Talk%\'',
                      '"page" NOT LIKE \'User%\'', '"added" > 10000', '"added" >= 18', '"delta" < 0', '"delta" <= -500', '"comment" = \'\'',
                      '("cityName" = \'\' OR "cityName" IS NULL)', '"metroCode" IN (\'501\', \'803\')']:
        file.ask(f'SELECT COUNT(*) AS "count" FROM {SOURCE} WHERE {DAY} AND {condition}', f"SELECT count(*) FROM w WHERE {condition}")
    file.ask(f'SELECT "namespace" AS "namespace", COUNT(*) AS "count" FROM {SOURCE} WHERE {DAY} GROUP BY "namespace" HAVING COUNT(*) > 500 '
             f'ORDER BY "count" ASC LIMIT 100',
             "SELECT namespace, count(*) c FROM w GROUP BY ALL HAVING c > 500 ORDER BY c, 1")
    # A custom metric, a calculated column, and a metric divided by another.
    file.ask(f'SELECT CASE WHEN "isRobot" = \'true\' THEN \'robot\' ELSE \'person\' END AS "kind", SUM("added") * 1.0 / COUNT(*) AS "per edit", '
             f'SUM(CASE WHEN "isNew" = \'true\' THEN 1 ELSE 0 END) AS "new" FROM {SOURCE} WHERE {DAY} '
             f'GROUP BY CASE WHEN "isRobot" = \'true\' THEN \'robot\' ELSE \'person\' END ORDER BY "new" DESC LIMIT 100',
             "SELECT CASE WHEN isRobot = 'true' THEN 'robot' ELSE 'person' END k, sum(added)::DOUBLE / count(*), "
             "sum(CASE WHEN isNew = 'true' THEN 1 ELSE 0 END)::BIGINT n FROM w GROUP BY k ORDER BY n DESC")
    # Time compared: the same chart an offset earlier, and the whole before the filter.
    file.ask(f'SELECT {hour} AS "__timestamp", COUNT(*) AS "count" FROM {SOURCE} WHERE "__time" >= TIME_PARSE(\'2015-09-11T12:00:00\') AND '
             f'"__time" < TIME_PARSE(\'2015-09-12T12:00:00\') GROUP BY {hour} ORDER BY "__timestamp" LIMIT 100',
             f"SELECT {six} b, count(*) FROM w WHERE t < '2015-09-12 12:00:00' GROUP BY b ORDER BY b")
    file.ask(f'SELECT "channel" AS "channel" FROM {SOURCE} WHERE "__time" >= TIME_PARSE(\'2001-01-01T00:00:00\') AND '
             f'"__time" < CAST(TIME_PARSE(\'2002-01-01\') AS DATE) GROUP BY "channel" LIMIT 100',
             "SELECT channel FROM w WHERE t < '2002-01-01'", "T")
    return file


def datasets(duck):
    file = File(duck, "superset_datasets", "What Superset asks besides charts: probes, samples, counts of rows, lists of values.")
    file.ask("SELECT 1", "SELECT 1")
    file.ask(f'SELECT COUNT(*) AS "rowcount" FROM (SELECT "__time" AS "__time", "channel" AS "channel", "added" AS "added" FROM {SOURCE} '
             f'WHERE {DAY}) AS "rowcount_qry" LIMIT 1', "SELECT count(*) FROM w")
    file.ask(f'SELECT COUNT(*) AS "rowcount" FROM (SELECT "page" AS "page" FROM {SOURCE} WHERE {DAY} LIMIT 100 OFFSET 39200) AS "rowcount_qry"',
             "SELECT 44")
    file.ask(f'SELECT COUNT(*) AS "rowcount" FROM (SELECT "channel" AS "channel", COUNT(*) AS "count" FROM {SOURCE} GROUP BY "channel") AS "rowcount_qry"',
             "SELECT count(DISTINCT channel) FROM w")
    # A virtual dataset: its columns are found with one row, then it is charted.
    virtual = f'SELECT "channel", "page", "added" - "deleted" AS "net" FROM {SOURCE} WHERE "isRobot" = \'false\''
    mine = "(SELECT channel, page, added - deleted AS net FROM w WHERE isRobot = 'false')"
    file.ask(f'SELECT COUNT(*) FROM (SELECT * FROM ({virtual}) AS "virtual_table" LIMIT 1)', "SELECT 1")
    file.ask(f'SELECT "channel" AS "channel", SUM("net") AS "SUM(net)" FROM ({virtual}) AS "virtual_table" GROUP BY "channel" '
             f'ORDER BY "SUM(net)" DESC LIMIT 10', f"SELECT channel, sum(net)::BIGINT s FROM {mine} GROUP BY ALL ORDER BY s DESC, 1 LIMIT 10")
    file.ask(f'WITH "robots" AS (SELECT "user", COUNT(*) AS "edits" FROM {SOURCE} WHERE "isRobot" = \'true\' GROUP BY "user") '
             f'SELECT "user", "edits" FROM "robots" WHERE "edits" > 100 ORDER BY "edits" DESC, "user" LIMIT 1000',
             "SELECT \"user\", count(*) c FROM w WHERE isRobot = 'true' GROUP BY ALL HAVING c > 100 ORDER BY c DESC, 1")
    # Lists of values for filters.
    file.ask(f'SELECT DISTINCT "channel" AS "channel" FROM {SOURCE} WHERE {DAY} ORDER BY "channel" ASC LIMIT 1000',
             "SELECT DISTINCT channel FROM w ORDER BY 1")
    file.ask(f'SELECT DISTINCT "countryIsoCode" AS "countryIsoCode" FROM {SOURCE} ORDER BY "countryIsoCode" ASC LIMIT 10',
             "SELECT DISTINCT countryIsoCode FROM w ORDER BY 1 LIMIT 10")
    file.ask(f'SELECT "namespace" AS "namespace" FROM {SOURCE} GROUP BY "namespace" ORDER BY "namespace" ASC LIMIT 12',
             "SELECT DISTINCT namespace FROM w ORDER BY 1 LIMIT 12")
    file.ask(f'SELECT MIN("__time") AS "min", MAX("__time") AS "max" FROM {SOURCE}', "SELECT min(t), max(t) FROM w")
    # Drill to detail: one page of rows.
    file.ask(f'SELECT "__time" AS "__time", "channel" AS "channel", "cityName" AS "cityName", "page" AS "page", "added" AS "added" FROM {SOURCE} '
             f'WHERE "cityName" = \'Rome\' AND {DAY} ORDER BY "__time" ASC LIMIT 5 OFFSET 2',
             "SELECT t, channel, cityName, page, added FROM w WHERE cityName = 'Rome' ORDER BY t LIMIT 5 OFFSET 2")
    return file


def main():
    duck = connect()
    stale = []
    for make in (time_grains, charts, datasets):
        file = make(duck)
        path = FOLDER / f"{file.name}.slt"
        if "--check" not in sys.argv:
            path.write_text(file.text())
        elif path.read_text() != file.text():
            stale.append(path.name)
    if stale:
        sys.exit(f"these are not what superset.py makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
