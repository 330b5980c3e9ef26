// Numbers and times for people: four significant digits and SI prefixes; the exact value belongs in the tooltip.
import type { Zone } from "../query/range";

const SI: readonly [number, string][] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const group = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const exactly = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });

function digits(value: number): string {
  const whole = Math.abs(value) < 1 ? 1 : Math.floor(Math.log10(Math.abs(value))) + 1;
  return String(Number(value.toFixed(Math.max(0, 4 - whole))));
}

export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 100_000) return group.format(value);
  if (size < 10_000) return size !== 0 && size < 0.001 ? value.toExponential(2) : digits(value);
  // 999,999 rounds to 1000.0 k; the next prefix says it better.
  for (const [scale, prefix] of SI) if (size >= scale * 0.99995) return `${digits(value / scale)} ${prefix}`;
  return digits(value);
}

export function formatExact(value: number | null | undefined): string {
  return value === null || value === undefined || Number.isNaN(value) ? "no value" : exactly.format(value);
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${digits(bytes / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function formatRate(perSecond: number): string {
  return `${formatNumber(perSecond < 10 ? Math.round(perSecond * 10) / 10 : Math.round(perSecond))}/s`;
}

export function formatPercent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  return share > 0 && share < 0.001 ? "<0.1 %" : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** A length of time in its largest fitting unit: `180 ms`, `0.4 s`, `3 h`. */
export function formatDuration(ms: number): string {
  if (ms < 0) return "0 ms";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 2 * 3_600_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 2 * 86_400_000) return `${Math.round(ms / 3_600_000)} h`;
  return ms < 2 * 365 * 86_400_000 ? `${group.format(Math.round(ms / 86_400_000))} d` : `${Math.round(ms / (365.25 * 86_400_000))} years`;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function timeFormat(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let format = formats.get(key);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-GB", { ...options, hourCycle: "h23", ...(zone === "UTC" ? { timeZone: "UTC" } : {}) });
    formats.set(key, format);
  }
  return format;
}

/** `12 Sep 2015, 14:05`, with seconds and the year only when they say something. */
export function formatInstant(at: number, zone: Zone, seconds = false): string {
  const thisYear = new Date(at).getUTCFullYear() === new Date().getUTCFullYear();
  return timeFormat(zone, {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
    ...(thisYear ? {} : { year: "numeric" }), ...(seconds ? { second: "2-digit" } : {}),
  }).format(at);
}

export function formatClock(at: number, zone: Zone, bucketMs: number): string {
  if (bucketMs >= 86_400_000) return timeFormat(zone, { day: "numeric", month: "short", year: "numeric" }).format(at);
  return timeFormat(zone, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", ...(bucketMs < 60_000 ? { second: "2-digit" } : {}) }).format(at);
}

/** Labels of an axis: the clock, with the day where it changes. */
export function axisLabels(splits: readonly number[], stepMs: number, zone: Zone): string[] {
  let previous = "";
  return splits.map((at) => {
    const day = timeFormat(zone, { day: "numeric", month: "short" }).format(at);
    const clock = timeFormat(zone, { hour: "2-digit", minute: "2-digit", ...(stepMs < 60_000 ? { second: "2-digit" } : {}) }).format(at);
    const changed = day !== previous;
    const first = previous === "";
    previous = day;
    if (stepMs >= 86_400_000) return day;
    if (clock === "00:00") return day;
    return changed && !first ? day : clock;
  });
}

/** ISO 8601 in the chosen zone, for tooltips and tables. */
export function formatIso(at: number, zone: Zone): string {
  if (zone === "UTC") return new Date(at).toISOString();
  const offset = -new Date(at).getTimezoneOffset();
  const shifted = new Date(at + offset * 60_000).toISOString().slice(0, -1);
  const size = Math.abs(offset);
  return `${shifted}${offset < 0 ? "-" : "+"}${String(Math.floor(size / 60)).padStart(2, "0")}:${String(size % 60).padStart(2, "0")}`;
}

export function zoneName(zone: Zone): string {
  return zone === "UTC" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone;
}
