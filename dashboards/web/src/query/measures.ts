// Measures and dimensions a table offers, derived from its columns.
import type { Column } from "../api/tables";

export type Aggregate = "count" | "sum" | "avg" | "min" | "max" | "distinct";

export type Measure = {
  /** Name in the address: `events`, `avg:latency_ms`. */
  key: string;
  label: string;
  aggregate: Aggregate;
  column: string | undefined;
  /** What a bucket without rows shows. */
  empty: "zero" | "gap";
};

export const MEASURES_MAX = 6;

export const EVENTS: Measure = { key: "events", label: "events", aggregate: "count", column: undefined, empty: "zero" };

const NUMERIC = new Set(["LONG", "DOUBLE", "FLOAT"]);

export function isNumeric(column: Column): boolean {
  return NUMERIC.has(column.type.toUpperCase());
}

export function dimensionsOf(columns: readonly Column[]): Column[] {
  return columns.filter((column) => column.role !== "time" && column.type.toUpperCase() === "STRING");
}

function make(aggregate: Exclude<Aggregate, "count">, column: string): Measure {
  const label = aggregate === "distinct" ? `distinct ${column}` : `${aggregate} ${column}`;
  const empty = aggregate === "sum" || aggregate === "distinct" ? "zero" : "gap";
  return { key: `${aggregate}:${column}`, label, aggregate, column, empty };
}

/** All measures, in the order the picker lists them. */
export function measuresOf(columns: readonly Column[]): Measure[] {
  const numbers = columns.filter((column) => column.role !== "time" && isNumeric(column));
  return [
    EVENTS,
    ...numbers.flatMap((column) => (["sum", "avg", "min", "max"] as const).map((aggregate) => make(aggregate, column.name))),
    ...dimensionsOf(columns).map((column) => make("distinct", column.name)),
  ];
}

/** Names whose sum says nothing: durations, temperatures, shares. */
const AVERAGED = /latency|duration|delay|elapsed|_ms$|temp|ratio|percent|rate|age|score|level|speed|humidity|pressure/i;

/** What a first visit shows: events and the natural aggregate of the first two numeric metrics. */
export function defaultMeasures(columns: readonly Column[]): string[] {
  const metrics = columns.filter((column) => column.role === "metric" && isNumeric(column));
  const numbers = metrics.length > 0 ? metrics : columns.filter((column) => column.role !== "time" && isNumeric(column));
  return [EVENTS.key, ...numbers.slice(0, 2).map((column) => `${AVERAGED.test(column.name) ? "avg" : "sum"}:${column.name}`)];
}
