import { describe, expect, it } from "vitest";
import type { Column } from "../api/tables";
import { defaultMeasures, dimensionsOf, measuresOf, type Measure } from "./measures";
import { leadersQuery, quote, readable, seriesQuery, totalsQuery } from "./sql";

const column = (name: string, type: string, role: Column["role"] = "dimension"): Column => ({ name, type, sqlType: type, role, cardinality: null, multiValue: false });

const COLUMNS = [
  column("__time", "LONG", "time"), column("country", "STRING"), column('odd "name"', "STRING"), column("status", "LONG"),
  column("latency_ms", "LONG", "metric"), column("revenue", "DOUBLE", "metric"),
];
const pick = (...keys: string[]): Measure[] => keys.map((key) => measuresOf(COLUMNS).find((measure) => measure.key === key) as Measure);

describe("state to SQL", () => {
  it("cuts measures into buckets", () => {
    expect(seriesQuery("demo", pick("events", "avg:latency_ms"), [], COLUMNS)).toEqual({
      sql: 'SELECT ${bucket} AS "t", COUNT(*) AS "m0", AVG("latency_ms") AS "m1" FROM "demo" WHERE ${time} GROUP BY 1',
      params: [],
    });
  });

  it("binds values and never writes them", () => {
    const query = seriesQuery("demo", pick("events"), [{ column: "country", mode: "in", values: ["DE", "'; DROP TABLE demo --"] }], COLUMNS);
    expect(query.sql).toBe('SELECT ${bucket} AS "t", COUNT(*) AS "m0" FROM "demo" WHERE ${time} AND "country" IN (?, ?) GROUP BY 1');
    expect(query.params).toEqual([{ type: "VARCHAR", value: "DE" }, { type: "VARCHAR", value: "'; DROP TABLE demo --" }]);
  });

  it("knows NULL in both directions", () => {
    const where = (filters: Parameters<typeof totalsQuery>[2]) => totalsQuery("demo", pick("events"), filters, COLUMNS).sql.split("WHERE ${time} AND ")[1];
    expect(where([{ column: "country", mode: "in", values: [null] }])).toBe('"country" IS NULL');
    expect(where([{ column: "country", mode: "in", values: ["DE", null] }])).toBe('("country" = ? OR "country" IS NULL)');
    expect(where([{ column: "country", mode: "out", values: ["DE"] }])).toBe('("country" <> ? OR "country" IS NULL)');
    expect(where([{ column: "country", mode: "out", values: ["DE", "US"] }])).toBe('("country" NOT IN (?, ?) OR "country" IS NULL)');
    expect(where([{ column: "country", mode: "out", values: [null] }])).toBe('"country" IS NOT NULL');
    expect(where([{ column: "country", mode: "out", values: ["DE", null] }])).toBe('("country" <> ? AND "country" IS NOT NULL)');
  });

  it("sends numbers to numeric columns, and text that is no number as text", () => {
    const params = (values: string[]) => totalsQuery("demo", pick("events"), [{ column: "status", mode: "in", values }], COLUMNS).params;
    expect(params(["500", "5.5", "x"])).toEqual([{ type: "BIGINT", value: 500 }, { type: "DOUBLE", value: 5.5 }, { type: "VARCHAR", value: "x" }]);
  });

  it("leaves a leaderboard's own filter out", () => {
    const filters = [{ column: "country", mode: "in" as const, values: ["DE"] }, { column: "status", mode: "out" as const, values: ["500"] }];
    expect(leadersQuery("demo", "country", pick("events", "sum:revenue"), filters, COLUMNS)).toEqual({
      sql: 'SELECT "country" AS "v", COUNT(*) AS "m0", SUM("revenue") AS "m1" FROM "demo" WHERE ${time} AND ("status" <> ? OR "status" IS NULL) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 12',
      params: [{ type: "BIGINT", value: 500 }],
    });
  });

  it("quotes identifiers", () => {
    expect(quote('a"b')).toBe('"a""b"');
    expect(leadersQuery('my "t"', 'odd "name"', pick("events"), [], COLUMNS).sql).toContain('SELECT "odd ""name""" AS "v", COUNT(*) AS "m0" FROM "my ""t"""');
  });

  it("writes a query out to copy", () => {
    const query = seriesQuery("demo", pick("events", "distinct:country"), [{ column: "country", mode: "in", values: ["O'Brien?"] }], COLUMNS);
    expect(readable(query, { from: 0, to: 60_000 }, 5_000, "UTC")).toBe(
      `SELECT TIME_FLOOR("__time", 'PT5S') AS "t", COUNT(*) AS "m0", COUNT(DISTINCT "country") AS "m1"\nFROM "demo"\nWHERE "__time" >= TIMESTAMP '1970-01-01 00:00:00.000' AND "__time" < TIMESTAMP '1970-01-01 00:01:00.000' AND "country" = 'O''Brien?'\nGROUP BY 1\nORDER BY 1`,
    );
  });

  it("does not take a ? inside a name for a parameter", () => {
    const query = { sql: 'SELECT "what?" FROM "t" WHERE "what?" = ?', params: [{ type: "VARCHAR" as const, value: "v" }] };
    expect(readable(query, { from: 0, to: 1 }, undefined, "UTC")).toBe(`SELECT "what?"\nFROM "t"\nWHERE "what?" = 'v'`);
  });
});

describe("measures of a table", () => {
  it("offers what its columns allow", () => {
    expect(measuresOf(COLUMNS).map((measure) => measure.key)).toEqual([
      "events", "sum:status", "avg:status", "min:status", "max:status", "sum:latency_ms", "avg:latency_ms", "min:latency_ms", "max:latency_ms",
      "sum:revenue", "avg:revenue", "min:revenue", "max:revenue", "distinct:country", 'distinct:odd "name"',
    ]);
    expect(dimensionsOf(COLUMNS).map((each) => each.name)).toEqual(["country", 'odd "name"']);
  });

  it("starts with events and the natural aggregate of the metrics", () => {
    expect(defaultMeasures(COLUMNS)).toEqual(["events", "avg:latency_ms", "sum:revenue"]);
    expect(defaultMeasures([column("__time", "LONG", "time"), column("a", "STRING")])).toEqual(["events"]);
  });
});
