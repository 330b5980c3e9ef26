// The state of Explore, all of it in the address, so that a link shows the same thing to the next person.
import { DEFAULT_RANGE, isRange, type TimeRange, type Zone } from "./range";
import { decodeFilters, encodeFilters, type Filter } from "./filters";
import { MEASURES_MAX } from "./measures";

export type ExploreState = {
  table: string;
  range: TimeRange;
  /** Keys of measures; empty means the table's default ones. */
  measures: readonly string[];
  filters: readonly Filter[];
  live: boolean;
  /** Numbers as text instead of charts and bars. */
  asTable: boolean;
  zone: Zone;
};

export function exploreHref(state: Partial<ExploreState> & { table: string }): string {
  const search = new URLSearchParams();
  const range = state.range ?? DEFAULT_RANGE;
  if (range.from !== DEFAULT_RANGE.from || range.to !== DEFAULT_RANGE.to) {
    search.set("from", range.from);
    search.set("to", range.to);
  }
  if (state.measures !== undefined && state.measures.length > 0) search.set("m", state.measures.map(encodeURIComponent).join(","));
  if (state.filters !== undefined && state.filters.length > 0) search.set("f", encodeFilters(state.filters));
  if (state.live === false) search.set("live", "0");
  if (state.asTable === true) search.set("view", "table");
  if (state.zone === "UTC") search.set("tz", "UTC");
  const text = search.toString();
  return `/explore/${encodeURIComponent(state.table)}${text === "" ? "" : `?${text}`}`;
}

/** Reads an address. What cannot be read falls back to the default, as the rest of a hand-typed address should still work. */
export function parseExplore(table: string, search: string): ExploreState {
  const parameters = new URLSearchParams(search);
  const asked = { from: parameters.get("from") ?? DEFAULT_RANGE.from, to: parameters.get("to") ?? DEFAULT_RANGE.to };
  const measures = (parameters.get("m") ?? "").split(",").filter((key) => key !== "").map(decode);
  return {
    table,
    range: isRange(asked) ? asked : DEFAULT_RANGE,
    measures: [...new Set(measures)].slice(0, MEASURES_MAX),
    filters: decodeFilters(parameters.get("f") ?? ""),
    live: parameters.get("live") !== "0",
    asTable: parameters.get("view") === "table",
    zone: parameters.get("tz") === "UTC" ? "UTC" : "local",
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
