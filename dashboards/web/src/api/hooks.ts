// The live socket as React sees it: status, the list of tables, one small result. Series stay outside, in `viz/series`.
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { ApiError } from "./errors";
import { live, type Frame, type QuerySpec, type SocketStatus } from "./live";
import type { Table } from "./tables";
import { rendered } from "./freshness";

export function useSocketStatus(): SocketStatus {
  return useSyncExternalStore(live.onStatus, () => live.status);
}

type TablesState = { tables: readonly Table[] | undefined; error: ApiError | undefined };

let tablesState: TablesState = { tables: undefined, error: undefined };
const tableListeners = new Set<() => void>();
let stopTables: (() => void) | undefined;

function setTables(state: TablesState): void {
  tablesState = state;
  for (const listener of tableListeners) listener();
}

/** The tables of this server, once a second when something changed; one subscription however many ask. */
export function useTables(): TablesState {
  return useSyncExternalStore((listener) => {
    tableListeners.add(listener);
    stopTables ??= live.subscribe({ kind: "tables" }, {
      onFrame: (frame) => {
        if (frame.kind === "status") setTables({ tables: (frame.body as { tables: Table[] }).tables, error: undefined });
      },
      onError: (error) => setTables({ ...tablesState, error }),
    });
    return () => tableListeners.delete(listener);
  }, () => tablesState);
}

export type RowsFrame = Extract<Frame, { kind: "rows" }>;

export type LiveState =
  | { kind: "waiting" }
  | { kind: "shown"; stale: boolean; error: ApiError | undefined }
  | { kind: "failed"; error: ApiError };

/**
 * Subscribes while `spec` is given and hands each frame to `onFrame`. Old data stays: a new subscription keeps the state `shown`,
 * only `stale`, until its first frame. With `once` the subscription ends after its first frame (a paused page).
 */
export function useLiveQuery(spec: QuerySpec | undefined, once: boolean, onFrame: (frame: RowsFrame) => void): LiveState {
  const [state, setState] = useState<LiveState>({ kind: "waiting" });
  const latest = useRef(onFrame);
  latest.current = onFrame;
  const key = spec === undefined ? undefined : JSON.stringify(spec);
  useEffect(() => {
    if (key === undefined) return;
    setState((before) => (before.kind === "shown" ? { ...before, stale: true } : before.kind === "failed" ? { kind: "waiting" } : before));
    let fresh = false;
    const stop = live.subscribe(JSON.parse(key) as QuerySpec, {
      onFrame: (frame) => {
        if (frame.kind !== "rows") return;
        latest.current(frame);
        rendered(frame.produced);
        if (!fresh) setState({ kind: "shown", stale: false, error: undefined });
        fresh = true;
        if (once) stop();
      },
      onError: (error) => {
        fresh = false;
        setState((before) => (before.kind === "shown" ? { ...before, error } : { kind: "failed", error }));
      },
    });
    return stop;
  }, [key, once]);
  return state;
}
