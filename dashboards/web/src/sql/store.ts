// Tabs, results, history and saved queries in IndexedDB. Where the browser has none (a private window, say) they last as long as the page.
import type { Asked, Tab } from "./tabs";

export type KeptResult = {
  tab: string;
  /** What gave it. */
  asked: Asked;
  at: number;
  elapsedMs: number;
  /** Arrow messages. */
  messages: readonly Uint8Array[];
};
export type HistoryEntry = { id: number; sql: string; at: number; elapsedMs: number; rows: number; outcome: "done" | "failed" | "cancelled"; message: string };
export type SavedQuery = { id: string; name: string; sql: string; at: number };

type Stores = { tabs: Tab; results: KeptResult; history: HistoryEntry; saved: SavedQuery };
type StoreName = keyof Stores;

const KEY_PATHS: Record<StoreName, string> = { tabs: "id", results: "tab", history: "id", saved: "id" };
const DATABASE = "freshet-sql";
const VERSION = 1;

let database: Promise<IDBDatabase | undefined> | undefined;

function open(): Promise<IDBDatabase | undefined> {
  database ??= new Promise((resolve) => {
    try {
      const asked = indexedDB.open(DATABASE, VERSION);
      asked.onupgradeneeded = () => {
        for (const [name, keyPath] of Object.entries(KEY_PATHS)) asked.result.createObjectStore(name, { keyPath });
      };
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => resolve(undefined);
      asked.onblocked = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
  return database;
}

async function run<T>(name: StoreName, mode: IDBTransactionMode, deed: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  const known = await open();
  if (known === undefined) return undefined;
  return new Promise((resolve) => {
    try {
      const asked = deed(known.transaction(name, mode).objectStore(name));
      asked.onsuccess = () => resolve(asked.result);
      // A full disk or a record that cannot be copied: what is on the page goes on, only its copy is missing.
      asked.onerror = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}

export async function readAll<N extends StoreName>(name: N): Promise<Stores[N][]> {
  return ((await run(name, "readonly", (store) => store.getAll())) as Stores[N][] | undefined) ?? [];
}

export async function readOne<N extends StoreName>(name: N, key: string): Promise<Stores[N] | undefined> {
  return (await run(name, "readonly", (store) => store.get(key))) as Stores[N] | undefined;
}

export async function keep<N extends StoreName>(name: N, value: Stores[N]): Promise<void> {
  await run(name, "readwrite", (store) => store.put(value));
}

export async function forget(name: StoreName, key: string | number): Promise<void> {
  await run(name, "readwrite", (store) => store.delete(key));
}
