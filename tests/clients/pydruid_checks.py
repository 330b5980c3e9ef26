"""What pydruid and its SQLAlchemy dialect do against a real server, checked with their own eyes.

Input, JSON on stdin: {"host", "port", "wikipedia": table, "odd": table}. `wikipedia` holds the tutorial's 39,244 edits, `odd` the
rows of `ODD`. Each function below is one check; the names of those that ran are printed as a JSON array.
"""

import json
import sys
import warnings

import sqlalchemy as sa
from pydruid.db import connect, exceptions
from pydruid.db.api import Type
from sqlalchemy import func, text

# A type that the dialect does not know is a warning there, and a failure here. The other is about the dialect itself.
warnings.simplefilter("error", sa.exc.SAWarning)
warnings.filterwarnings("ignore", message=".*supports_statement_cache.*")

given = json.load(sys.stdin)
HOST, PORT, WIKI, ODD = given["host"], given["port"], given["wikipedia"], given["odd"]
ODD_ROWS = given["rows"]
PATHS = ["/druid/v2/sql/", "/druid/v2/sql"]


def rows(sql, parameters=None, **options):
    cursor = connect(host=HOST, port=PORT, **options).cursor()
    return [tuple(row) for row in cursor.execute(sql, parameters).fetchall()]


def expect_raised(kind, part, call):
    try:
        call()
    except kind as error:
        assert part in str(error), str(error)
        return str(error)
    raise AssertionError(f"nothing was raised, and {kind.__name__} with {part!r} was due")


def every_way_to_connect():
    for path in PATHS:
        for header in [True, False]:
            for login in [{}, {"user": "u", "password": "p"}, {"jwt": "a.b.c"}]:
                options = {"path": path, "header": header, **login}
                assert rows("SELECT COUNT(*) AS n FROM " + WIKI, **options) == [(39244,)], options


def description_comes_from_the_first_row():
    connection = connect(host=HOST, port=PORT, path=PATHS[0])
    cursor = connection.cursor()
    cursor.execute(f"SELECT channel, added, added > 10 AS b, added * 1.0 AS d, __time, cityName FROM {WIKI} LIMIT 1")
    kinds = [(column[0], column[1], column[6]) for column in cursor.description]
    assert kinds == [
        ("channel", Type.STRING, True),
        ("added", Type.NUMBER, False),
        ("b", Type.BOOLEAN, False),
        ("d", Type.NUMBER, False),
        ("__time", Type.STRING, True),
        ("cityName", Type.STRING, True),
    ], kinds
    row = cursor.fetchone()
    assert type(row.d) is float and type(row.added) is int and type(row.b) is bool, row
    connection.commit()
    connection.close()
    expect_raised(exceptions.Error, "closed", connection.cursor)


def an_empty_result_with_a_header_has_columns():
    cursor = connect(host=HOST, port=PORT, header=True).cursor()
    cursor.execute(f"SELECT channel, COUNT(*) AS n FROM {WIKI} WHERE 1 = 0 GROUP BY 1")
    assert [column[0] for column in cursor.description] == ["channel", "n"]
    assert cursor.fetchall() == []
    assert cursor.rowcount == 0
    cursor = connect(host=HOST, port=PORT, header=False).cursor()
    cursor.execute(f"SELECT channel FROM {WIKI} WHERE 1 = 0")
    assert cursor.description is None and cursor.fetchall() == []


def parameters_are_bound_by_the_client():
    one = rows(f"SELECT COUNT(*) FROM {WIKI} WHERE cityName = %(city)s", {"city": "Rome"})
    assert one == [(9,)], one
    quoted = rows(f"SELECT COUNT(*) FROM {WIKI} WHERE page = %(page)s", {"page": "Wikipedia:Administrators' noticeboard/Incidents"})
    assert quoted == [(21,)], quoted
    listed = rows(f"SELECT COUNT(*) FROM {WIKI} WHERE channel IN (%(channels)s)", {"channels": ["#en.wikipedia", "#fr.wikipedia"]})
    assert listed == [(13648,)], listed
    assert rows("SELECT %(n)s + 1, %(b)s, %(t)s", {"n": 41, "b": True, "t": "50 %"}) == [(42, True, "50 %")]


def known_answers():
    totals = rows(f"SELECT SUM(added), SUM(deleted), SUM(delta), AVG(added), MIN(__time) FROM {WIKI}")
    assert totals == [(9385573, 394298, 8991275, 239.15943838548569, "2015-09-12T00:46:58.771Z")], totals
    top = rows(f"SELECT page, COUNT(*) AS n FROM {WIKI} GROUP BY 1 ORDER BY n DESC LIMIT 3")
    assert top[0] == ("Wikipedia:Vandalismusmeldung", 33) and top[2] == ("Jeremy Corbyn", 27), top
    cities = rows(f"SELECT cityName FROM {WIKI} GROUP BY cityName ORDER BY cityName ASC LIMIT 4")
    assert cities == [(None,), ("A Coruña",), ("Aarhus",), ("Aberdare",)], cities


def context_is_sent_and_obeyed():
    context = {"sqlTimeZone": "America/Los_Angeles"}
    days = rows(f"SELECT FLOOR(__time TO DAY) AS d, COUNT(*) AS n FROM {WIKI} GROUP BY 1", context=context)
    assert sorted(days) == [("2015-09-11T00:00:00.000-07:00", 7533), ("2015-09-12T00:00:00.000-07:00", 31711)], days


def odd_texts_come_back_whole():
    for header in [True, False]:
        read = rows(f"SELECT n, t FROM {ODD} ORDER BY n", header=header)
        expected = [(row["n"], row["t"]) for row in ODD_ROWS]
        assert read == expected, (read, expected)


def odd_names_come_back_whole():
    cursor = connect(host=HOST, port=PORT).cursor()
    cursor.execute("SELECT 1 AS \"Größe {x}\", 2 AS \"a\\b\", COUNT(*), 4")
    assert [column[0] for column in cursor.description] == ["Größe {x}", "a\\b", "EXPR$2", "EXPR$3"]
    assert tuple(cursor.fetchone()) == (1, 2, 1, 4)


def arrays_are_texts():
    assert rows("SELECT ARRAY[1, 2] AS a") == [("[1,2]",)]


def rows_stream_while_the_query_runs():
    # Some hundred million rows: the first of them are here long before the last would be.
    cursor = connect(host=HOST, port=PORT).cursor()
    cursor.execute(f"SELECT a.page, b.channel FROM {WIKI} a, {WIKI} b")
    assert len(cursor.fetchmany(2000)) == 2000
    cursor.close()


def all_rows_of_a_large_answer_come():
    read = rows(f"SELECT __time, page, comment, added FROM {WIKI}")
    assert len(read) == 39244 and sum(row[3] for row in read) == 9385573


def errors_have_druids_words():
    def failing(sql, **options):
        return lambda: rows(sql, **options)

    said = expect_raised(exceptions.ProgrammingError, "(INVALID_INPUT)", failing(f"SELECT nope FROM {WIKI}"))
    assert said.startswith("druidException (INVALID_INPUT): Column 'nope' not found in any table"), said
    expect_raised(exceptions.ProgrammingError, "druidException (INVALID_INPUT)", failing("SELECT FROM WHERE"))
    expect_raised(exceptions.ProgrammingError, "Object 'nowhere' not found", failing("SELECT 1 FROM nowhere"))
    expect_raised(exceptions.ProgrammingError, "Query timeout (TIMEOUT): ", failing(
        f"SELECT COUNT(*) FROM {WIKI} a, {WIKI} b WHERE a.added + b.added <> a.deleted", context={"timeout": 200}))
    expect_raised(exceptions.ProgrammingError, "Query context parse failed (INVALID_INPUT): ", failing(
        "SELECT 1", context={"timeout": "soon"}))
    expect_raised(exceptions.ProgrammingError, "division by zero", failing(f"SELECT 1 / (n - n) FROM {ODD}"))


def engine(url_path="/druid/v2/sql/?header=true", scheme="druid", login=""):
    return sa.create_engine(f"{scheme}://{login}{HOST}:{PORT}{url_path}")


def sqlalchemy_connects_and_pings():
    for one in [
        engine(),
        engine("/druid/v2/sql?header=true"),
        engine("/druid/v2/sql/"),
        engine(scheme="druid+http"),
        engine(login="user:secret@"),
        sa.create_engine(f"druid://{HOST}:{PORT}/druid/v2/sql/?header=true", pool_pre_ping=True),
    ]:
        with one.connect() as connection:
            assert one.dialect.do_ping(connection.connection.connection)
            assert connection.execute(text("SELECT 1 AS one")).scalar() == 1
            assert connection.execute(text(f"SELECT COUNT(*) FROM {WIKI}")).scalar() == 39244


def the_inspector_finds_schemas_tables_and_columns():
    inspector = sa.inspect(engine())
    assert sorted(inspector.get_schema_names()) == ["druid", "lookup", "sys"]
    assert WIKI in inspector.get_table_names(schema="druid") and ODD in inspector.get_table_names("druid")
    assert "segments" in inspector.get_table_names("sys") and "segments" not in inspector.get_table_names("druid")
    assert inspector.get_view_names("druid") == []
    assert inspector.get_pk_constraint(WIKI, "druid") == {"constrained_columns": [], "name": None}
    columns = inspector.get_columns(WIKI, "druid")
    odd = {column["name"]: type(column["type"]).__name__ for column in inspector.get_columns(ODD, "druid")}
    assert odd == {"__time": "TIMESTAMP", "n": "BigInteger", "t": "String", "x": "Float"}, odd
    first = columns[0]
    assert (first["name"], type(first["type"]), first["nullable"], first["default"]) == ("__time", sa.types.TIMESTAMP, False, None), first
    types = {column["name"]: column["type"] for column in columns}
    assert type(types["channel"]) is sa.types.String and type(types["added"]) is sa.types.BigInteger, types
    assert all(column["nullable"] and column["default"] is None for column in columns[1:])
    assert inspector.has_table(WIKI) and not inspector.has_table("no_such_table")


def reflected():
    return sa.Table(WIKI, sa.MetaData(), schema="druid", autoload_with=engine())


def a_table_is_reflected_and_queried():
    table = reflected()
    assert "page" in table.columns and len(table.columns) == 20
    with engine().connect() as connection:
        counted = sa.select(table.c.channel.label("Channel"), func.count("*").label("count"), func.sum(table.c.added).label("sum"))
        counted = counted.group_by(table.c.channel).order_by(sa.desc("count")).limit(2)
        found = [tuple(row) for row in connection.execute(counted)]
        assert found[0] == ("#en.wikipedia", 11549, 3045299) and found[1][:2] == ("#vi.wikipedia", 9747), found
        third = [row.channel for row in connection.execute(
            sa.select(table.c.channel).group_by(table.c.channel).order_by(func.count().desc()).limit(1).offset(2))]
        assert third == ["#de.wikipedia"], third
        filtered = sa.select(func.count()).select_from(table).where(
            table.c.cityName != "Rome", table.c.page.like("%Talk%") | table.c.added.in_([1, 2, 3]), table.c.added.between(0, 100))
        assert isinstance(connection.execute(filtered).scalar(), int)
        assert connection.execute(sa.select(func.count()).select_from(table).where(table.c.page.like("%Talk%"))).scalar() == 591
        assert connection.execute(sa.select(func.count()).select_from(table).where(table.c.cityName.is_(None))).scalar() == 37091
        assert connection.execute(sa.select(func.count(sa.distinct(table.c.channel)))).scalar() == 51
        having = sa.select(table.c.countryName, func.count().label("n")).where(table.c.countryName.isnot(None))
        having = having.group_by(table.c.countryName).having(func.count() > 190).order_by(sa.desc("n"))
        assert [row.n for row in connection.execute(having)] == [528, 256, 234, 205, 194]
        nested = sa.select(func.count()).select_from(sa.select(table.c.user).distinct().subquery("u"))
        assert connection.execute(nested).scalar() == 10531
        joined = table.join(other := sa.select(table.c.channel).group_by(table.c.channel).limit(3).subquery("series_limit"), table.c.channel == other.c.channel)
        assert connection.execute(sa.select(func.count(sa.distinct(table.c.channel))).select_from(joined)).scalar() == 3


def superset_expressions_are_answered():
    grain = 'TIME_FLOOR(CAST("__time" AS TIMESTAMP), \'PT6H\')'
    chart = (f'SELECT {grain} AS "__timestamp", "channel" AS "channel", SUM("added") AS "sum__added" FROM "druid"."{WIKI}" '
             f"WHERE \"__time\" >= TIME_PARSE('2015-09-12T00:00:00') AND \"__time\" < TIME_PARSE('2015-09-13T00:00:00') "
             f'GROUP BY "channel", {grain} ORDER BY "sum__added" DESC LIMIT 5')
    with engine().connect() as connection:
        found = connection.execute(text(chart)).fetchall()
        assert len(found) == 5 and found[0]["channel"] == "#en.wikipedia", found
        preview = connection.execute(text(f'SELECT * FROM "druid"."{WIKI}" LIMIT 100'))
        assert len(preview.fetchall()) == 100 and list(preview.keys())[0] == "__time"
        percent = connection.execute(text(f"SELECT COUNT(*) FROM {WIKI} WHERE page LIKE '%Talk%'")).scalar()
        assert percent == 591
        driver = connection.exec_driver_sql(f"SELECT COUNT(*) FROM {WIKI} WHERE page LIKE '%Talk%' AND added % 2 = 0").scalar()
        assert 0 < driver < 591
        rowcount = connection.execute(text(f'SELECT COUNT(*) AS "rowcount" FROM (SELECT * FROM "druid"."{WIKI}" LIMIT 7) AS "rowcount_qry"'))
        assert rowcount.scalar() == 7


def sqlalchemy_passes_errors_on():
    with engine().connect() as connection:
        expect_raised(sa.exc.ProgrammingError, "druidException (INVALID_INPUT)", lambda: connection.execute(text("SELECT nope")))
        assert connection.execute(text("SELECT 2")).scalar() == 2, "the connection goes on"


checks = [value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == __name__]
checks = [check for check in checks if check.__name__ not in {"rows", "expect_raised", "engine", "reflected"}]
done = []
for check in checks:
    try:
        check()
    except BaseException as error:
        print(f"{check.__name__} failed: {error!r}", file=sys.stderr)
        raise
    done.append(check.__name__)
json.dump(done, sys.stdout)
