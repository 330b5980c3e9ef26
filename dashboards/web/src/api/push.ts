// Pushing a file: `/api/v1/push/{table}`.
import { request } from "./http";

export type Pushed = { table: string; accepted: number; rejected: number; errors: { row: number; at?: string; reason: string; hint?: string }[] };

/** A table name from a file name: `Web Shop-2024.ndjson` → `web_shop_2024`. */
export function tableNameOf(file: string): string {
  const name = file.replace(/\.(json|ndjson|jsonl)$/i, "").toLowerCase().replace(/[^a-z0-9_]+/g, "_").replace(/^_+|_+$/g, "");
  return /^[a-z_]/.test(name) ? name : `t_${name === "" ? "events" : name}`;
}

/** Rows that cannot be read are skipped and named in the answer. */
export function pushFile(table: string, file: File): Promise<Pushed> {
  const lines = /\.(ndjson|jsonl)$/i.test(file.name);
  return request<Pushed>(`/api/v1/push/${encodeURIComponent(table)}?onError=skip`, {
    method: "POST",
    body: file,
    contentType: lines ? "application/x-ndjson" : "application/json",
  });
}
