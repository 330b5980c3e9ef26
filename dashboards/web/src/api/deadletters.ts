// Records that could not become rows: `/api/v1/tables/{t}/dead-letters`.
import { request } from "./http";

export type DeadLetter = { at: string; source: string; position: string; reason: string; hint?: string | null; raw: string };
export type DeadLetters = { total: number; kept: number; letters: DeadLetter[] };

export function fetchDeadLetters(table: string): Promise<DeadLetters> {
  return request<DeadLetters>(`/api/v1/tables/${encodeURIComponent(table)}/dead-letters?limit=100`);
}
