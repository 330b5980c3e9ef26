// Rows a second of the last minutes, kept while the tab is open; the server keeps no history of its own counters yet.
import { useEffect, useState } from "react";
import type { Table } from "../../api/tables";

const POINTS_MAX = 120;
const STEP_MS = 1_000;

const kept = new Map<string, number[]>();
let latest: readonly Table[] = [];
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Set<() => void>();

function add(name: string, value: number): void {
  const points = kept.get(name) ?? [];
  kept.set(name, [...points.slice(-(POINTS_MAX - 1)), value]);
}

function step(): void {
  for (const table of latest) add(table.name, table.rowsPerSecond);
  add("", latest.reduce((sum, table) => sum + table.rowsPerSecond, 0));
  for (const listener of listeners) listener();
}

/** By table name; `""` is the sum of all. */
export function useHistory(tables: readonly Table[] | undefined): ReadonlyMap<string, readonly number[]> {
  const [, update] = useState(0);
  useEffect(() => {
    latest = tables ?? [];
  }, [tables]);
  useEffect(() => {
    timer ??= setInterval(step, STEP_MS);
    const listener = () => update((version) => version + 1);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return kept;
}
