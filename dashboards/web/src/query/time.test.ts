// Local time in these tests is Europe/Zurich, set by `vite.config.ts`.
import { describe, expect, it } from "vitest";
import { bucketFor, bucketName, nextBucket, period, previousBucket, spread } from "./buckets";
import { isRange, parseBound, rangeOfNewest, resolve, shift, spanOf } from "./range";

const NOW = Date.UTC(2026, 2, 10, 12, 0, 0);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

describe("ranges", () => {
  it("read the server's grammar", () => {
    expect(parseBound("now", NOW)).toBe(NOW);
    expect(parseBound("now-90s", NOW)).toBe(NOW - 90_000);
    expect(parseBound("now-2w", NOW)).toBe(NOW - 14 * DAY);
    expect(parseBound("2026-03-10T11:00:00Z", NOW)).toBe(NOW - HOUR);
    expect(parseBound("1500", NOW)).toBe(1500);
    for (const wrong of ["", "now+5m", "now-5y", "tomorrow", "2026-13-99", "1e3"]) expect(parseBound(wrong, NOW), wrong).toBeUndefined();
    expect(isRange({ from: "now-15m", to: "now" })).toBe(true);
    expect(isRange({ from: "now", to: "now-15m" })).toBe(false);
  });

  it("end `all` with the newest row of an old table, and now for a live one", () => {
    const wiki = { minTime: Date.UTC(2015, 8, 12, 0, 46, 58, 771), maxTime: Date.UTC(2015, 8, 12, 23, 59, 59, 200) };
    expect(resolve({ from: "all", to: "now" }, wiki, NOW)).toEqual({ from: "2015-09-12T00:46:00.000Z", to: "2015-09-13T00:00:00.000Z" });
    expect(resolve({ from: "all", to: "now" }, { minTime: NOW - HOUR, maxTime: NOW - 5_000 }, NOW).to).toBe("now");
  });

  it("jump to where the rows are", () => {
    expect(rangeOfNewest({ minTime: NOW - HOUR, maxTime: NOW - 1_000 }, NOW)).toEqual({ from: "now-15m", to: "now" });
    const newest = NOW - 3 * HOUR;
    const span = spanOf(rangeOfNewest({ minTime: NOW - 90 * DAY, maxTime: newest }, NOW), NOW);
    expect(span.to).toBeGreaterThan(newest);
    expect(span.from).toBe(newest - DAY);
    expect(spanOf(rangeOfNewest({ minTime: newest, maxTime: newest }, NOW), NOW)).toEqual({ from: newest - 60_000, to: newest + 1_000 });
    expect(rangeOfNewest({ minTime: undefined, maxTime: undefined }, NOW)).toEqual({ from: "now-15m", to: "now" });
  });

  it("move by their own length", () => {
    expect(shift({ from: NOW - HOUR, to: NOW }, -1)).toEqual({ from: "2026-03-10T10:00:00.000Z", to: "2026-03-10T11:00:00.000Z" });
  });
});

describe("buckets", () => {
  it("fit the width of the chart", () => {
    expect(bucketFor(15 * 60_000, 800)).toBe(5_000);
    expect(bucketFor(5 * 60_000, 1_000)).toBe(1_000);
    expect(bucketFor(DAY, 900)).toBe(5 * 60_000);
    expect(bucketFor(7 * DAY, 900)).toBe(HOUR);
    expect(bucketFor(3 * 365 * DAY, 900)).toBe(7 * DAY);
    for (const length of [1, 60_000, HOUR, DAY, 400 * DAY]) expect(length / bucketFor(length, 300)).toBeLessThanOrEqual(100);
  });

  it("have names", () => {
    expect([1_000, 60_000, HOUR, DAY, 7 * DAY].map(period)).toEqual(["PT1S", "PT1M", "PT1H", "P1D", "P7D"]);
    expect([5_000, 15 * 60_000, 3 * HOUR, DAY].map(bucketName)).toEqual(["5 s", "15 min", "3 h", "1 d"]);
  });

  it("follow the calendar over a change of the clock", () => {
    const saturday = Date.UTC(2026, 2, 27, 23);
    const sunday = Date.UTC(2026, 2, 28, 23);
    const monday = Date.UTC(2026, 2, 29, 22);
    expect(nextBucket(saturday, DAY, "local")).toBe(sunday);
    expect(nextBucket(sunday, DAY, "local")).toBe(monday);
    expect(monday - sunday).toBe(23 * HOUR);
    expect(previousBucket(monday, DAY, "local")).toBe(sunday);
    expect(nextBucket(sunday, DAY, "UTC")).toBe(sunday + DAY);
  });

  it("are all there, with zeros where a count is none and gaps where an average has none", () => {
    const grid = spread({ t: [5_000, 15_000], values: [[3, 4], [1.5, 2.5]] }, 5_000, "UTC", 0, 21_000, ["zero", "gap"]);
    expect([...grid.t]).toEqual([0, 5_000, 10_000, 15_000, 20_000]);
    expect([...(grid.values[0] as Float64Array)]).toEqual([0, 3, 0, 4, 0]);
    expect([...(grid.values[1] as Float64Array)]).toEqual([NaN, 1.5, NaN, 2.5, NaN]);
  });

  it("keep a row that is newer than the clock says", () => {
    const grid = spread({ t: [5_000, 60_000], values: [[3, 4]] }, 5_000, "UTC", 5_000, 10_000, ["zero"]);
    expect([...grid.t]).toEqual([5_000, 60_000]);
  });

  it("are made even when there is no row at all", () => {
    expect([...spread({ t: [], values: [[]] }, 1_000, "UTC", 1_500, 4_000, ["zero"]).t]).toEqual([1_000, 2_000, 3_000]);
  });

  it("cover 23 hour days once", () => {
    const sunday = Date.UTC(2026, 2, 28, 23);
    const grid = spread({ t: [sunday], values: [[1]] }, DAY, "local", sunday - DAY, sunday + 47 * HOUR, ["zero"]);
    expect([...grid.t]).toEqual([Date.UTC(2026, 2, 27, 23), sunday, Date.UTC(2026, 2, 29, 22)]);
  });
});
