// Which chart a result can be, and its numbers. Pure.
import type { Field } from "../api/arrow";
import type { Rows } from "../grid/rows";
import { uniqueNames } from "../grid/cells";

/** What people chose; places of columns. Undefined parts are filled in by `choose`. */
export type ChartWish = { x?: number; ys?: readonly number[]; split?: number | null };
export type ChartChoice =
  | { kind: "lines"; x: number; ys: readonly number[]; split: number | undefined }
  | { kind: "bars"; x: number; ys: readonly number[] }
  | { kind: "none"; why: string };

export const SERIES_MAX = 8;
export const BARS_MAX = 50;
/** Rows a chart reads; more would not be seen. */
export const CHART_ROWS_MAX = 200_000;

export function isNumber(field: Field | undefined): boolean {
  return field?.kind === "integer" || field?.kind === "number";
}

function places(fields: readonly Field[], is: (field: Field) => boolean): number[] {
  return fields.flatMap((field, place) => (is(field) ? [place] : []));
}

export function choose(rows: Rows, wish: ChartWish): ChartChoice {
  const { fields } = rows;
  if (rows.rowCount === 0) return { kind: "none", why: "There are no rows to draw." };
  const times = places(fields, (field) => field.kind === "time");
  const texts = places(fields, (field) => field.kind === "text" || field.kind === "boolean");
  const numbers = places(fields, (field) => isNumber(field));
  const x = [wish.x, times[0], texts[0]].find((place) => place !== undefined && (times.includes(place) || texts.includes(place)));
  const ys = (wish.ys ?? []).filter((place) => numbers.includes(place));
  if (numbers.length === 0) return { kind: "none", why: "A chart needs a column of numbers." };
  if (x === undefined) return { kind: "none", why: "A chart needs a time column or a text column beside the numbers." };
  if (!times.includes(x)) return { kind: "bars", x, ys: (ys.length > 0 ? ys : numbers).slice(0, 1) };
  const split = wish.split === null ? undefined : [wish.split, repeats(rows, x) ? texts[0] : undefined].find((place) => place !== undefined && texts.includes(place));
  const shown = ys.length > 0 ? ys : split === undefined ? numbers : numbers.slice(0, 1);
  return { kind: "lines", x, ys: shown.slice(0, split === undefined ? SERIES_MAX : 1), split };
}

/** Whether a time stands in more than one row, so that something splits it. */
function repeats(rows: Rows, x: number): boolean {
  const seen = new Set<unknown>();
  const count = Math.min(rows.rowCount, 1_000);
  for (let row = 0; row < count; row++) {
    const at = rows.cell(row, x);
    if (seen.has(at)) return true;
    seen.add(at);
  }
  return false;
}

export type Line = { name: string; values: Float64Array };
export type Lines = { t: Float64Array; lines: Line[]; /** Values of the split that are not among the largest. */ left: number; cut: boolean };

/** One line a number column, or one a value of the split: the largest ones, in the order of their sums. */
export function linesOf(rows: Rows, choice: Extract<ChartChoice, { kind: "lines" }>): Lines {
  const count = Math.min(rows.rowCount, CHART_ROWS_MAX);
  const number = (row: number, column: number) => {
    const value = rows.cell(row, column);
    return value === null || typeof value === "boolean" ? NaN : Number(value);
  };
  const at = Float64Array.from({ length: count }, (_, row) => number(row, choice.x));
  const t = Float64Array.from(new Set(at.filter((value) => !Number.isNaN(value)))).sort();
  const place = new Map(Array.from(t, (value, index) => [value, index]));
  const names = choice.split === undefined ? uniqueNames(choice.ys.map((y) => rows.fields[y]?.name ?? "")) : [];
  const found = new Map<string, Line & { sum: number }>();
  const add = (name: string, row: number, value: number) => {
    const index = place.get(at[row] as number);
    if (index === undefined) return;
    const line = found.get(name) ?? { name, values: new Float64Array(t.length).fill(NaN), sum: 0 };
    found.set(name, line);
    // Rows that meet at one point add up, as a bar of both would.
    const before = line.values[index] as number;
    line.values[index] = Number.isNaN(before) ? value : Number.isNaN(value) ? before : before + value;
    if (!Number.isNaN(value)) line.sum += Math.abs(value);
  };
  for (let row = 0; row < count; row++) {
    if (choice.split === undefined) choice.ys.forEach((y, index) => add(names[index] as string, row, number(row, y)));
    else add(label(rows, row, choice.split), row, number(row, choice.ys[0] as number));
  }
  const all = [...found.values()];
  const largest = choice.split === undefined ? all : all.sort((a, b) => b.sum - a.sum).slice(0, SERIES_MAX);
  return { t, lines: largest.map(({ name, values }) => ({ name, values })), left: all.length - largest.length, cut: rows.rowCount > count };
}

export type Bar = { label: string; value: number };

/** The first rows, in the order of the result: whoever sorted it meant that order. */
export function barsOf(rows: Rows, choice: Extract<ChartChoice, { kind: "bars" }>, order: Uint32Array | undefined): Bar[] {
  return Array.from({ length: Math.min(rows.rowCount, BARS_MAX) }, (_, index) => {
    const row = order?.[index] ?? index;
    const value = rows.cell(row, choice.ys[0] as number);
    return { label: label(rows, row, choice.x), value: value === null ? NaN : Number(value) };
  });
}

function label(rows: Rows, row: number, column: number): string {
  const value = rows.cell(row, column);
  return value === null ? "null" : value === "" ? "empty text" : String(value);
}
