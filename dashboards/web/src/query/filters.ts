// Filters: which values of a column stay (`in`) or go (`out`), and their readable form in the address: `country:in:DE,US;device:out:ios`.

/** null is SQL's NULL, a value like any other here. */
export type Value = string | null;
export type Filter = { column: string; mode: "in" | "out"; values: readonly Value[] };

// `,` `;` `:` part the text and `~` alone is NULL; they and `%` are escaped inside names and values.
const ESCAPED: Record<string, string> = { "%": "%25", ",": "%2C", ";": "%3B", ":": "%3A", "~": "%7E" };

function escape(text: string): string {
  return text.replace(/[%,;:~]/g, (character) => ESCAPED[character] as string);
}

function unescape(text: string): string {
  return text.replace(/%(25|2C|3B|3A|7E)/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

export function encodeFilters(filters: readonly Filter[]): string {
  return filters
    .filter((filter) => filter.values.length > 0)
    .map((filter) => `${escape(filter.column)}:${filter.mode}:${filter.values.map((value) => (value === null ? "~" : escape(value))).join(",")}`)
    .join(";");
}

/** Reads what `encodeFilters` wrote; parts that are no filter are left out, since an address may be typed by hand. */
export function decodeFilters(text: string): Filter[] {
  return text.split(";").flatMap((part) => {
    const pieces = part.split(":");
    const [column, mode, values] = pieces;
    if (pieces.length !== 3 || column === undefined || column === "" || values === undefined) return [];
    if (mode !== "in" && mode !== "out") return [];
    return [{ column: unescape(column), mode, values: values.split(",").map((value) => (value === "~" ? null : unescape(value))) }];
  });
}

/**
 * A click on a value. Plain: only this value, or no filter when it is the only one already. `add` (Ctrl): in or out of the set.
 * A click of the other mode replaces the column's filter.
 */
export function toggle(filters: readonly Filter[], column: string, value: Value, mode: "in" | "out", add: boolean): Filter[] {
  const others = filters.filter((filter) => filter.column !== column);
  const current = filters.find((filter) => filter.column === column && filter.mode === mode);
  const has = current?.values.includes(value) ?? false;
  const collects = add || mode === "out";
  let values: readonly Value[];
  if (collects) values = has ? (current?.values ?? []).filter((other) => other !== value) : [...(current?.values ?? []), value];
  else values = has && current?.values.length === 1 ? [] : [value];
  if (values.length === 0) return others;
  const next: Filter = { column, mode, values };
  const replaces = filters.some((filter) => filter.column === column);
  return replaces ? filters.map((filter) => (filter.column === column ? next : filter)) : [...filters, next];
}
