"""Makes time_floor.slt, time_ceil.slt, time_shift.slt, extract.slt and time_zones.slt, with the expectations of Python's zoneinfo.

    python3 tests/slt/made_by/times.py            # writes the files anew
    python3 tests/slt/made_by/times.py --check    # fails where one of them is not what this makes

Local time decides about days and longer; a local time that the clocks jump over moves forward, one that comes twice is the first. Hours
and less are exact. What Druid leaves to its calendar library where clocks change within a bucket of several hours is not asked here.
"""

import datetime
import pathlib
import sys
from zoneinfo import ZoneInfo

UTC = datetime.timezone.utc
FOLDER = pathlib.Path(__file__).parent.parent
DAY = datetime.timedelta(days=1)

# Both sides of every change of clocks of a year in five zones (one without full hours, one of half an hour, one that skips midnight),
# ends of months, quarters, years and week years, a leap day, times before 1970, milliseconds.
INSTANTS = [
    "2026-03-08T09:59:59.999", "2026-03-08T10:00:00.000", "2026-03-08T18:30:00.000", "2026-11-01T08:30:00.000", "2026-11-01T09:30:00.000",
    "2026-03-29T00:59:59.999", "2026-03-29T01:00:00.000", "2026-03-29T21:59:59.999", "2026-03-29T22:00:00.000", "2026-10-25T00:30:00.000",
    "2026-10-25T01:30:00.000", "2026-10-25T23:00:00.000", "2026-04-04T15:10:00.000", "2026-10-03T15:40:00.000", "2018-11-04T02:59:59.999",
    "2018-11-04T05:00:00.000", "2026-01-01T00:00:00.000", "2025-12-31T23:59:59.999", "2026-12-31T12:34:56.789", "2027-01-03T23:59:59.999",
    "2024-02-29T12:00:00.000", "2024-03-31T00:00:00.000", "2026-01-31T12:00:00.000", "2026-06-30T18:16:00.001", "1969-12-31T23:59:59.999",
    "1970-01-01T00:00:00.000", "1900-03-01T00:00:00.500", "2000-02-29T23:59:59.000", "2038-01-19T03:14:08.000",
]
ZONES = ["UTC", "America/Los_Angeles", "Europe/Zurich", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]


def instant(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def iso(at, zone=None):
    """As Freshet prints it: in UTC with Z, else with the offset of the zone."""
    if zone is None:
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    local = at.astimezone(zone)
    seconds = int(local.utcoffset().total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    if seconds == 0:
        return iso(at)
    # Local mean time, before there were zones, has seconds.
    offset = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}" + (f":{seconds % 60:02d}" if seconds % 60 else "")
    return local.strftime("%Y-%m-%dT%H:%M:%S.") + f"{local.microsecond // 1000:03d}{offset}"


def to_instant(local, zone):
    """What `local` (without zone) is in the zone: the first of two, and the time after a jump."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def in_zone(at, zone):
    return at.astimezone(zone).replace(tzinfo=None)


def months_since(local, base):
    return (local.year - base.year) * 12 + local.month - base.month


def add_months(local, months):
    index = local.year * 12 + local.month - 1 + months
    year, month = index // 12, index % 12 + 1
    last = ((datetime.date(year + month // 12, month % 12 + 1, 1)) - DAY).day
    return local.replace(year=year, month=month, day=min(local.day, last))


MIDNIGHT_1970 = datetime.datetime(1970, 1, 1)


def floor_local(local, unit, count):
    """The local start of the bucket of `count` days, weeks or months from 1970 on."""
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "D":
        return midnight - ((midnight - MIDNIGHT_1970).days % count) * DAY
    if unit == "W":
        return midnight - midnight.weekday() * DAY
    months = months_since(midnight, MIDNIGHT_1970)
    return add_months(MIDNIGHT_1970, months - months % count)


def floor_exact(at, zone, seconds):
    """Hours and less: whole ones of the local clock, without leaving the offset."""
    offset = at.astimezone(zone).utcoffset()
    since = at + offset - instant("1970-01-01T00:00:00")
    return at - since % datetime.timedelta(seconds=seconds)


PERIODS = {"P1D": ("D", 1), "P3D": ("D", 3), "P1W": ("W", 1), "P1M": ("M", 1), "P3M": ("M", 3), "P1Y": ("M", 12), "P10Y": ("M", 120)}
SECONDS = {"PT1S": 1, "PT5S": 5, "PT30S": 30, "PT1M": 60, "PT5M": 300, "PT10M": 600, "PT15M": 900, "PT30M": 1800, "PT1H": 3600}


def floor(at, period, zone):
    if period in SECONDS:
        return floor_exact(at, zone, SECONDS[period])
    return to_instant(floor_local(in_zone(at, zone), *PERIODS[period]), zone)


def ceil(at, period, zone):
    start = floor(at, period, zone)
    if start == at:
        return at
    if period in SECONDS:
        return start + datetime.timedelta(seconds=SECONDS[period])
    unit, count = PERIODS[period]
    local = floor_local(in_zone(at, zone), unit, count)
    return to_instant(local + count * (7 if unit == "W" else 1) * DAY if unit in "DW" else add_months(local, count), zone)


def shift(at, unit, step, zone):
    if unit in ("H", "MIN"):
        return at + step * datetime.timedelta(hours=1 if unit == "H" else 0, minutes=1 if unit == "MIN" else 0)
    local = in_zone(at, zone)
    moved = add_months(local, step * {"M": 1, "Q": 3, "Y": 12}[unit]) if unit in "MQY" else local + step * (7 if unit == "W" else 1) * DAY
    return to_instant(moved, zone)


def parts(at, zone):
    local = at.astimezone(zone)
    year, week, weekday = local.isocalendar()
    return {
        "EPOCH": (at - instant("1970-01-01T00:00:00")) // datetime.timedelta(seconds=1),
        "MILLISECOND": local.microsecond // 1000, "SECOND": local.second, "MINUTE": local.minute, "HOUR": local.hour, "DAY": local.day,
        "DOW": weekday, "ISODOW": weekday, "DOY": local.timetuple().tm_yday, "WEEK": week, "MONTH": local.month,
        "QUARTER": (local.month + 2) // 3, "YEAR": local.year, "ISOYEAR": year, "DECADE": local.year // 10,
        "CENTURY": (local.year + 99) // 100, "MILLENNIUM": (local.year + 999) // 1000,
    }


class File:
    def __init__(self, name, head):
        self.name = name
        self.lines = [f"# {head}", "# Expectations: Python's zoneinfo, by tests/slt/made_by/times.py, which writes this file.", "",
                      "statement ok", "PUSH ${table}"]
        self.lines += [f'{{"ts":"{text}Z","id":{number}}}' for number, text in enumerate(INSTANTS)]

    def query(self, types, sql, rows):
        self.lines += ["", f"query {types}", sql, "----"] + rows

    def of_all(self, types, expression, values):
        """The expression for every instant, a value or several each."""
        rows = [f"{number} {value}" for number, value in enumerate(values)]
        self.query("I" + types, f"SELECT id, {expression} FROM ${{table}} ORDER BY id", rows)

    def zone(self, name):
        self.lines += ["", "statement ok", f"SET sqlTimeZone '{name}'"]

    def text(self):
        return "\n".join(self.lines) + "\n"


def all_instants():
    return [instant(text) for text in INSTANTS]


def time_floor():
    file = File("time_floor", "TIME_FLOOR with every period of the time grains, in UTC and in zones; FLOOR .. TO and DATE_TRUNC are the same.")
    utc = ZoneInfo("UTC")
    for period in list(SECONDS) + list(PERIODS):
        file.of_all("T", f"TIME_FLOOR(__time, '{period}')", [iso(floor(at, period, utc)) for at in all_instants()])
    for zone in ZONES[1:]:
        for period in ["PT1H", "P1D", "P3D", "P1W", "P1M", "P3M", "P1Y"]:
            values = [iso(floor(at, period, ZoneInfo(zone))) for at in all_instants()]
            file.of_all("T", f"TIME_FLOOR(__time, '{period}', NULL, '{zone}')", values)
    for unit, period in [("SECOND", "PT1S"), ("MINUTE", "PT1M"), ("HOUR", "PT1H"), ("DAY", "P1D"), ("WEEK", "P1W"), ("MONTH", "P1M"),
                         ("QUARTER", "P3M"), ("YEAR", "P1Y")]:
        values = [iso(floor(at, period, utc)) for at in all_instants()]
        file.of_all("TT", f"FLOOR(__time TO {unit}), DATE_TRUNC('{unit.lower()}', __time)", [f"{v} {v}" for v in values])
    file.of_all("T", "DATE_TRUNC('decade', __time)", [iso(floor(at, "P10Y", utc)) for at in all_instants()])
    # An origin moves the buckets.
    six = datetime.timedelta(hours=6)
    file.of_all("T", "TIME_FLOOR(__time, 'P1D', TIMESTAMP '2015-01-01 06:00:00')",
                [iso(floor(at - six, "P1D", utc) + six) for at in all_instants()])
    file.of_all("T", "TIME_FLOOR(__time, 'P1W', TIMESTAMP '2015-01-04 00:00:00')",
                [iso(floor(at + DAY, "P1W", utc) - DAY) for at in all_instants()])
    five = datetime.timedelta(minutes=5)
    file.of_all("T", "TIME_FLOOR(__time, 'PT15M', TIMESTAMP '2000-01-01 00:05:00')",
                [iso(floor(at - five, "PT15M", utc) + five) for at in all_instants()])
    fortnight = 14 * DAY
    file.of_all("T", "TIME_FLOOR(__time, 'P1M', TIMESTAMP '2000-01-15 00:00:00')",
                [iso(floor(at - fortnight, "P1M", utc) + fortnight) for at in all_instants()])
    return file


def time_ceil():
    file = File("time_ceil", "TIME_CEIL and CEIL .. TO: the end of a bucket, or the instant itself where it begins one.")
    for period in ["PT1S", "PT5M", "PT1H", "P1D", "P1W", "P1M", "P3M", "P1Y"]:
        file.of_all("T", f"TIME_CEIL(__time, '{period}')", [iso(ceil(at, period, ZoneInfo("UTC"))) for at in all_instants()])
    # Not the zone that skips a midnight: there Druid adds a day to one in the morning, and so does Freshet.
    for zone in ZONES[1:-1]:
        for period in ["P1D", "P1M"]:
            values = [iso(ceil(at, period, ZoneInfo(zone))) for at in all_instants()]
            file.of_all("T", f"TIME_CEIL(__time, '{period}', NULL, '{zone}')", values)
    for unit, period in [("HOUR", "PT1H"), ("DAY", "P1D"), ("WEEK", "P1W"), ("MONTH", "P1M"), ("QUARTER", "P3M"), ("YEAR", "P1Y")]:
        file.of_all("T", f"CEIL(__time TO {unit})", [iso(ceil(at, period, ZoneInfo("UTC"))) for at in all_instants()])
    return file


def time_shift():
    file = File("time_shift", "TIME_SHIFT, TIMESTAMPADD and INTERVAL: months clip at their end, days keep the local time, hours are exact.")
    utc = ZoneInfo("UTC")
    texts = {"H": "PT1H", "MIN": "PT1M", "D": "P1D", "W": "P1W", "M": "P1M", "Q": "P3M", "Y": "P1Y"}
    for unit, step in [("H", 5), ("MIN", -90), ("D", 1), ("D", -31), ("W", 2), ("M", 1), ("M", -1), ("M", 13), ("Q", 1), ("Y", 1), ("Y", -1)]:
        file.of_all("T", f"TIME_SHIFT(__time, '{texts[unit]}', {step})", [iso(shift(at, unit, step, utc)) for at in all_instants()])
    for zone in ZONES[1:]:
        for unit, step in [("D", 1), ("D", -1), ("M", 1), ("H", 24)]:
            values = [iso(shift(at, unit, step, ZoneInfo(zone))) for at in all_instants()]
            file.of_all("T", f"TIME_SHIFT(__time, '{texts[unit]}', {step}, '{zone}')", values)
    for word, unit, step in [("MINUTE", "MIN", 7), ("HOUR", "H", -30), ("DAY", "D", 1), ("WEEK", "W", -1), ("MONTH", "M", 1),
                             ("QUARTER", "Q", -1), ("YEAR", "Y", 4)]:
        file.of_all("T", f"TIMESTAMPADD({word}, {step}, __time)", [iso(shift(at, unit, step, utc)) for at in all_instants()])
    file.of_all("TTT", "__time + INTERVAL '1' DAY, __time - INTERVAL '1' MONTH, __time + INTERVAL '1-2' YEAR TO MONTH",
                [f"{iso(at + DAY)} {iso(shift(at, 'M', -1, utc))} {iso(shift(at, 'M', 14, utc))}" for at in all_instants()])
    more = datetime.timedelta(days=1, hours=2, minutes=3)
    file.of_all("TT", "__time + INTERVAL '1 02:03' DAY TO MINUTE, __time - INTERVAL '90' SECOND",
                [f"{iso(at + more)} {iso(at - datetime.timedelta(seconds=90))}" for at in all_instants()])
    return file


def extract():
    file = File("extract", "EXTRACT and TIME_EXTRACT: every unit in UTC, and in zones.")
    for unit in parts(all_instants()[0], ZoneInfo("UTC")):
        values = [parts(at, ZoneInfo("UTC"))[unit] for at in all_instants()]
        file.of_all("II", f"EXTRACT({unit} FROM __time), TIME_EXTRACT(__time, '{unit}')", [f"{v} {v}" for v in values])
    for zone in ZONES[1:]:
        units = ["EPOCH", "MINUTE", "HOUR", "DAY", "DOW", "DOY", "WEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR"]
        values = [" ".join(str(parts(at, ZoneInfo(zone))[unit]) for unit in units) for at in all_instants()]
        file.of_all("I" * len(units), ", ".join(f"TIME_EXTRACT(__time, '{unit}', '{zone}')" for unit in units), values)
    return file


def time_zones():
    file = File("time_zones", "sqlTimeZone: printing, floors, parts, arithmetic, literals and casts are local.")
    for name in ZONES[1:]:
        zone = ZoneInfo(name)
        file.zone(name)
        file.of_all("T", "__time", [iso(at, zone) for at in all_instants()])
        for period in ["P1D", "P1W", "P1M", "P1Y"]:
            file.of_all("T", f"TIME_FLOOR(__time, '{period}')", [iso(floor(at, period, zone), zone) for at in all_instants()])
        file.of_all("TT", "FLOOR(__time TO DAY), CAST(__time AS DATE)",
                    [" ".join([iso(floor(at, "P1D", zone), zone)] * 2) for at in all_instants()])
        file.of_all("IIII", "EXTRACT(HOUR FROM __time), EXTRACT(DAY FROM __time), EXTRACT(DOW FROM __time), EXTRACT(YEAR FROM __time)",
                    ["{HOUR} {DAY} {DOW} {YEAR}".format(**parts(at, zone)) for at in all_instants()])
        file.of_all("T", "TIME_SHIFT(__time, 'P1D', 1)", [iso(shift(at, "D", 1, zone), zone) for at in all_instants()])
        file.of_all("T", "TIME_FORMAT(__time, 'yyyyMMdd_HHmmss')", [in_zone(at, zone).strftime("%Y%m%d_%H%M%S") for at in all_instants()])
        for text in ["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-03-08 02:30:00", "2026-11-01 01:30:00", "2026-07-01 00:00:00"]:
            at = to_instant(datetime.datetime.fromisoformat(text), zone)
            ms = (at - instant("1970-01-01T00:00:00")) // datetime.timedelta(milliseconds=1)
            file.query("III", f"SELECT TIMESTAMP_TO_MILLIS(TIMESTAMP '{text}'), CAST(CAST('{text}' AS TIMESTAMP) AS BIGINT), "
                       f"TIMESTAMP_TO_MILLIS(TIME_PARSE('{text.replace(' ', 'T')}'))", [" ".join([str(ms)] * 3)])
    return file


def main():
    stale = []
    for make in (time_floor, time_ceil, time_shift, extract, time_zones):
        file = make()
        path = FOLDER / f"{file.name}.slt"
        if "--check" not in sys.argv:
            path.write_text(file.text())
        elif path.read_text() != file.text():
            stale.append(path.name)
    if stale:
        sys.exit(f"these are not what times.py makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
