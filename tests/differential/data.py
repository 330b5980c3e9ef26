"""Random tables, as NDJSON for one side and as typed rows for the other."""

import datetime
import json

from nodes import B, D, L, S, T

EPOCH = datetime.datetime(1970, 1, 1)
# Around both changes of clocks in Europe and America, month ends, a leap day, and before 1970.
ANCHORS = ["2026-03-08T09:00", "2026-03-28T22:00", "2026-10-24T22:00", "2026-11-01T05:00", "2024-02-28T23:00", "2026-01-31T12:00",
           "1969-12-31T20:00", "2000-02-29T00:00", "2026-12-31T22:00"]
CITIES = ["Bern", "bern", "Zürich", "Genève", "Ñuble", "東京", "Paris", "Saint-Denis", "", " ", "a b", "100%", "a_b", "A", "z",
          "back\\slash", "O'Hare", 'quote"d', "new\nline", "😀 emoji", "12", "-7", "0"]
EXTREMES = [2**63 - 1, -(2**63), 2**53, 2**53 + 1, -(2**53) - 1, 2**31, -(2**31) - 1, 0, 1, -1, 10**18]
WILD = [0.0, 1e300, -1e300, 1e-300, 0.1, -0.1, 1 / 3, 12345.678, 9007199254740993.0, 2.5, -2.5, 1e15, 4.9e-324]


class Table:
    """Rows and columns: `columns` maps a name to its type."""

    def __init__(self, name, columns, rows):
        self.name, self.columns, self.rows = name, columns, rows

    def lines(self, random=None):
        """NDJSON; now and then a null is left out altogether."""
        out = []
        for row in self.rows:
            pairs = {}
            for (name, kind), value in zip(self.columns.items(), row):
                if name == "__time":
                    name, value = "ts", iso(value)
                if value is None and random and random.random() < 0.3:
                    continue
                pairs[name] = value
            out.append(json.dumps(pairs, ensure_ascii=False))
        return out

    def part(self, rows):
        return Table(self.name, self.columns, rows)


def iso(millis):
    """ISO text of an instant."""
    time = EPOCH + datetime.timedelta(milliseconds=millis)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def millis(time):
    """Milliseconds of a datetime without zone."""
    return (time - EPOCH) // datetime.timedelta(milliseconds=1)


def table(random, name, size):
    columns = {"__time": T, "id": L, "s": S, "u": S, "n": L, "big": L, "x": D, "y": D, "flag": S}
    anchors = random.sample(ANCHORS, random.randint(1, 3))
    few = random.sample(CITIES, random.randint(1, 6))
    holes = {column: random.choice([0, 0.05, 0.3]) for column in columns}
    rows = []
    for number in range(size):
        anchor = datetime.datetime.fromisoformat(random.choice(anchors))
        time = anchor + datetime.timedelta(milliseconds=random.choice([random.randrange(12 * 3_600_000), 1800_000 * random.randrange(24)]))
        value = {
            "__time": millis(time),
            "id": number,
            "s": random.choice(few),
            "u": random.choice(CITIES) if random.random() < 0.7 else f"user {random.randrange(max(size // 2, 1))}",
            "n": random.choice([0, 1, -1, 7, -7, 10, random.randint(-50, 50), random.randint(-50, 50)]),
            "big": random.choice(EXTREMES) if random.random() < 0.5 else random.randint(-(2**62), 2**62),
            "x": random.randint(-400, 400) / 4,
            "y": random.choice(WILD) if random.random() < 0.5 else random.uniform(-1e6, 1e6),
            "flag": random.choice(["true", "false"]),
        }
        rows.append([None if c not in ("__time", "id") and random.random() < holes[c] else v for c, v in value.items()])
    # Types are learnt from the first push: a column without any value would not come into being.
    for position in range(len(columns)):
        if rows[0][position] is None:
            rows[0][position] = {"s": few[0], "u": "Bern", "n": 0, "big": 1, "x": 0.25, "y": 0.1, "flag": "true"}[list(columns)[position]]
    return Table(name, columns, rows)


def lookup(random, name, other):
    """A small table to join with: its `k` has the values of `other.s`, and more; one may come twice, one may be null."""
    keys = sorted({row[2] for row in other.rows if row[2] is not None})
    keys = random.sample(keys, min(len(keys), 5)) + ["nobody", None] + ([keys[0]] if keys and random.random() < 0.3 else [])
    columns = {"__time": T, "k": S, "m": L, "label": S}
    rows = [[0, key, random.choice([random.randint(-10, 10), None, number]), random.choice(CITIES)] for number, key in enumerate(keys)]
    rows[0][2] = 1
    return Table(name, columns, rows)


def show(kind, value):
    """What a value is, in one form for both sides."""
    if value is None:
        return None
    if kind == T:
        return iso(millis(value)) if isinstance(value, datetime.datetime) else value
    if kind == L and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == B and isinstance(value, bool):
        return value
    if kind == D and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        # One zero.
        return float(value) + 0.0 if not isinstance(value, int) else f"integer {value}"
    if kind == S and isinstance(value, str):
        return value
    return f"{type(value).__name__} {value!r}"
