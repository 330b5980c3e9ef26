"""Random expressions in both dialects. Each difference between the dialects stands here, beside the expression it belongs to:

| Freshet (as Druid has it) | DuckDB | why |
|---|---|---|
| `a + b`, `a - b`, `a * b`, `-a`, `ABS`, `SUM` of BIGINT | `wrap(..)` of the same over HUGEINT | Druid's longs wrap around; DuckDB's overflow is an error |
| `a / b` of BIGINT | `a // b` | Druid truncates; DuckDB's `/` is floating point |
| `SAFE_DIVIDE(a, b)` | `a // nullif(b, 0)`, `a / nullif(b, 0)` | its name |
| `CAST(d AS BIGINT)` | `try_cast(trunc(d) AS BIGINT)` | Druid truncates, DuckDB rounds; what does not fit is null here |
| `CAST(s AS BIGINT)` | `try_cast(..)` | a bad text is null |
| `CAST(t AS BIGINT)`, `TIMESTAMP_TO_MILLIS` | `epoch_ms(t)` | |
| `CAST(t AS VARCHAR)`, `TIME_FORMAT` | `strftime` | |
| `TIME_FLOOR(t, p)` | `time_bucket(.., TIMESTAMP '1970-01-01')`, `date_trunc` for weeks and longer | origins; weeks begin on Monday |
| `TIME_FLOOR(t, p, NULL, zone)` | `date_trunc` between `AT TIME ZONE`s | |
| `TIME_SHIFT`, `TIMESTAMPADD`, `+ INTERVAL` | `+ to_days(n)` and kin | |
| `TIMESTAMPDIFF` | `date_sub` | whole units |
| `EXTRACT(DOW ..)`, `EPOCH`, `MILLISECOND` | `isodow`, floors of `epoch_ms` | Monday is 1; parts without fractions |
| `TIME_IN_INTERVAL(t, 'a/b')` | `t >= a AND t < b` | |
| `REGEXP_LIKE`, `REGEXP_EXTRACT` | `regexp_matches`, `regexp_extract` or null | DuckDB gives '' where nothing matches |
| `REGEXP_REPLACE(.., '$1')` | `regexp_replace(.., '\\1', 'g')` | |
| `CONTAINS_STRING` | `contains` | |
| `ICONTAINS_STRING(s, x)` | `contains(lower(s), lower(x))` | |
| `CONCAT(..)` | `||` | null in, null out |
| `NVL` | `coalesce` | |
| `TRIM(BOTH c FROM s)` | `trim(s, c)` | |
| `STDDEV_SAMP(x)`, `VAR_SAMP(x)` of one value | 0.0 | Druid's own; DuckDB has null |
| `IS UNKNOWN` | `IS NULL` | |
| `ORDER BY` | `default_null_order = nulls_first_on_asc_last_on_desc` | |

Kept out, because both are right in their own way: days added in a zone (of a local time that comes twice DuckDB takes the second, Druid
the first: `time_shift.slt`); `ABS` and `-` of the smallest long, and its division by -1 (an error here: `errors.slt`); text of doubles (Java's form here), LOWER and UPPER of letters that become two,
equality of doubles that were computed with rounding, sums whose terms cancel, the place of NaN in an order.
"""

from nodes import B, D, L, S, T, Node

PATTERNS = ["%", "", "_", "B%", "%n", "%e%", "%\\%", "a_b", "a!_b", "100!%", "%é%", "_o%", "%\n%", "東_", "%'%", "__", "%l_n%", "B%n"]
REGEXPS = ["^B", "n$", "e", "[A-Z]", "(.)e", "^.$", "a|b", "\\\\d+", "ü", "^$", "(a)(.)"]
PIECES = ["", "B", "e", "ü", "京", " ", "%", "_", "'", "\\", "zz"]
UNITS = ["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"]
ZONES = ["Europe/Zurich", "America/Los_Angeles", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"]
PERIODS = {"PT1S": "1 second", "PT5S": "5 seconds", "PT1M": "1 minute", "PT15M": "15 minutes", "PT1H": "1 hour", "PT6H": "6 hours",
           "P1D": "1 day", "P3D": "3 days"}
CALENDAR = {"P1W": "week", "P1M": "month", "P3M": "quarter", "P1Y": "year", "P1D": "day"}
COMPARE = ["=", "<>", "<", "<=", ">", ">="]


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def literal(kind, value):
    if value is None:
        return Node(kind, "NULL")
    if kind == S:
        return Node(S, quote(value))
    if kind == T:
        return Node(T, f"TIMESTAMP '{value[:-1].replace('T', ' ')}'")
    if kind == D:
        text = repr(float(value)) if "e" not in repr(float(value)) else f"CAST('{value!r}' AS DOUBLE)"
        return Node(D, text, f"CAST('{value!r}' AS DOUBLE)")
    if kind == L and value == -(2**63):
        return Node(L, "(-9223372036854775807 - 1)")
    return Node(kind, str(value) if value >= 0 else f"({value})")


class Scope:
    """Columns that an expression may name, and values that occur in them."""

    def __init__(self, random, columns, values):
        self.random = random
        # Triples of type, text, and whether the value is free of rounding.
        self.columns = columns
        self.values = values

    def column(self, kind):
        found = [c for c in self.columns if c[0] == kind]
        if not found:
            return None
        kind, text = self.random.choice(found)[:2]
        return Node(kind, text)

    def constant(self, kind):
        values = self.values.get(kind)
        if values and self.random.random() < 0.8:
            return literal(kind, self.random.choice(values))
        fallback = {S: "Bern", L: 7, D: 0.25, T: "2026-03-29T01:00:00.000Z"}
        return literal(kind, fallback[kind]) if kind != B else Node(B, self.random.choice(["TRUE", "FALSE"]))


class Expressions:
    """Makes expressions of a scope. `subquery` gives (query, type) for IN and scalar subqueries, or nothing."""

    def __init__(self, scope, subquery=None):
        self.scope, self.random, self.subquery = scope, scope.random, subquery

    def of(self, kind, depth=2):
        """Any expression of a type."""
        leaf = self.scope.column(kind) if self.random.random() < 0.75 else None
        if depth <= 0 or self.random.random() < 0.25:
            return leaf or self.scope.constant(kind)
        return {L: self.long, D: self.double, S: self.text, T: self.time, B: self.condition}[kind](depth - 1)

    def any(self, depth=2, kinds="LLDSSTB"):
        return self.of(self.random.choice(kinds), depth)

    def conditional(self, kind, depth):
        """CASE and kin, for every type."""
        a, b = self.of(kind, depth), self.of(kind, depth)
        return self.random.choice([
            lambda: Node(kind, "CASE WHEN {0} THEN {1} ELSE {2} END", None, [self.of(B, depth), a, b]),
            lambda: Node(kind, "CASE WHEN {0} THEN {1} END", None, [self.of(B, depth), a]),
            lambda: Node(kind, "CASE WHEN {0} THEN {1} WHEN {2} THEN {3} ELSE {1} END", None, [self.of(B, depth), a, self.of(B, depth), b]),
            lambda: Node(kind, "COALESCE({0}, {1})", None, [a, b]),
            lambda: Node(kind, "NVL({0}, {1})", "COALESCE({0}, {1})", [a, b]),
            lambda: Node(kind, "NULLIF({0}, {1})", None, [a, b]),
            lambda: Node(kind, "CASE {0} WHEN {1} THEN {2} ELSE {3} END", None, [self.of(S, 0), self.scope.constant(S), a, b]),
        ] + ([lambda: Node(kind, self.random.choice(["GREATEST", "LEAST"]) + "({0}, {1})", None, [a, b])] if kind != B else []))()

    def long(self, depth):
        a = lambda: self.of(L, depth)
        return self.random.choice([
            lambda: self.wrapped("+", a(), a()),
            lambda: self.wrapped("-", a(), a()),
            lambda: self.wrapped("*", a(), a()),
            lambda: Node(L, "(-({0} / 2))", "wrap(-({0} // 2))", [a()]),
            lambda: Node(L, "({0} / NULLIF(2 * {1}, 0))", "wrap({0}::HUGEINT // NULLIF(wrap(2 * {1}::HUGEINT), 0))", [a(), a()]),
            lambda: Node(L, "SAFE_DIVIDE({0}, 2 * {1})", "wrap({0}::HUGEINT // NULLIF(wrap(2 * {1}::HUGEINT), 0))", [a(), a()]),
            lambda: Node(L, "MOD({0}, NULLIF(2 * {1}, 0))", "wrap({0}::HUGEINT % NULLIF(wrap(2 * {1}::HUGEINT), 0))", [a(), a()]),
            lambda: Node(L, "ABS({0} / 2)", "ABS({0} // 2)", [a()]),
            lambda: Node(L, self.random.choice(["LENGTH", "CHAR_LENGTH", "STRLEN"]) + "({0})", "LENGTH({0})", [self.of(S, depth)]),
            lambda: Node(L, "STRPOS({0}, {1})", None, [self.of(S, depth), literal(S, self.random.choice(PIECES))]),
            lambda: Node(L, "POSITION({1} IN {0})", "STRPOS({0}, {1})", [self.of(S, depth), literal(S, self.random.choice(PIECES))]),
            lambda: Node(L, "CAST({0} AS BIGINT)", "TRY_CAST({0} AS BIGINT)", [self.of(S, 0)]),
            lambda: Node(L, "CAST({0} AS BIGINT)", "TRY_CAST(TRUNC({0}) AS BIGINT)", [self.of(D, 0)]),
            lambda: Node(L, "CAST({0} AS BIGINT)", "epoch_ms({0})", [self.of(T, depth)]),
            lambda: Node(L, "TIMESTAMP_TO_MILLIS({0})", "epoch_ms({0})", [self.of(T, depth)]),
            lambda: self.extract(depth),
            lambda: self.extract(depth),
            lambda: self.difference(depth),
            lambda: self.conditional(L, depth),
        ])()

    def wrapped(self, operator, a, b):
        return Node(L, f"({{0}} {operator} {{1}})", f"wrap({{0}}::HUGEINT {operator} {{1}}::HUGEINT)", [a, b])

    def extract(self, depth):
        time = self.of(T, depth)
        unit = self.random.choice(["EPOCH", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "DOW", "ISODOW", "DOY", "WEEK", "MONTH",
                                   "QUARTER", "YEAR", "ISOYEAR"])
        local = "{0}"
        form = f"EXTRACT({unit} FROM {{0}})" if self.random.random() < 0.5 else f"TIME_EXTRACT({{0}}, '{unit}')"
        if self.random.random() < 0.3:
            zone = self.random.choice(ZONES)
            form = f"TIME_EXTRACT({{0}}, '{unit}', '{zone}')"
            local = "{0}" if unit == "EPOCH" else f"(({{0}} AT TIME ZONE 'UTC') AT TIME ZONE '{zone}')"
        duck = {"EPOCH": "CAST(floor(epoch_ms({0}) / 1000) AS BIGINT)", "MILLISECOND": "((epoch_ms({0}) % 1000 + 1000) % 1000)",
                "DOW": "isodow({0})"}.get(unit, f"CAST(date_part('{unit.lower()}', {{0}}) AS BIGINT)")
        return Node(L, form, duck.replace("{0}", local), [time])

    def difference(self, depth):
        unit = self.random.choice(["SECOND", "MINUTE", "HOUR", "DAY", "WEEK"])
        return Node(L, f"TIMESTAMPDIFF({unit}, {{0}}, {{1}})", f"date_sub('{unit.lower()}', {{0}}, {{1}})", [self.of(T, depth), self.of(T, depth)])

    def double(self, depth):
        a = lambda: self.of(D, depth)
        return self.random.choice([
            lambda: Node(D, "({0} " + self.random.choice("+-*") + " {1})", None, [a(), a()]),
            lambda: Node(D, "({0} " + self.random.choice("+-*") + " {1})", None, [a(), self.of(L, depth)]),
            lambda: Node(D, "({0} / NULLIF({1}, 0))", None, [a(), a()]),
            lambda: Node(D, "SAFE_DIVIDE({0}, {1})", "({0} / NULLIF({1}, 0))", [a(), a()]),
            lambda: Node(D, "CAST({0} AS DOUBLE)", None, [self.of(L, depth)]),
            lambda: Node(D, "CAST({0} AS DOUBLE)", "TRY_CAST({0} AS DOUBLE)", [self.of(S, 0)]),
            lambda: Node(D, "(-({0}))", None, [a()]),
            lambda: Node(D, self.random.choice(["ABS", "FLOOR", "CEIL", "ROUND"]) + "({0})", None, [a()]),
            lambda: Node(D, "ROUND({0}, 1)", None, [self.scope.column(D) or a()]),
            lambda: Node(D, self.random.choice(["TRUNCATE", "TRUNC"]) + "({0})", "TRUNC({0})", [a()]),
            lambda: Node(D, "SQRT(ABS({0}))", None, [a()]),
            lambda: Node(D, "POWER({0}, 2)", None, [a()]),
            lambda: Node(D, "LN(ABS({0}) + 1)", None, [a()]),
            lambda: self.conditional(D, depth),
        ])()

    def text(self, depth):
        a = lambda: self.of(S, depth)
        length = self.random.randint(0, 4)
        start = self.random.randint(1, 4)
        pattern = self.random.choice(REGEXPS).replace("\\\\", "\\")
        group = self.random.randint(0, min(pattern.count("("), 1))
        return self.random.choice([
            lambda: Node(S, "({0} || {1})", None, [a(), a()]),
            lambda: Node(S, "CONCAT({0}, {1}, {2})", "({0} || {1} || {2})", [a(), self.scope.constant(S), a()]),
            lambda: Node(S, self.random.choice(["LOWER", "UPPER"]) + "({0})", None, [a()]),
            lambda: Node(S, f"SUBSTRING({{0}}, {start}, {length})", None, [a()]),
            lambda: Node(S, f"SUBSTRING({{0}} FROM {start})", None, [a()]),
            lambda: Node(S, f"SUBSTR({{0}}, {start}, {length})", None, [a()]),
            lambda: Node(S, f"LEFT({{0}}, {length})", None, [a()]),
            lambda: Node(S, f"RIGHT({{0}}, {length})", None, [a()]),
            lambda: Node(S, "TRIM({0})", None, [a()]),
            lambda: Node(S, "TRIM(BOTH 'ne' FROM {0})", "TRIM({0}, 'ne')", [a()]),
            lambda: Node(S, "LTRIM({0}, 'B')", None, [a()]),
            lambda: Node(S, "TRIM(TRAILING ' ' FROM {0})", "RTRIM({0}, ' ')", [a()]),
            lambda: Node(S, "REPLACE({0}, " + quote(self.random.choice(PIECES[1:])).replace("{", "{{") + ", '<>')", None, [a()]),
            lambda: Node(S, "REVERSE({0})", None, [a()]),
            lambda: Node(S, f"LPAD({{0}}, {length + 2}, 'xy')", None, [a()]),
            lambda: Node(S, f"RPAD({{0}}, {length + 2}, '*')", None, [a()]),
            lambda: Node(S, f"REPEAT({{0}}, {length})", None, [a()]),
            lambda: Node(S, "CAST({0} AS VARCHAR)", None, [self.of(L, depth)]),
            lambda: Node(S, "CAST({0} AS VARCHAR)", "strftime({0}, '%Y-%m-%d %H:%M:%S')", [self.of(T, depth)]),
            lambda: Node(S, "TIME_FORMAT({0}, 'yyyy-MM-dd''T''HH:mm')", "strftime({0}, '%Y-%m-%dT%H:%M')", [self.of(T, depth)]),
            lambda: Node(S, f"REGEXP_EXTRACT({{0}}, '{pattern}', {group})",
                         f"CASE WHEN regexp_matches({{0}}, '{pattern}') THEN regexp_extract({{0}}, '{pattern}', {group}) END", [a()]),
            lambda: Node(S, "REGEXP_REPLACE({0}, '([a-e])', '<$1>')", "regexp_replace({0}, '([a-e])', '<\\1>', 'g')", [a()]),
            lambda: self.conditional(S, depth),
        ])()

    def time(self, depth):
        a = lambda: self.of(T, depth)
        step = self.random.randint(-3, 3)
        unit = self.random.choice(UNITS)
        amount = f"to_months({step * 3})" if unit == "QUARTER" else f"to_{unit.lower()}s({step})"
        zone = self.random.choice(ZONES)
        period, name = self.random.choice(list(CALENDAR.items()))
        plain, bucket = self.random.choice(list(PERIODS.items()))
        trunc = f"date_trunc('{unit.lower()}', {{0}})"
        one = "to_months(3)" if unit == "QUARTER" else f"to_{unit.lower()}s(1)"
        return self.random.choice([
            lambda: Node(T, f"TIME_FLOOR({{0}}, '{plain}')", f"time_bucket(INTERVAL '{bucket}', {{0}}, TIMESTAMP '1970-01-01')", [a()]),
            lambda: Node(T, f"TIME_FLOOR(CAST({{0}} AS TIMESTAMP), '{period}')", f"date_trunc('{name}', {{0}})", [a()]),
            lambda: Node(T, f"FLOOR({{0}} TO {unit})", trunc, [a()]),
            lambda: Node(T, f"CEIL({{0}} TO {unit})", f"CASE WHEN {trunc} = {{0}} THEN {{0}} ELSE {trunc} + {one} END", [a()]),
            lambda: Node(T, f"DATE_TRUNC('{unit.lower()}', {{0}})", trunc, [a()]),
            lambda: Node(T, f"TIME_FLOOR({{0}}, '{period}', NULL, '{zone}')",
                         f"((date_trunc('{name}', (({{0}} AT TIME ZONE 'UTC') AT TIME ZONE '{zone}')) AT TIME ZONE '{zone}') AT TIME ZONE 'UTC')", [a()]),
            lambda: Node(T, f"TIME_SHIFT({{0}}, 'P1D', {step})", f"({{0}} + to_days({step}))", [a()]),
            lambda: Node(T, f"TIME_SHIFT({{0}}, 'P1M', {step})", f"({{0}} + to_months({step}))", [a()]),
            lambda: Node(T, f"TIME_SHIFT({{0}}, 'PT1H', {step})", f"({{0}} + to_hours({step}))", [a()]),
            lambda: Node(T, f"TIMESTAMPADD({unit}, {step}, {{0}})", f"({{0}} + {amount})", [a()]),
            lambda: Node(T, f"({{0}} + INTERVAL '{abs(step)}' {unit})".replace("QUARTER", "MONTH"),
                         f"({{0}} + INTERVAL '{abs(step)}' {unit})".replace("QUARTER", "MONTH"), [a()]),
            lambda: Node(T, f"({{0}} - INTERVAL '{abs(step)}' DAY)", None, [a()]),
            lambda: Node(T, "MILLIS_TO_TIMESTAMP(MOD({0}, 1000000000) * 1000)", "make_timestamp((({0} % 1000000000) * 1000000)::BIGINT)", [self.of(L, 0)]),
            lambda: self.conditional(T, depth),
        ])()

    def condition(self, depth):
        if depth > 0 and self.random.random() < 0.35:
            return self.random.choice([
                lambda: Node(B, "({0} AND {1})", None, [self.of(B, depth), self.of(B, depth)]),
                lambda: Node(B, "({0} OR {1})", None, [self.of(B, depth), self.of(B, depth)]),
                lambda: Node(B, "(NOT {0})", None, [self.of(B, depth)]),
                lambda: self.truth(depth),
                lambda: self.conditional(B, depth),
            ])()
        # Mostly columns against literals: what indexes answer.
        left = (lambda kind: self.scope.column(kind) or self.of(kind, 0)) if self.random.random() < 0.6 else (lambda kind: self.of(kind, depth))
        kind = self.random.choice("LLDSSST")
        # Equality of what was rounded is for nobody.
        side = left(kind) if kind != D else (self.scope.column(D) or self.of(D, 0))
        right = self.scope.constant(kind) if self.random.random() < 0.7 or kind == D else self.of(kind, depth)
        negated = self.random.choice(["", "NOT "])
        subquery = self.subquery and self.random.random() < 0.08 and self.subquery()
        if subquery:
            query, kind = subquery
            return self.random.choice([
                lambda: Node(B, f"({{0}} {negated}IN ({{1}}))", None, [left(kind), query]),
                lambda: Node(B, f"({negated}EXISTS ({{0}}))", None, [query]),
            ])()
        return self.random.choice([
            lambda: Node(B, "({0} " + self.random.choice(COMPARE) + " {1})", None, [side, right]),
            lambda: Node(B, "({1} " + self.random.choice(COMPARE) + " {0})", None, [side, right]),
            lambda: Node(B, "({0} " + self.random.choice(COMPARE) + " {1})", None, [left(L), self.scope.column(D) or self.of(D, 0)]),
            lambda: Node(B, f"({{0}} IS {negated}NULL)", None, [left(self.random.choice("LDSTB"))]),
            lambda: Node(B, f"({{0}} IS {negated}DISTINCT FROM {{1}})", None, [side, self.random.choice([right, Node(kind, "NULL")])]),
            lambda: Node(B, f"({{0}} {negated}BETWEEN {{1}} AND {{2}})", None, [side, self.scope.constant(kind), self.scope.constant(kind)]),
            lambda: self.in_list(side, kind, negated),
            lambda: self.in_list(side, kind, negated),
            lambda: self.like(left(S), negated),
            lambda: self.like(left(S), negated),
            lambda: Node(B, "CONTAINS_STRING({0}, {1})", "contains({0}, {1})", [left(S), literal(S, self.random.choice(PIECES))]),
            lambda: Node(B, "ICONTAINS_STRING({0}, {1})", "contains(lower({0}), lower({1}))", [left(S), literal(S, self.random.choice(PIECES))]),
            lambda: self.regexp(left(S)),
            lambda: self.interval(left(T)),
        ])()

    def truth(self, depth):
        word, duck = self.random.choice([("TRUE", None), ("FALSE", None), ("UNKNOWN", "NULL")])
        negated = self.random.choice(["", "NOT "])
        return Node(B, f"({{0}} IS {negated}{word})", f"({{0}} IS {negated}{duck or word})", [self.of(B, depth)])

    def in_list(self, side, kind, negated):
        values = [self.scope.constant(kind) for _ in range(self.random.choice([1, 2, 3, 3, 5, 12]))]
        if self.random.random() < 0.15:
            values.append(Node(kind, "NULL"))
        slots = ", ".join(f"{{{i + 1}}}" for i in range(len(values)))
        return Node(B, f"({{0}} {negated}IN ({slots}))", None, [side, *values])

    def like(self, side, negated):
        pattern = self.random.choice(PATTERNS)
        escape = " ESCAPE '!'" if "!" in pattern else ""
        return Node(B, f"({{0}} {negated}LIKE {quote(pattern)}{escape})", None, [side])

    def regexp(self, side):
        pattern = self.random.choice(REGEXPS).replace("\\\\", "\\")
        return Node(B, f"REGEXP_LIKE({{0}}, '{pattern}')", f"regexp_matches({{0}}, '{pattern}')", [side])

    def interval(self, side):
        ends = sorted({self.scope.constant(T).texts[0] for _ in range(2)})
        if len(ends) == 1:
            return Node(B, f"({{0}} >= {ends[0]})", None, [side])
        plain = [end[11:-1].replace(" ", "T") for end in ends]
        return Node(B, f"TIME_IN_INTERVAL({{0}}, '{plain[0]}/{plain[1]}')", f"({{0}} >= {ends[0]} AND {{0}} < {ends[1]})", [side])
