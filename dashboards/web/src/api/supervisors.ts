// Kafka supervisors, through Druid's own door: `/druid/indexer/v1/supervisor`.
import { request } from "./http";

export type SupervisorStatus = { id: string; payload: { state?: string; detailedState?: string; aggregateLag?: number; cause?: string | null; nextRetry?: string | null; recentErrors?: { errorMessage?: string; message?: string; timestamp?: string }[] } };

export function submitSupervisor(spec: string): Promise<{ id: string }> {
  return request("/druid/indexer/v1/supervisor", { method: "POST", body: spec });
}

export function fetchSupervisorStatus(id: string): Promise<SupervisorStatus> {
  return request(`/druid/indexer/v1/supervisor/${encodeURIComponent(id)}/status`);
}

/** The table a spec writes, at any of the places Druid accepts it. */
export function tableOfSpec(spec: string): string | undefined {
  try {
    const parsed = JSON.parse(spec) as { spec?: { dataSchema?: { dataSource?: unknown } }; dataSchema?: { dataSource?: unknown } };
    const name = parsed.spec?.dataSchema?.dataSource ?? parsed.dataSchema?.dataSource;
    return typeof name === "string" && name !== "" ? name : undefined;
  } catch {
    return undefined;
  }
}
