// The demo stream: `/api/v1/demo`.
import { request } from "./http";

export type Demo = { running: boolean; table: string; rate: number; seed: number; sent: number; rejected: number; backfilled: boolean };

/** The name is part of the demo, so that it can be known before the demo runs. */
export const DEMO_TABLE = "demo";
export const RATE_DEFAULT = 200;
export const RATE_MAX = 100_000;

export function fetchDemo(signal?: AbortSignal): Promise<Demo> {
  return request<Demo>("/api/v1/demo", signal === undefined ? {} : { signal });
}

/** Starts the stream, or changes its rate when it runs. */
export function startDemo(rate: number): Promise<Demo> {
  return request<Demo>("/api/v1/demo", { method: "POST", json: { rate, seed: 1 } });
}

export function stopDemo(drop: boolean): Promise<unknown> {
  return request(`/api/v1/demo${drop ? "?drop=true" : ""}`, { method: "DELETE" });
}
