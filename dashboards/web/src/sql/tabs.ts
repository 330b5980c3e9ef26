// Query tabs: plain values and what can be done to them. Keeping them is the work of `store`.
import type { Bound, BoundType, SqlAsk } from "../api/sql";
import type { Zone } from "../query/range";
import type { ChartWish } from "./chart";

export type ResultView = "table" | "chart" | "plan";
export type ParameterInput = { type: BoundType; text: string; isNull: boolean };

export type Tab = {
  id: string;
  name: string;
  text: string;
  cursor: number;
  parameters: readonly ParameterInput[];
  /** Rows that are fetched; 0 = as many as the grid can hold. */
  limit: number;
  zone: Zone;
  view: ResultView;
  chart: ChartWish;
  order: number;
};

/** A statement as it was run. */
export type Asked = SqlAsk & {
  /** Where it stands in the text of the tab, for the place of an error. */
  from: number;
  /** As chosen on the page: 0 = all that fit. */
  rowsMax: number;
};

export const LIMITS: readonly number[] = [100, 1_000, 10_000, 100_000, 0];
export const LIMIT_DEFAULT = 10_000;
/** What a browser can scroll: rows beyond it are for the export. */
export const ROWS_MAX = 500_000;
/** A larger result is not kept over a reload. */
export const KEPT_BYTES_MAX = 5 << 20;

export const PARAMETER_TYPES: readonly BoundType[] = ["VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE"];

/** The first free `Query 1`, `Query 2`, .. */
export function freeName(tabs: readonly Tab[]): string {
  for (let number = 1; ; number++) if (tabs.every((tab) => tab.name !== `Query ${number}`)) return `Query ${number}`;
}

export function newTab(tabs: readonly Tab[], id: string, given: Partial<Tab> = {}): Tab {
  const order = tabs.reduce((most, tab) => Math.max(most, tab.order), 0) + 1;
  return { id, name: freeName(tabs), text: "", cursor: 0, parameters: [], limit: LIMIT_DEFAULT, zone: "local", view: "table", chart: {}, order, ...given };
}

/** Reads what was stored; a record of another version keeps what is still understood. */
export function readTab(stored: unknown): Tab | undefined {
  if (typeof stored !== "object" || stored === null) return undefined;
  const from = stored as Partial<Tab>;
  if (typeof from.id !== "string" || typeof from.text !== "string") return undefined;
  const base = newTab([], from.id, { text: from.text });
  return {
    ...base,
    name: typeof from.name === "string" && from.name !== "" ? from.name : base.name,
    cursor: typeof from.cursor === "number" ? Math.min(Math.max(0, from.cursor), from.text.length) : 0,
    parameters: Array.isArray(from.parameters) ? from.parameters.filter((input) => PARAMETER_TYPES.includes(input?.type) && typeof input.text === "string") : [],
    limit: LIMITS.includes(from.limit ?? -1) ? (from.limit as number) : LIMIT_DEFAULT,
    zone: from.zone === "UTC" ? "UTC" : "local",
    view: from.view === "chart" || from.view === "plan" ? from.view : "table",
    chart: typeof from.chart === "object" && from.chart !== null ? from.chart : {},
    order: typeof from.order === "number" ? from.order : 0,
  };
}

/** Which tab is shown when one closes: its right neighbour, else the left one. */
export function afterClosing(tabs: readonly Tab[], id: string): string | undefined {
  const at = tabs.findIndex((tab) => tab.id === id);
  return (tabs[at + 1] ?? tabs[at - 1])?.id;
}

/** As many inputs as the text has `?`; what was typed before keeps its place. */
export function fitParameters(inputs: readonly ParameterInput[], count: number): ParameterInput[] {
  return Array.from({ length: count }, (_, index) => inputs[index] ?? { type: "VARCHAR", text: "", isNull: false });
}

/** The value to bind, or what is wrong with what was typed. */
export function bind(input: ParameterInput): Bound | { wrong: string } {
  const text = input.text.trim();
  if (input.isNull) return { type: input.type, value: null };
  switch (input.type) {
    case "VARCHAR":
      return { type: "VARCHAR", value: input.text };
    case "BIGINT": {
      if (!/^[+-]?\d{1,19}$/.test(text)) return { wrong: "a whole number is needed" };
      const value = BigInt(text.replace(/^\+/, ""));
      return BigInt.asIntN(64, value) === value ? { type: "BIGINT", value: String(value) } : { wrong: "it does not fit into 64 bits" };
    }
    case "DOUBLE":
      return text !== "" && Number.isFinite(Number(text)) ? { type: "DOUBLE", value: text } : { wrong: "a number is needed" };
    case "BOOLEAN":
      return /^(true|false)$/i.test(text) ? { type: "BOOLEAN", value: text.toLowerCase() === "true" } : { wrong: "true or false is needed" };
    case "TIMESTAMP":
      return /^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}:?\d{2})?$/.test(text) ? { type: "TIMESTAMP", value: text } : { wrong: "a time is needed, such as 2026-03-02 10:00:00" };
    case "DATE":
      return /^\d{4}-\d{2}-\d{2}$/.test(text) ? { type: "DATE", value: text } : { wrong: "a date is needed, such as 2026-03-02" };
  }
}
