// One request to the server: JSON in, JSON out, every failure an ApiError.
import { asApiError, errorFrom } from "./errors";

type Ask = { method?: "GET" | "POST" | "DELETE"; json?: unknown; body?: string | Blob; contentType?: string; signal?: AbortSignal };

export async function request<T>(path: string, ask: Ask = {}): Promise<T> {
  try {
    const method = ask.method ?? "GET";
    const init: RequestInit = { method };
    if (ask.signal !== undefined) init.signal = ask.signal;
    if (method !== "GET") {
      init.headers = { "Content-Type": ask.contentType ?? "application/json" };
      init.body = ask.body ?? (ask.json === undefined ? null : JSON.stringify(ask.json));
    }
    const answer = await fetch(path, init);
    const words = await answer.text();
    let body: unknown = words;
    try {
      body = JSON.parse(words);
    } catch {
      if (answer.ok) throw errorFrom({ errorMessage: `${path} did not answer with JSON` }, answer.status);
    }
    if (!answer.ok) throw errorFrom(body, answer.status);
    return body as T;
  } catch (error) {
    throw asApiError(error);
  }
}
