// Tables and their columns: `/api/v1/tables`.
import { request } from "./http";
import type { Extent } from "../query/range";

export type Freshness = { p50Ms: number | null; p99Ms: number | null; count: number; lastVisibleAt: number | null; lastProducedAt: number | null };

export type Table = {
  name: string;
  rows: number;
  sealedRows: number;
  growingRows: number;
  /** Memory. */
  bytes: number;
  /** Files of sealed segments. */
  storedBytes: number;
  segments: number;
  sealedSegments: number;
  /** What it waits for before queries are answered. */
  recovering: string | null;
  minTime: string | null;
  maxTime: string | null;
  rowsPerSecond: number;
  freshness: Freshness | null;
  sources: string[];
  rejected: number;
  seq: number;
};

export type Column = {
  name: string;
  /** STRING, LONG, DOUBLE, FLOAT, COMPLEX<..> */
  type: string;
  sqlType: string;
  role: "time" | "dimension" | "metric";
  cardinality: number | null;
  multiValue: boolean;
};

const path = (table: string) => `/api/v1/tables/${encodeURIComponent(table)}`;

export async function fetchColumns(table: string, signal?: AbortSignal): Promise<Column[]> {
  return (await request<{ columns: Column[] }>(`${path(table)}/columns`, signal === undefined ? {} : { signal })).columns;
}

export function dropTable(table: string): Promise<unknown> {
  return request(path(table), { method: "DELETE" });
}

function instant(text: string | null): number | undefined {
  const at = text === null ? NaN : Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

export function extentOf(table: Table | undefined): Extent {
  return { minTime: instant(table?.minTime ?? null), maxTime: instant(table?.maxTime ?? null) };
}
