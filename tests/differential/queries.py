"""Random queries over the tables of a round."""

from expressions import Expressions, Scope, literal
from nodes import B, D, L, S, T, Item, Key, Node, Select, Union

# Doubles free of rounding, small numbers: what may be summed and averaged.
EXACT = {"x"}
SMALL = {"n", "id", "m"}


def names_a_column(node):
    """Whether an expression is more than a constant: ORDER BY takes none in DuckDB."""
    return "q" in node.texts[0] and "." in node.texts[0] or any(names_a_column(kid) for kid in node.kids if isinstance(kid, Node))


class Source:
    """What stands after FROM, and what it offers: (type, text, plain name) for each column."""

    def __init__(self, node, columns, values):
        self.node, self.columns, self.values = node, columns, values


class Queries:
    def __init__(self, random, table, lookup):
        self.random, self.table, self.lookup = random, table, lookup
        self.aliases = 0

    def query(self):
        """A random query: what the outermost level is."""
        make = self.random.choice([self.plain] * 5 + [self.grouped] * 6 + [self.total, self.total, self.windows, self.windows, self.union])
        return make(self.source(2))

    def alias(self):
        self.aliases += 1
        return f"q{self.aliases}"

    # --- FROM ---------------------------------------------------------------------------------------------------------

    def source(self, depth):
        kind = self.random.choice(["table"] * 8 + (["derived", "join", "join", "join"] if depth else []))
        return getattr(self, "from_" + kind)(depth)

    def from_table(self, _, table=None):
        table = table or self.table
        alias = self.alias()
        columns = [(kind, f'{alias}."{name}"', name) for name, kind in table.columns.items()]
        values = {}
        for position, (name, kind) in enumerate(table.columns.items()):
            seen = [row[position] for row in self.random.sample(table.rows, min(len(table.rows), 8)) if row[position] is not None]
            if kind == T:
                import data
                seen = [data.iso(value) for value in seen]
            if name != "y":
                values.setdefault(kind, []).extend(seen)
        values.setdefault(S, []).extend(["", "nobody"])
        values.setdefault(L, []).append(0)
        return Source(Node("F", f'"{table.name}" AS {alias}'), columns, values)

    def from_derived(self, depth):
        make = self.random.choice([self.plain, self.grouped])
        inner = make(self.source(depth - 1), depth - 1)
        alias = self.alias()
        columns = [(item.node.kind, f"{alias}.{item.alias}", item.alias) for item in inner.items]
        return Source(Node("F", f"({{0}}) AS {alias}", None, [inner]), columns, self.from_table(0).values)

    def from_join(self, depth):
        left = self.from_table(depth)
        right = self.from_table(depth, self.random.choice([self.lookup, self.lookup, self.table]))
        word = self.random.choice(["JOIN", "INNER JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"])
        values = {kind: left.values.get(kind, []) + right.values.get(kind, []) for kind in (L, D, S, T)}
        both = left.columns + right.columns
        if word == "CROSS JOIN":
            right = self.from_table(depth, self.lookup)
            return Source(Node("F", "{0} CROSS JOIN {1}", None, [left.node, right.node]), left.columns + right.columns, values)
        self_join = any(name == "id" for _, _, name in right.columns)
        pairs = [("id", "id")] if self_join else [("s", "k"), ("s", "k"), ("n", "m")]
        a, b = self.random.choice(pairs)
        texts = [next(text for _, text, name in side.columns if name == wanted) for side, wanted in ((left, a), (right, b))]
        on = Node(B, f"{texts[0]} = {texts[1]}")
        if self.random.random() < 0.3:
            more = Expressions(Scope(self.random, both, values)).of(B, 1)
            on = Node(B, "({0} AND {1})", None, [on, more])
        return Source(Node("F", f"{{0}} {word} {{1}} ON {{2}}", None, [left.node, right.node, on]), both, values)

    # --- subqueries ---------------------------------------------------------------------------------------------------

    def subquery(self):
        """One column of a table, for IN and EXISTS."""
        source = self.from_table(0, self.random.choice([self.table, self.lookup]))
        inner = Expressions(Scope(self.random, source.columns, source.values))
        kind = self.random.choice([L, S])
        select = Select([Item(inner.scope.column(kind), "v")], source.node)
        if self.random.random() < 0.7:
            select.where = inner.of(B, 1)
        return select, kind

    def scalar(self):
        """An aggregate of a table as a value."""
        source = self.from_table(0)
        inner = Expressions(Scope(self.random, source.columns, source.values))
        value = self.aggregate(source, inner, plain=True)
        select = Select([Item(value, "v")], source.node)
        if self.random.random() < 0.5:
            select.where = inner.of(B, 1)
        return Node(value.kind, "({0})", None, [select])

    # --- SELECT -------------------------------------------------------------------------------------------------------

    def expressions(self, source):
        return Expressions(Scope(self.random, source.columns, source.values))

    def finish(self, select, order):
        """WHERE is there already; ORDER BY, LIMIT and OFFSET."""
        if self.random.random() < 0.6:
            keys = []
            for node in self.random.sample(order, min(len(order), self.random.randint(0, 2))):
                keys.append(Key(node, self.random.random() < 0.5, self.random.choice([None, None, None, "FIRST", "LAST"])))
            select.order = keys
            if self.random.random() < 0.6:
                select.limit = self.random.choice([0, 1, 2, 5, 10, 100])
                if self.random.random() < 0.4:
                    select.offset = self.random.choice([0, 1, 3, 20])
        return select

    def filter(self, select, source, expressions):
        """WHERE, the one place where Druid takes IN (SELECT ..) and EXISTS."""
        if self.random.random() < 0.75:
            select.where = Expressions(expressions.scope, self.subquery).of(B, 3)

    def plain(self, source, depth=2):
        expressions = self.expressions(source)
        nodes = [expressions.any(self.random.randint(0, 3)) for _ in range(self.random.randint(1, 4))]
        if depth == 2 and self.random.random() < 0.07:
            nodes.append(self.scalar())
        select = Select([Item(node, f"c{depth}{n}") for n, node in enumerate(nodes)], source.node)
        self.filter(select, source, expressions)
        select.distinct = self.random.random() < 0.15
        keys = [] if select.distinct else [node for node in (expressions.of(kind, 1) for kind in "LST") if names_a_column(node)]
        return self.finish(select, keys)

    def total(self, source, depth=2):
        """Aggregates without GROUP BY: one row, also of no rows."""
        expressions = self.expressions(source)
        items = [Item(self.aggregate(source, expressions), f"c{n}") for n in range(self.random.randint(1, 4))]
        select = Select(items, source.node)
        self.filter(select, source, expressions)
        return select

    def grouped(self, source, depth=2):
        expressions = self.expressions(source)
        keys = [self.key(expressions) for _ in range(self.random.randint(1, 3))]
        aggregates = [self.aggregate(source, expressions) for _ in range(self.random.randint(0, 3))]
        items = [Item(node, f"k{depth}{n}") for n, node in enumerate(keys)] + [Item(node, f"c{depth}{n}") for n, node in enumerate(aggregates)]
        shape = self.random.random()
        select = Select(items, source.node)
        select.groups = keys
        distinct_keys = len({key.sql(0) for key in keys}) == len(keys)
        if shape < 0.25 and distinct_keys:
            if shape < 0.08:
                select.shape = self.random.choice(["ROLLUP", "CUBE"])
            else:
                positions = list(range(len(keys)))
                sets = {tuple(sorted(self.random.sample(positions, self.random.randint(0, len(keys))))) for _ in range(3)} | {tuple(positions)}
                select.sets = [list(s) for s in sorted(sets)]
            marks = ", ".join(f"{{{n}}}" for n in range(len(keys)))
            items.append(Item(Node(L, f"GROUPING({marks})", None, list(keys)), "g"))
        elif self.random.random() < 0.2:
            # Something made of a key.
            key = self.random.choice(keys)
            over = Expressions(Scope(self.random, [(key.kind, key.sql(0), "k")], source.values))
            if key.texts[0] == key.texts[1] and not key.kids:
                items.append(Item(over.of(key.kind, 2), "e"))
        self.filter(select, source, expressions)
        if aggregates and self.random.random() < 0.3:
            wanted = [a for a in aggregates if a.kind in (L, S)]
            if wanted:
                node = self.random.choice(wanted)
                right = literal(L, self.random.choice([0, 1, 2, 3, 10, 100])) if node.kind == L else literal(S, "Bern")
                word = self.random.choice(["({0} > {1})", "({0} <= {1})", "({0} = {1})", "({0} <> {1})", "({0} IS NOT NULL)"])
                select.having = Node(B, word, None, [node, right])
        return self.finish(select, [node for node in keys + aggregates if names_a_column(node)])

    def key(self, expressions):
        kind = self.random.choice("SSSSLLTTB")
        column = expressions.scope.column(kind)
        if column is not None and kind in (S, L) and self.random.random() < 0.6:
            return column
        key = expressions.of(kind, 2) if column is not None or kind == B else expressions.of(S, 1)
        # A bare number would be an ordinal.
        return key if names_a_column(key) else Node(S, "CONCAT({0}, 'k')", "({0} || 'k')", [literal(S, "k")])

    def aggregate(self, source, expressions, plain=False):
        small = [Node(kind, text) for kind, text, name in source.columns if name in SMALL and kind == L]
        exact = [Node(kind, text) for kind, text, name in source.columns if name in EXACT and kind == D]
        choices = [
            lambda: Node(L, "COUNT(*)"),
            lambda: Node(L, "COUNT({0})", None, [expressions.any(2)]),
            lambda: Node(L, "COUNT(DISTINCT {0})", None, [expressions.any(1, "LSST")]),
            lambda: Node(L, "SUM({0})", "wrap(SUM({0}::HUGEINT))", [expressions.of(L, 1)]),
        ]
        for word in ("MIN", "MAX"):
            for kind in (L, S, T, D):
                choices.append(lambda word=word, kind=kind: Node(kind, word + "({0})", None, [expressions.of(kind, 2)]))
        if small:
            choices += [
                lambda: Node(D, "AVG({0})", None, [self.random.choice(small)]),
                lambda: Node(L, "SUM({0})", "wrap(SUM({0}))", [self.random.choice(small)]),
                lambda: Node(L, "SUM(DISTINCT {0})", "wrap(SUM(DISTINCT {0}))", [self.random.choice(small)]),
                lambda: Node(L, "SUM(CASE WHEN {0} THEN {1} ELSE 0 END)", "wrap(SUM(CASE WHEN {0} THEN {1} ELSE 0 END))",
                             [expressions.of(B, 1), self.random.choice(small)]),
                lambda: Node(L, "(SUM({0}) / COUNT(*))", "wrap(SUM({0}) // COUNT(*))", [self.random.choice(small)]),
            ]
        if exact:
            choices += [
                lambda: Node(D, "SUM({0})", None, [self.random.choice(exact)]),
                lambda: Node(D, "AVG({0})", None, [self.random.choice(exact)]),
                lambda: self.deviation(self.random.choice(exact)),
                lambda: Node(D, "(SUM({0}) / COUNT({1}))", None, [self.random.choice(exact), expressions.of(S, 0)]),
            ]
        node = self.random.choice(choices)()
        alone = node.texts[0] == node.texts[1] and node.texts[0].count("(") == 1 + node.texts[0].count("(*)")
        if not plain and alone and not node.texts[0].startswith("(") and self.random.random() < 0.25:
            slot = len(node.kids)
            text = node.texts[0].replace("COUNT(*)", "COUNT(*)") + f" FILTER (WHERE {{{slot}}})"
            return Node(node.kind, text, None, node.kids + [expressions.of(B, 2)])
        return node

    def deviation(self, value):
        name = self.random.choice(["STDDEV_SAMP", "STDDEV_POP", "VAR_SAMP", "VAR_POP", "STDDEV", "VARIANCE"])
        # Of one value Druid gives 0, DuckDB null.
        return Node(D, name + "({0})", f"CASE WHEN COUNT({{0}}) = 1 THEN 0.0::DOUBLE ELSE {name}({{0}}) END", [value])

    def windows(self, source, depth=2):
        source = self.from_table(0)
        expressions = self.expressions(source)
        identity = next(text for _, text, name in source.columns if name == "id")
        items = [Item(Node(L, identity), "id")]
        small = [Node(kind, text) for kind, text, name in source.columns if name in SMALL]
        exact = [Node(kind, text) for kind, text, name in source.columns if name in EXACT]
        for n in range(self.random.randint(1, 3)):
            partition = expressions.scope.column(S) if self.random.random() < 0.6 else None
            order = expressions.scope.column(self.random.choice([L, S, T])) if self.random.random() < 0.5 else expressions.of(T, 1)
            direction = self.random.choice(["", " DESC", " NULLS LAST", " DESC NULLS FIRST"])
            kids = [order] + ([partition] if partition else [])
            by = ("PARTITION BY {1} " if partition else "") + f"ORDER BY {{0}}{direction}"
            whole = f"{by}, {identity}"
            frame = self.random.choice(["", "", " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                                        " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", " ROWS BETWEEN CURRENT ROW AND 3 FOLLOWING"])
            slot = f"{{{len(kids)}}}"
            value = expressions.of(self.random.choice([L, S, T]), 1)
            number, double = self.random.choice(small), self.random.choice(exact)
            offset = self.random.randint(0, 3)
            items.append(Item(self.random.choice([
                lambda: Node(L, f"ROW_NUMBER() OVER ({whole})", None, kids),
                lambda: Node(L, f"RANK() OVER ({by})", None, kids),
                lambda: Node(L, f"DENSE_RANK() OVER ({by})", None, kids),
                lambda: Node(D, f"PERCENT_RANK() OVER ({by})", None, kids),
                lambda: Node(D, f"CUME_DIST() OVER ({by})", None, kids),
                lambda: Node(L, f"NTILE({offset + 1}) OVER ({whole})", None, kids),
                lambda: Node(value.kind, f"LAG({slot}, {offset}) OVER ({whole})", None, kids + [value]),
                lambda: Node(value.kind, f"LEAD({slot}) OVER ({whole})", None, kids + [value]),
                lambda: Node(value.kind, f"FIRST_VALUE({slot}) OVER ({whole}{frame})", None, kids + [value]),
                lambda: Node(value.kind, f"LAST_VALUE({slot}) OVER ({whole}{frame})", None, kids + [value]),
                lambda: Node(L, f"SUM({slot}) OVER ({whole}{frame})", f"CAST(SUM({slot}) OVER ({whole}{frame}) AS BIGINT)", kids + [number]),
                lambda: Node(L, f"SUM({slot}) OVER ({by})", f"CAST(SUM({slot}) OVER ({by}) AS BIGINT)", kids + [number]),
                lambda: Node(L, f"COUNT({slot}) OVER ({whole}{frame})", None, kids + [value]),
                lambda: Node(D, f"AVG({slot}) OVER ({whole}{frame})", None, kids + [double]),
                lambda: Node(value.kind, f"MIN({slot}) OVER ({whole}{frame})", None, kids + [value]),
                lambda: Node(value.kind, f"MAX({slot}) OVER ({whole}{frame})", None, kids + [value]),
            ])(), f"w{n}"))
        select = Select(items, source.node)
        self.filter(select, source, expressions)
        return self.finish(select, [])

    def union(self, source, depth=2):
        kinds = [self.random.choice("LSTD") for _ in range(self.random.randint(1, 3))]
        selects = []
        for _ in range(self.random.randint(2, 3)):
            source = self.source(1)
            expressions = self.expressions(source)
            select = Select([Item(expressions.of(kind, 2), f"c{n}") for n, kind in enumerate(kinds)], source.node)
            self.filter(select, source, expressions)
            selects.append(select)
        # Every query of a chain has the same word: precedence is not what is asked here.
        both = Union(self.random.choice(["UNION ALL"] * 4 + ["UNION", "EXCEPT", "INTERSECT"]), selects)
        if self.random.random() < 0.5:
            both.order = []
            if self.random.random() < 0.5:
                both.limit = self.random.choice([1, 5, 20])
        return both
