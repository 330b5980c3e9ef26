// Bucket sizes, and the even grid of buckets a chart draws from the uneven rows a query returns.
import type { Zone } from "./range";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const LADDER: readonly number[] = [
  SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
  MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY, 28 * DAY,
];

/** One point needs about this many pixels to be read with the mouse. */
const PIXELS_PER_BUCKET = 3;

/** The smallest size of the ladder that gives a chart of this width no more points than it can show. */
export function bucketFor(lengthMs: number, widthPx: number): number {
  const most = Math.max(20, Math.floor(widthPx / PIXELS_PER_BUCKET));
  return LADDER.find((size) => lengthMs / size <= most) ?? (LADDER[LADDER.length - 1] as number);
}

/** How often the server looks for changes: a short window moves fast, a long one seldom by a pixel. */
export function refreshFor(lengthMs: number): number {
  if (lengthMs <= 5 * MINUTE) return 250;
  if (lengthMs <= HOUR) return 1_000;
  return lengthMs <= DAY ? 2_000 : 5_000;
}

export function bucketName(size: number): string {
  if (size % DAY === 0) return `${size / DAY} d`;
  if (size % HOUR === 0) return `${size / HOUR} h`;
  if (size % MINUTE === 0) return `${size / MINUTE} min`;
  return `${size / SECOND} s`;
}

/** ISO 8601 period, as TIME_FLOOR takes it. */
export function period(size: number): string {
  if (size % DAY === 0) return `P${size / DAY}D`;
  if (size % HOUR === 0) return `PT${size / HOUR}H`;
  if (size % MINUTE === 0) return `PT${size / MINUTE}M`;
  return `PT${size / SECOND}S`;
}

/**
 * The bucket after the one that starts at `start`. Days follow the zone's calendar, so that a day of 23 or 25 hours is one bucket.
 * `local` is the zone of this browser; the server was given its name.
 */
export function nextBucket(start: number, size: number, zone: Zone): number {
  if (size < DAY || zone === "UTC") return start + size;
  const date = new Date(start);
  date.setDate(date.getDate() + size / DAY);
  return date.getTime();
}

/** The bucket before the one that starts at `start`. */
export function previousBucket(start: number, size: number, zone: Zone): number {
  if (size < DAY || zone === "UTC") return start - size;
  const date = new Date(start);
  date.setDate(date.getDate() - size / DAY);
  return date.getTime();
}

export type Rows = { t: ArrayLike<number>; values: readonly ArrayLike<number>[] };
export type Grid = { t: Float64Array; values: Float64Array[] };

/** More buckets than any screen is wide: a grid that would be larger is left as the rows are. */
const GRID_ROWS_MAX = 20_000;

/**
 * Spreads rows (sorted by `t`) over every bucket of `[from, to)`, anchored at a start that the server itself sent, so that the page
 * never guesses where a zone's or an epoch's buckets begin. A bucket without a row is 0 where that is what the query would answer
 * (counts, sums) and NaN, a gap, where there is no answer (averages).
 */
export function spread(rows: Rows, size: number, zone: Zone, from: number, to: number, empty: readonly ("zero" | "gap")[]): Grid {
  const starts: number[] = [];
  const anchor = rows.t.length > 0 ? (rows.t[0] as number) : Math.floor(from / size) * size;
  if ((to - from) / size > GRID_ROWS_MAX) {
    return { t: Float64Array.from(rows.t), values: rows.values.map((column) => Float64Array.from(column)) };
  }
  for (let at = previousBucket(anchor, size, zone); nextBucket(at, size, zone) > from; at = previousBucket(at, size, zone)) starts.push(at);
  starts.reverse();
  for (let at = anchor; at < to; at = nextBucket(at, size, zone)) starts.push(at);
  const last = starts[starts.length - 1] ?? -Infinity;
  for (let row = 0; row < rows.t.length; row++) if ((rows.t[row] as number) > last) starts.push(rows.t[row] as number);

  const t = Float64Array.from(starts);
  const values = rows.values.map((column, index) => {
    const out = new Float64Array(t.length).fill(empty[index] === "zero" ? 0 : NaN);
    let row = 0;
    for (let at = 0; at < t.length; at++) {
      while (row < rows.t.length && (rows.t[row] as number) < (t[at] as number)) row++;
      if (row < rows.t.length && rows.t[row] === t[at]) out[at] = column[row] as number;
    }
    return out;
  });
  return { t, values };
}
