"""Trees of SQL that print themselves in two dialects, and can be cut smaller."""

import copy

# Types of values: BIGINT, DOUBLE, VARCHAR, TIMESTAMP, BOOLEAN.
L, D, S, T, B = "L", "D", "S", "T", "B"
SQL_TYPES = {L: "BIGINT", D: "DOUBLE", S: "VARCHAR", T: "TIMESTAMP", B: "BOOLEAN"}
FRESHET, DUCKDB = 0, 1


class Node:
    """An expression: a template for each dialect, `{0}` being the first child. Without children the text stands as it is."""

    def __init__(self, kind, freshet, duckdb=None, kids=()):
        self.kind = kind
        self.texts = (freshet, freshet if duckdb is None else duckdb)
        self.kids = list(kids)

    def sql(self, dialect):
        text = self.texts[dialect]
        return text.format(*(kid.sql(dialect) for kid in self.kids)) if self.kids else text


class Item:
    """One of a SELECT list."""

    def __init__(self, node, alias):
        self.node, self.alias = node, alias


class Key:
    """One of an ORDER BY."""

    def __init__(self, node, descending=False, nulls=None):
        self.node, self.descending, self.nulls = node, descending, nulls

    def sql(self, dialect):
        return self.node.sql(dialect) + (" DESC" if self.descending else "") + (f" NULLS {self.nulls}" if self.nulls else "")


def order_by(query, dialect):
    return "ORDER BY " + ", ".join([key.sql(dialect) for key in query.order] + [str(n + 1) for n in range(len(query.items))])


class Select:
    """One SELECT. `source` is a Node that prints what comes after FROM."""

    kind = "Q"

    def __init__(self, items, source):
        self.items, self.source = items, source
        self.distinct = False
        self.where = self.having = None
        self.groups = []
        # Lists of positions in `groups`; nothing is a plain GROUP BY.
        self.sets = None
        self.shape = ""
        # Rows that these keys leave equal are ordered by the whole SELECT list: a LIMIT has one answer.
        self.order = None
        self.limit = self.offset = None

    def group_by(self, dialect):
        groups = [group.sql(dialect) for group in self.groups]
        if self.shape:
            return f"{self.shape} ({', '.join(groups)})"
        if self.sets is None:
            return ", ".join(groups)
        return "GROUPING SETS (" + ", ".join("(" + ", ".join(groups[i] for i in s) + ")" for s in self.sets) + ")"

    def sql(self, dialect):
        parts = ["SELECT " + ("DISTINCT " if self.distinct else "")]
        parts[0] += ", ".join(f"{i.node.sql(dialect)} AS {i.alias}" for i in self.items)
        parts.append("FROM " + self.source.sql(dialect))
        if self.where:
            parts.append("WHERE " + self.where.sql(dialect))
        if self.groups:
            parts.append("GROUP BY " + self.group_by(dialect))
        if self.having:
            parts.append("HAVING " + self.having.sql(dialect))
        if self.order is not None:
            parts.append(order_by(self, dialect))
        if self.limit is not None:
            parts.append(f"LIMIT {self.limit}")
        if self.offset is not None:
            parts.append(f"OFFSET {self.offset}")
        return " ".join(parts)


class Union:
    """Several SELECTs of the same types with UNION ALL, UNION, EXCEPT or INTERSECT between them."""

    kind = "Q"

    def __init__(self, word, selects):
        self.word, self.selects = word, selects
        self.order = None
        self.limit = self.offset = None

    @property
    def items(self):
        return self.selects[0].items

    def sql(self, dialect):
        text = f" {self.word} ".join(select.sql(dialect) for select in self.selects)
        if self.order is not None:
            text += " " + order_by(self, dialect)
        if self.limit is not None:
            text += f" LIMIT {self.limit}"
        return text


def slots(tree):
    """Every place in a tree that holds a Node or a query: pairs of its value and a function that puts another there."""
    found = []

    def attribute(owner, name):
        value = getattr(owner, name)
        if value is not None:
            found.append((value, lambda new, owner=owner, name=name: setattr(owner, name, new)))
            walk(value)

    def walk(at):
        if isinstance(at, Node):
            for index, kid in enumerate(at.kids):
                found.append((kid, lambda new, at=at, index=index: at.kids.__setitem__(index, new)))
                walk(kid)
        elif isinstance(at, Union):
            for select in at.selects:
                walk(select)
            for key in at.order or []:
                attribute(key, "node")
        else:
            for holder in at.items + (at.order or []):
                attribute(holder, "node")
            for index, group in enumerate(at.groups):
                found.append((group, lambda new, at=at, index=index: at.groups.__setitem__(index, new)))
                walk(group)
            for name in ("where", "having", "source"):
                attribute(at, name)

    walk(tree)
    return found


def queries(tree):
    """The queries in a tree, the outermost first."""
    found = [] if isinstance(tree, Node) else [tree]
    if isinstance(tree, Union):
        found += tree.selects
    return found + [value for value, _ in slots(tree) if isinstance(value, (Select, Union))]


def unordered(query):
    query.order = query.limit = query.offset = None


def unlimited(query):
    query.limit = query.offset = None


def below(node):
    """The expressions under one, without those of queries inside it."""
    for kid in node.kids:
        if isinstance(kid, Node):
            yield kid
            yield from below(kid)


def smaller(tree):
    """Trees that lack something of this one."""

    def changed(change):
        other = copy.deepcopy(tree)
        return other if change(other) is not False else None

    def with_query(index, change):
        return changed(lambda other: change(queries(other)[index]))

    if isinstance(tree, Union):
        for select in tree.selects:
            yield copy.deepcopy(select)
    for index, query in enumerate(queries(tree)):
        if isinstance(query, Select):
            for name in ("where", "having", "sets"):
                if getattr(query, name) is not None:
                    yield with_query(index, lambda q, name=name: setattr(q, name, None))
            if query.distinct:
                yield with_query(index, lambda q: setattr(q, "distinct", False))
            if query.shape:
                yield with_query(index, lambda q: setattr(q, "shape", ""))
            for position in reversed(range(len(query.groups))):
                if query.sets is None and len(query.groups) > 1:
                    yield with_query(index, lambda q, position=position: q.groups.pop(position) and None)
        if query.order is not None:
            yield with_query(index, unordered)
            if query.offset:
                yield with_query(index, lambda q: setattr(q, "offset", None))
            if query.limit is not None:
                yield with_query(index, unlimited)
        for position in reversed(range(len(query.order or []))):
            yield with_query(index, lambda q, position=position: q.order.pop(position) and None)
        if isinstance(query, Select) and len(query.items) > 1:
            for position in reversed(range(len(query.items))):
                yield with_query(index, lambda q, position=position: q.items.pop(position) and None)
    for index, (value, _) in enumerate(slots(tree)):
        if isinstance(value, Node) and value.kind in SQL_TYPES:
            for depth, inner in enumerate(below(value)):
                if inner.kind == value.kind:
                    def lift(other, index=index, depth=depth):
                        node, put = slots(other)[index]
                        put(list(below(node))[depth])
                    yield changed(lift)
            if value.kids:
                literal = Node(value.kind, f"CAST(NULL AS {SQL_TYPES[value.kind]})")
                yield changed(lambda other, index=index, literal=literal: slots(other)[index][1](literal))
