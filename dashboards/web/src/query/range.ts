// Time ranges as the address bar and the server write them: `now`, `now-15m`, an ISO instant, or epoch milliseconds.

export type TimeRange = { from: string; to: string };

/** Half-open, epoch milliseconds. */
export type Span = { from: number; to: number };

export type Zone = "local" | "UTC";

/** What the table holds, for the range `all`. */
export type Extent = { minTime: number | undefined; maxTime: number | undefined };

const UNIT_MS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

export const DEFAULT_RANGE: TimeRange = { from: "now-15m", to: "now" };

export const PRESETS: readonly { label: string; range: TimeRange }[] = [
  { label: "Last 5 min", range: { from: "now-5m", to: "now" } },
  { label: "Last 15 min", range: { from: "now-15m", to: "now" } },
  { label: "Last hour", range: { from: "now-1h", to: "now" } },
  { label: "Last 6 hours", range: { from: "now-6h", to: "now" } },
  { label: "Last 24 hours", range: { from: "now-24h", to: "now" } },
  { label: "Last 7 days", range: { from: "now-7d", to: "now" } },
  { label: "All rows", range: { from: "all", to: "now" } },
];

/** One bound in epoch milliseconds, or undefined when the text is none. */
export function parseBound(text: string, now: number): number | undefined {
  if (text === "now") return now;
  const relative = /^now-(\d{1,6})([smhdw])$/.exec(text);
  if (relative !== null) return now - Number(relative[1]) * (UNIT_MS[relative[2] as string] as number);
  if (/^-?\d{1,16}$/.test(text)) return Number(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined;
  const instant = Date.parse(text);
  return Number.isNaN(instant) ? undefined : instant;
}

export function isRange(range: TimeRange): boolean {
  if (range.from === "all") return true;
  const from = parseBound(range.from, 0);
  const to = parseBound(range.to, 0);
  return from !== undefined && to !== undefined && from < to;
}

/** True when the right edge is the present, so that the picture moves. */
export function endsNow(range: TimeRange): boolean {
  return range.to === "now";
}

const OLD_AFTER_MS = 3_600_000;

/** Replaces `all` by bounds the server knows: from the oldest row to the present, or to the newest row when that is long ago. */
export function resolve(range: TimeRange, extent: Extent, now: number): TimeRange {
  if (range.from !== "all") return range;
  if (extent.minTime === undefined || extent.maxTime === undefined) return DEFAULT_RANGE;
  const from = Math.floor(extent.minTime / 60_000) * 60_000;
  const old = now - extent.maxTime > OLD_AFTER_MS;
  const to = old ? new Date(after(extent.maxTime)).toISOString() : "now";
  return { from: new Date(from).toISOString(), to };
}

/** The first whole second behind a row, so that a range up to it holds the row. */
function after(at: number): number {
  return Math.floor(at / 1_000) * 1_000 + 1_000;
}

export function spanOf(range: TimeRange, now: number): Span {
  const to = parseBound(range.to, now) ?? now;
  const from = parseBound(range.from, now) ?? to - 900_000;
  return from < to ? { from, to } : { from: to - 1, to };
}

/** The range that shows a table's newest rows: the default one when they are recent, else all of a small table or its last day. */
export function rangeOfNewest(extent: Extent, now: number): TimeRange {
  if (extent.minTime === undefined || extent.maxTime === undefined) return DEFAULT_RANGE;
  if (now - extent.maxTime < 600_000 && extent.maxTime <= now + 60_000) return DEFAULT_RANGE;
  const whole = extent.maxTime - extent.minTime;
  const length = whole <= 2 * 86_400_000 ? Math.max(whole, 60_000) : 86_400_000;
  const to = after(extent.maxTime);
  const from = Math.floor((extent.maxTime - length) / 1_000) * 1_000;
  return { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
}

/** The same length of time, one length earlier (-1) or later (1), as absolute bounds. */
export function shift(span: Span, direction: -1 | 1): TimeRange {
  const length = span.to - span.from;
  return absolute({ from: span.from + direction * length, to: span.to + direction * length });
}

export function absolute(span: Span): TimeRange {
  return { from: new Date(Math.round(span.from)).toISOString(), to: new Date(Math.round(span.to)).toISOString() };
}
