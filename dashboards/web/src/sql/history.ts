// The list of what was run here. Pure.
import type { HistoryEntry } from "./store";

export const HISTORY_MAX = 500;

/** Newest first. A statement that is run again and again is one entry, its newest. Gives the list and what fell out of it. */
export function addToHistory(list: readonly HistoryEntry[], entry: HistoryEntry): { list: HistoryEntry[]; gone: HistoryEntry[] } {
  const same = list[0]?.sql === entry.sql ? [list[0]] : [];
  const next = [entry, ...list.slice(same.length)];
  return { list: next.slice(0, HISTORY_MAX), gone: [...same, ...next.slice(HISTORY_MAX)] };
}

/** Entries in which all words occur, in any order and case. */
export function searchWords<T>(list: readonly T[], search: string, text: (item: T) => string): T[] {
  const words = search.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return list.filter((item) => words.every((word) => text(item).toLowerCase().includes(word)));
}
