// Values as text: for the eye in the chosen zone, for the clipboard exact.
import type { Exact, Field } from "../api/arrow";
import type { Zone } from "../query/range";
import { formatIso } from "../viz/format";
import type { Rows } from "./rows";

export type CopyFormat = "tsv" | "csv" | "json";

/** Half-open on no side: first and last are both inside. */
export type Area = { top: number; bottom: number; left: number; right: number };

/** An instant without the zone's offset, which the header names once for all. */
export function shownTime(at: number, zone: Zone): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return formatIso(at, zone).replace("T", " ").replace(/(Z|[+-]\d\d:\d\d)$/, "").replace(/\.000$/, "");
}

/** The value as text, exact; an instant with its offset. NULL has none. */
export function exactText(value: Exact, field: Field, zone: Zone): string {
  if (value === null) return "";
  if (field.kind !== "time") return String(value);
  const at = Number(value);
  return Number.isNaN(new Date(at).getTime()) ? String(value) : formatIso(at, zone);
}

export function shownText(value: Exact, field: Field, zone: Zone): string {
  return value !== null && field.kind === "time" ? shownTime(Number(value), zone) : exactText(value, field, zone);
}

function json(value: Exact, field: Field, zone: Zone): string {
  if (value === null) return "null";
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  // JSON has no words for what is no number.
  if (typeof value === "number" && field.kind !== "time") return Number.isFinite(value) ? String(value) : `"${value}"`;
  return JSON.stringify(exactText(value, field, zone));
}

/** RFC 4180; NULL is nothing, an empty text is `""`, so that both survive. */
function csv(value: Exact, field: Field, zone: Zone): string {
  if (value === null) return "";
  const text = exactText(value, field, zone);
  return text === "" || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Spreadsheets split on tabs and lines, and take quotes as CSV does. */
function tsv(value: Exact, field: Field, zone: Zone): string {
  const text = exactText(value, field, zone);
  return /["\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A name that a JSON object can have only once gets a number behind it. */
export function uniqueNames(names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let next = name;
    for (let count = 2; taken.has(next); count++) next = `${name}_${count}`;
    taken.add(next);
    return next;
  });
}

/** Rows of an area in the order they are shown. One cell alone is its bare value, without header and quotes. */
export function copyArea(rows: Rows, order: Uint32Array | undefined, area: Area, format: CopyFormat, zone: Zone, header: boolean): string {
  const fields = rows.fields.slice(area.left, area.right + 1);
  // An order that was made while rows still came is shorter than they are.
  const place = (row: number) => order?.[row] ?? row;
  const single = area.top === area.bottom && area.left === area.right;
  if (single && format !== "json" && !header) return exactText(rows.cell(place(area.top), area.left), fields[0] as Field, zone);
  const write = { tsv, csv, json }[format];
  const lines: string[] = [];
  const names = format === "json" ? uniqueNames(fields.map((field) => field.name)) : fields.map((field) => field.name);
  if (header && format !== "json") lines.push(fields.map((field) => write(field.name, { name: "", kind: "text" }, zone)).join(format === "tsv" ? "\t" : ","));
  for (let row = area.top; row <= area.bottom; row++) {
    const cells = fields.map((field, index) => write(rows.cell(place(row), area.left + index), field, zone));
    if (format === "json") lines.push(`{${cells.map((cell, index) => `${JSON.stringify(names[index])}: ${cell}`).join(", ")}}`);
    else lines.push(cells.join(format === "tsv" ? "\t" : ","));
  }
  if (format === "json") return `[\n  ${lines.join(",\n  ")}\n]`;
  return lines.join("\n");
}
