// The tabs of this browser, their runs, the history and the saved queries; kept in `store`, read by React through `subscribe`.
import { readStream } from "../api/arrow";
import { newId } from "../api/sql";
import { Rows } from "../grid/rows";
import { addToHistory } from "./history";
import { TabRun, type Finished } from "./run";
import { forget, keep, readAll, readOne, type HistoryEntry, type KeptResult, type SavedQuery } from "./store";
import { afterClosing, KEPT_BYTES_MAX, newTab, readTab, ROWS_MAX, type Tab } from "./tabs";

const SAVE_MS = 300;
const LAST_TAB = "freshet.sql.tab";

export type WorkspaceState = {
  loaded: boolean;
  tabs: readonly Tab[];
  history: readonly HistoryEntry[];
  saved: readonly SavedQuery[];
};

class Workspace {
  state: WorkspaceState = { loaded: false, tabs: [], history: [], saved: [] };
  #listeners = new Set<() => void>();
  #runs = new Map<string, TabRun>();
  #dirty = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #loading: Promise<void> | undefined;
  #lastHistory = 0;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): WorkspaceState => this.state;

  load(): Promise<void> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  async #load(): Promise<void> {
    const [tabs, history, saved] = await Promise.all([readAll("tabs"), readAll("history"), readAll("saved")]);
    const known = tabs.flatMap((stored) => readTab(stored) ?? []).sort((a, b) => a.order - b.order);
    history.sort((a, b) => b.id - a.id);
    this.#lastHistory = history[0]?.id ?? 0;
    this.#set({ loaded: true, tabs: known, history, saved: saved.sort((a, b) => a.name.localeCompare(b.name)) });
    // What was typed in the last moment is written before the page goes.
    window.addEventListener("pagehide", () => this.#save());
    document.addEventListener("visibilitychange", () => this.#save());
  }

  #set(change: Partial<WorkspaceState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.#listeners) listener();
  }

  tab(id: string): Tab | undefined {
    return this.state.tabs.find((tab) => tab.id === id);
  }

  /** The tab to show when the address names none. */
  lastTab(): string | undefined {
    let last: string | null = null;
    try {
      last = localStorage.getItem(LAST_TAB);
    } catch {
      // Without storage the first tab is shown.
    }
    return (this.tab(last ?? "") ?? this.state.tabs[0])?.id;
  }

  shown(id: string): void {
    try {
      localStorage.setItem(LAST_TAB, id);
    } catch {
      // Without storage nothing is remembered.
    }
    void this.#restore(id);
  }

  open(given: Partial<Tab> = {}): string {
    const tab = newTab(this.state.tabs, newId().slice(0, 8), given);
    this.#set({ tabs: [...this.state.tabs, tab] });
    this.#touch(tab.id);
    return tab.id;
  }

  /** Opens a text, in the tab that has it already if there is one. */
  openText(text: string, given: Partial<Tab> = {}): string {
    const known = this.state.tabs.find((tab) => tab.text.trim() === text.trim());
    if (known !== undefined) return known.id;
    const blank = this.state.tabs.find((tab) => tab.text.trim() === "");
    if (blank === undefined) return this.open({ text, ...given });
    this.change(blank.id, { text, cursor: 0, ...given });
    return blank.id;
  }

  change(id: string, change: Partial<Tab>): void {
    this.#set({ tabs: this.state.tabs.map((tab) => (tab.id === id ? { ...tab, ...change } : tab)) });
    this.#touch(id);
  }

  /** Gives the tab to show next; there is always one. */
  close(id: string): string {
    const next = afterClosing(this.state.tabs, id);
    this.#runs.get(id)?.close();
    this.#runs.delete(id);
    this.#dirty.delete(id);
    this.#set({ tabs: this.state.tabs.filter((tab) => tab.id !== id) });
    void forget("tabs", id);
    void forget("results", id);
    return next ?? this.open();
  }

  runOf(id: string): TabRun {
    let run = this.#runs.get(id);
    if (run === undefined) {
      run = new TabRun();
      run.onFinish = (finished) => this.#finished(id, finished);
      this.#runs.set(id, run);
    }
    return run;
  }

  #finished(id: string, { asked, outcome, elapsedMs, rows, message, messages }: Finished): void {
    // Two windows write to one history: a clock seldom gives both the same number.
    this.#lastHistory = Math.max(Date.now(), this.#lastHistory + 1);
    const entry: HistoryEntry = { id: this.#lastHistory, sql: asked.sql, at: Date.now(), elapsedMs, rows, outcome, message };
    const { list, gone } = addToHistory(this.state.history, entry);
    this.#set({ history: list });
    void keep("history", entry);
    for (const old of gone) void forget("history", old.id);
    const bytes = messages.reduce((sum, part) => sum + part.length, 0);
    if (outcome !== "done") return;
    if (bytes > KEPT_BYTES_MAX) void forget("results", id);
    else void keep("results", { tab: id, asked, at: Date.now(), elapsedMs, messages });
  }

  async #restore(id: string): Promise<void> {
    const run = this.runOf(id);
    if (run.state.kind !== "idle" || run.result !== undefined) return;
    const kept = await readOne("results", id);
    const result = kept === undefined ? undefined : readKept(kept);
    if (result !== undefined) run.restore(result);
  }

  clearHistory(): void {
    const old = this.state.history;
    this.#set({ history: [] });
    for (const entry of old) void forget("history", entry.id);
  }

  /** A name that is taken gets the new text. */
  saveQuery(name: string, sql: string): void {
    const same = this.state.saved.find((query) => query.name === name);
    const query: SavedQuery = { id: same?.id ?? newId(), name, sql, at: Date.now() };
    this.#set({ saved: [...this.state.saved.filter((other) => other !== same), query].sort((a, b) => a.name.localeCompare(b.name)) });
    void keep("saved", query);
  }

  forgetQuery(id: string): void {
    this.#set({ saved: this.state.saved.filter((query) => query.id !== id) });
    void forget("saved", id);
  }

  #touch(id: string): void {
    this.#dirty.add(id);
    this.#timer ??= setTimeout(() => this.#save(), SAVE_MS);
  }

  #save(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const id of this.#dirty) {
      const tab = this.tab(id);
      if (tab !== undefined) void keep("tabs", tab);
    }
    this.#dirty.clear();
  }
}

function readKept(kept: KeptResult): Parameters<TabRun["restore"]>[0] | undefined {
  try {
    const { asked } = kept;
    const { fields, chunks } = readStream(kept.messages);
    const rows = new Rows(fields, asked.rowsMax === 0 ? ROWS_MAX : asked.rowsMax);
    for (const chunk of chunks) rows.add(chunk);
    return { asked, rows, id: undefined, at: kept.at, elapsedMs: kept.elapsedMs, bytes: kept.messages.reduce((sum, part) => sum + part.length, 0) };
  } catch {
    // Of another version: it is run again instead.
    return undefined;
  }
}

export const workspace = new Workspace();
