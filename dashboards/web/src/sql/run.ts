// One query of one tab: runs, counts, can be cancelled, can be kept live. Lives outside of React, so that a tab may be left and a
// page be changed while it runs.
//
//   idle → running → done | failed | cancelled          done → following (keep live) → done
//
// What the last good run gave stays until the first rows of the next one.
import type { Field } from "../api/arrow";
import { readStream } from "../api/arrow";
import { ApiError, asApiError } from "../api/errors";
import { live } from "../api/live";
import { cancelSql, newId, runSql, sqlRows } from "../api/sql";
import { Rows } from "../grid/rows";
import { readPlan } from "./plan";
import { ROWS_MAX, type Asked } from "./tabs";

export type RunState =
  | { kind: "idle" }
  | { kind: "running"; since: number; rows: number; bytes: number; cancelling: boolean }
  | { kind: "done" }
  | { kind: "failed"; error: ApiError }
  | { kind: "cancelled"; afterMs: number; rows: number };

export type Result = { asked: Asked; rows: Rows; id: string | undefined; at: number; elapsedMs: number; bytes: number };

/** How the result is kept live: pushed when the table changes, or asked for again and again. */
export type Following = { kind: "push" | "repeat"; updates: number; at: number; error: ApiError | undefined };

export type Finished = { asked: Asked; outcome: "done" | "failed" | "cancelled"; elapsedMs: number; rows: number; message: string; messages: readonly Uint8Array[] };

const REPEAT_MS = 2_000;
const PUSH_MS = 1_000;
/** React hears of a running query this often; a fast server sends far more pieces. */
const NOTIFY_MS = 100;
/** Far outside of all data: every row counts, whatever its time. */
const EVER = { from: "0", to: "9999-12-31T00:00:00Z" };
/** A text that names the present gives another answer without any new row. */
const CLOCK = /\b(CURRENT_TIMESTAMP|CURRENT_DATE|LOCALTIMESTAMP|NOW\s*\()/i;
const SLIDING = { from: "now-520w", to: "9999-12-31T00:00:00Z" };

export class TabRun {
  state: RunState = { kind: "idle" };
  result: Result | undefined;
  following: Following | undefined;
  /** Of the newest run, also of one that failed. */
  lastAsked: Asked | undefined;
  version = 0;
  onFinish: ((finished: Finished) => void) | undefined;
  #listeners = new Set<() => void>();
  #abort: AbortController | undefined;
  #id = "";
  #stopFollowing: (() => void) | undefined;
  #notifyTimer: ReturnType<typeof setTimeout> | undefined;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): number => this.version;

  #changed(): void {
    clearTimeout(this.#notifyTimer);
    this.#notifyTimer = undefined;
    this.version += 1;
    for (const listener of this.#listeners) listener();
  }

  #changedSoon(): void {
    this.#notifyTimer ??= setTimeout(() => this.#changed(), NOTIFY_MS);
  }

  /** A result kept from an earlier visit. */
  restore(result: Result): void {
    if (this.state.kind !== "idle" || this.result !== undefined) return;
    this.result = result;
    this.state = { kind: "done" };
    this.#changed();
  }

  async run(asked: Asked): Promise<void> {
    this.unfollow();
    this.#abort?.abort();
    const abort = new AbortController();
    const id = newId();
    const began = performance.now();
    this.#abort = abort;
    this.#id = id;
    this.lastAsked = asked;
    this.state = { kind: "running", since: Date.now(), rows: 0, bytes: 0, cancelling: false };
    this.#changed();
    const elapsed = () => performance.now() - began;
    const progress = () => (this.state.kind === "running" && this.#id === id ? this.state : undefined);
    let rows: Rows | undefined;
    const finish = (state: RunState, finished: Omit<Finished, "asked" | "elapsedMs">) => {
      if (this.#id !== id) return;
      if (rows !== undefined && this.result?.id === id) this.result = { ...this.result, elapsedMs: elapsed() };
      this.state = state;
      this.#changed();
      this.onFinish?.({ asked, elapsedMs: elapsed(), ...finished });
    };
    try {
      const messages = await runSql(id, asked, abort.signal, {
        onFields: (fields) => {
          if (progress() === undefined) return;
          rows = new Rows(fields, asked.rowsMax === 0 ? ROWS_MAX : asked.rowsMax);
          this.result = { asked, rows, id, at: Date.now(), elapsedMs: elapsed(), bytes: 0 };
          this.#changedSoon();
        },
        onRows: (chunk) => {
          rows?.add(chunk);
          const state = progress();
          if (state !== undefined) this.state = { ...state, rows: state.rows + chunk.rowCount };
          this.#changedSoon();
        },
        onBytes: (bytes) => {
          const state = progress();
          if (state !== undefined) this.state = { ...state, bytes };
          if (this.result?.id === id) this.result.bytes = bytes;
        },
      });
      finish({ kind: "done" }, { outcome: "done", rows: rows?.rowCount ?? 0, message: "", messages });
    } catch (error) {
      const state = progress();
      const count = rows?.rowCount ?? 0;
      if (state?.cancelling === true || abort.signal.aborted) finish({ kind: "cancelled", afterMs: elapsed(), rows: count }, { outcome: "cancelled", rows: count, message: "cancelled", messages: [] });
      else finish({ kind: "failed", error: asApiError(error) }, { outcome: "failed", rows: count, message: asApiError(error).message, messages: [] });
    }
  }

  /** Asks the server to stop; whatever it says, this side does not wait longer than a moment. */
  async cancel(): Promise<void> {
    if (this.state.kind !== "running" || this.state.cancelling) return;
    this.state = { ...this.state, cancelling: true };
    this.#changed();
    const abort = this.#abort;
    // The server answers a cancelled query by itself; only one that does not is left.
    if (await cancelSql(this.#id)) await new Promise((wake) => setTimeout(wake, 300));
    abort?.abort();
  }

  /** Keeps the shown result up to date until `unfollow`. */
  async follow(): Promise<void> {
    const { result } = this;
    if (result === undefined || this.following !== undefined) return;
    const { asked } = result;
    let stopped = false;
    this.#stopFollowing = () => (stopped = true);
    this.following = { kind: "push", updates: 0, at: Date.now(), error: undefined };
    this.#changed();
    const tables = await tablesOf(asked).catch(() => []);
    if (stopped) return;
    const table = tables.length === 1 ? tables[0] : undefined;
    // The live socket knows no limit of rows, and follows one table.
    if (table === undefined || result.rows.more) this.#repeat(asked);
    else this.#push(asked, table);
  }

  #push(asked: Asked, table: string): void {
    const params = asked.parameters.map(({ type, value }) => ({ type, value }));
    const spec = { kind: "query" as const, table, sql: asked.sql, params, range: CLOCK.test(asked.sql) ? SLIDING : EVER, refreshMs: PUSH_MS, timeZone: asked.timeZone };
    this.#stopFollowing = live.subscribe(spec, {
      onFrame: () => undefined,
      onStream: (bytes) => {
        const { fields, chunks } = readStream([bytes]);
        this.#update(asked, fields, chunks, bytes.length);
      },
      onError: (error) => this.#followingFailed(error),
    });
  }

  #repeat(asked: Asked): void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const abort = new AbortController();
    this.#stopFollowing = () => {
      clearTimeout(timer);
      abort.abort();
    };
    if (this.following !== undefined) this.following = { ...this.following, kind: "repeat" };
    const again = async () => {
      try {
        let fields: readonly Field[] = [];
        const chunks: Parameters<Rows["add"]>[0][] = [];
        let bytes = 0;
        if (!document.hidden) {
          await runSql(newId(), asked, abort.signal, { onFields: (known) => (fields = known), onRows: (chunk) => chunks.push(chunk), onBytes: (count) => (bytes = count) });
          if (!abort.signal.aborted) this.#update(asked, fields, chunks, bytes);
        }
      } catch (error) {
        if (!abort.signal.aborted) this.#followingFailed(asApiError(error));
      }
      if (!abort.signal.aborted) timer = setTimeout(() => void again(), REPEAT_MS);
    };
    timer = setTimeout(() => void again(), REPEAT_MS);
    this.#changed();
  }

  #update(asked: Asked, fields: readonly Field[], chunks: readonly Parameters<Rows["add"]>[0][], bytes: number): void {
    if (this.following === undefined) return;
    const rows = new Rows(fields, asked.rowsMax === 0 ? ROWS_MAX : asked.rowsMax);
    for (const chunk of chunks) rows.add(chunk);
    const now = Date.now();
    this.result = { asked, rows, id: undefined, at: now, elapsedMs: this.result?.elapsedMs ?? 0, bytes };
    this.following = { ...this.following, updates: this.following.updates + 1, at: now, error: undefined };
    this.#changed();
  }

  #followingFailed(error: ApiError): void {
    if (this.following === undefined) return;
    this.following = { ...this.following, error };
    this.#changed();
  }

  unfollow(): void {
    if (this.following === undefined) return;
    this.#stopFollowing?.();
    this.#stopFollowing = undefined;
    this.following = undefined;
    this.#changed();
  }

  close(): void {
    this.unfollow();
    if (this.state.kind === "running") void this.cancel();
  }
}

/** The tables a statement reads, as the server names them. */
async function tablesOf(asked: Asked): Promise<string[]> {
  const rows = await sqlRows<{ PLAN?: string; RESOURCES?: string }>(`EXPLAIN PLAN FOR ${asked.sql}`, asked.parameters);
  return rows[0] === undefined ? [] : [...new Set(readPlan(rows[0]).tables)];
}
