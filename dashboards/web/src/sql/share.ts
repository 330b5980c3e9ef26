// A query as an address.
import type { Zone } from "../query/range";

/** The address of a query for other people. */
export function shareHref(tab: { text: string; zone: Zone }): string {
  const search = new URLSearchParams({ q: tab.text });
  if (tab.zone === "UTC") search.set("tz", "UTC");
  return `/sql?${search.toString()}`;
}

export function parseShare(search: string): { text: string; zone: Zone } | undefined {
  const parameters = new URLSearchParams(search);
  const text = parameters.get("q");
  return text === null ? undefined : { text, zone: parameters.get("tz") === "UTC" ? "UTC" : "local" };
}
