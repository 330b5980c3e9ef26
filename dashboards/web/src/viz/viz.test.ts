import { tableFromArrays, tableToIPC, timestamp, TimeUnit, float64, int64, utf8 } from "@uwdata/flechette";
import { describe, expect, it } from "vitest";
import { decodeArrow, numbers } from "../api/arrow";
import type { Frame } from "../api/live";
import { seriesIndex, seriesIndices, SERIES_COUNT } from "./colour";
import { lowerBound, niceTop, runs, toColumns } from "./columns";
import { formatBytes, formatDuration, formatExact, formatNumber, formatPercent } from "./format";
import { Series, type Cut } from "./series";

type Rows = [number, number | null, number | null][];

function frame(rows: Rows, from: number | undefined, rangeFrom: number, rangeTo: number): Extract<Frame, { kind: "rows" }> {
  const table = tableFromArrays(
    { t: rows.map((row) => row[0]), m0: rows.map((row) => (row[1] === null ? null : BigInt(row[1]))), m1: rows.map((row) => row[2]) },
    { types: { t: timestamp(TimeUnit.MILLISECOND, "UTC"), m0: int64(), m1: float64() } },
  );
  const bytes = tableToIPC(table, { format: "stream" });
  if (bytes === null) throw new Error("not encoded");
  return { kind: "rows", batch: decodeArrow(bytes), from, rangeFrom, rangeTo, produced: undefined, watermark: rangeTo };
}

const SLIDING: Cut = { bucketMs: 1_000, zone: "UTC", follows: true, slides: true, keys: ["a", "b"], empty: ["zero", "gap"] };
const shown = (series: Series, now: number) => {
  const grid = series.grid(now);
  return Array.from(grid.t).map((t, at) => [t, grid.values[0]?.[at], grid.values[1]?.[at]]);
};

describe("a live series", () => {
  it("takes a snapshot and replaces the buckets a delta names", () => {
    const series = new Series();
    series.apply(frame([[2_000, 5, 1.5], [3_000, 7, 2], [5_000, 1, 9]], undefined, 2_000, 5_500), SLIDING);
    expect(shown(series, 5_500)).toEqual([[2_000, 5, 1.5], [3_000, 7, 2], [4_000, 0, NaN], [5_000, 1, 9]]);
    series.apply(frame([[5_000, 4, 8], [6_000, 2, 7]], 5_000, 3_000, 6_500), SLIDING);
    expect(shown(series, 6_500)).toEqual([[2_000, 5, 1.5], [3_000, 7, 2], [4_000, 0, NaN], [5_000, 4, 8], [6_000, 2, 7]]);
  });

  it("counts nothing twice and misses nothing after a new snapshot", () => {
    const series = new Series();
    series.apply(frame([[2_000, 5, 1], [3_000, 7, 1]], undefined, 2_000, 4_000), SLIDING);
    series.apply(frame([[3_000, 8, 1], [4_000, 2, 1]], undefined, 2_000, 5_000), SLIDING);
    expect(shown(series, 5_000).map((row) => row[1])).toEqual([0, 8, 2]);
  });

  it("leaves out the first bucket that the window's edge cuts, and keeps it in an absolute range", () => {
    const rows: Rows = [[1_000, 1, 1], [2_000, 5, 1]];
    const series = new Series();
    series.apply(frame(rows, undefined, 1_700, 3_000), SLIDING);
    expect(shown(series, 3_000).map((row) => row[0])).toEqual([2_000]);
    series.apply(frame(rows, undefined, 1_700, 3_000), { ...SLIDING, follows: false, slides: false });
    expect(shown(series, 3_000).map((row) => row[0])).toEqual([1_000, 2_000]);
  });

  it("drops what slid out of the window", () => {
    const series = new Series();
    series.apply(frame([[1_000, 1, 1], [2_000, 2, 2]], undefined, 1_000, 3_000), SLIDING);
    series.apply(frame([[60_000, 3, 3]], 60_000, 58_000, 60_500), SLIDING);
    expect(series.rows().t).toEqual(Float64Array.from([60_000]));
  });

  it("sorts rows that came unsorted", () => {
    const series = new Series();
    series.apply(frame([[3_000, 3, 3], [1_000, 1, 1], [2_000, 2, 2]], undefined, 1_000, 4_000), SLIDING);
    expect(Array.from(series.rows().t)).toEqual([1_000, 2_000, 3_000]);
    expect(Array.from(series.rows().values[0] as Float64Array)).toEqual([1, 2, 3]);
  });
});

describe("Arrow", () => {
  it("becomes numbers, text and NULL", () => {
    const table = tableFromArrays({ v: ["東京", null, ""], n: [1n, null, 9_007_199_254_740_991n] }, { types: { v: utf8(), n: int64() } });
    const batch = decodeArrow(tableToIPC(table, { format: "stream" }) as Uint8Array);
    expect(Array.from(batch.column("v") ?? [])).toEqual(["東京", null, ""]);
    expect(Array.from(numbers(batch.column("n"), batch.rowCount))).toEqual([1, NaN, 9_007_199_254_740_991]);
    expect(Array.from(numbers(batch.column("none"), 2))).toEqual([NaN, NaN]);
  });
});

describe("the column painter", () => {
  it("keeps every peak", () => {
    const t = Array.from({ length: 1_000 }, (_, at) => at);
    const values = t.map((at) => (at === 501 ? 99 : at === 502 ? -99 : 1));
    const columns = toColumns(t, values, 0, 1_000, 10);
    expect(Array.from(columns.high)).toEqual([1, 1, 1, 1, 1, 99, 1, 1, 1, 1]);
    expect(columns.low[5]).toBe(-99);
    expect(columns.first[5]).toBe(1);
  });
  it("leaves gaps", () => {
    const columns = toColumns([0, 10, 90], [1, NaN, 2], 0, 100, 10);
    expect(Array.from(columns.low, Number.isNaN)).toEqual([false, true, true, true, true, true, true, true, true, false]);
    expect(runs([NaN, 1, 2, NaN, 3], 0, 5)).toEqual([[1, 3], [4, 5]]);
  });
  it("finds its place and its scale", () => {
    expect([0, 5, 6, 11].map((wanted) => lowerBound([5, 5, 10], wanted))).toEqual([0, 0, 2, 3]);
    expect([0, 0.03, 7, 96, 1_000].map(niceTop)).toEqual([1, 0.04, 8, 100, 1_200]);
  });
});

describe("numbers for people", () => {
  it("have four digits", () => {
    expect([0, 7, 1_234, 99_999, 123_456, 1_840_000, 999_999, 1.23456, 0.5, 1e9, -1_500_000, 104.96].map(formatNumber)).toEqual(
      ["0", "7", "1,234", "99,999", "123.5 k", "1.84 M", "1 M", "1.235", "0.5", "1 G", "-1.5 M", "105"]);
    expect([null, undefined, NaN].map(formatNumber)).toEqual(["–", "–", "–"]);
    expect(formatExact(1234567.891)).toBe("1,234,567.891");
  });
  it("have units", () => {
    expect([512, 2_048, 18 * 1024 ** 2].map(formatBytes)).toEqual(["512 B", "2 KiB", "18 MiB"]);
    expect([180, 412, 1_500, 45_000, 600_000, 3 * 3_600_000, 12 * 86_400_000].map(formatDuration)).toEqual(["180 ms", "412 ms", "1.5 s", "45 s", "10 min", "3 h", "12 d"]);
    expect([0.97, 0.034, 0.0001].map(formatPercent)).toEqual(["97 %", "3.4 %", "<0.1 %"]);
  });
  it("keep a value's colour", () => {
    expect(seriesIndex("DE")).toBe(seriesIndex("DE"));
    const indices = seriesIndices(["events", "avg:latency_ms", "sum:revenue", "min:x", "max:x", "sum:x"]);
    expect(new Set(indices).size).toBe(6);
    expect(indices.every((index) => index >= 0 && index < SERIES_COUNT)).toBe(true);
  });
});
