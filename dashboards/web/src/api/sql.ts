// SQL over HTTP: `/druid/v2/sql`. Rows come as an Arrow stream; a query is cancelled by the id that this side gave it.
import { ArrowReader, type Chunk, type Field } from "./arrow";
import { ApiError, asApiError, errorFrom } from "./errors";
import { request } from "./http";

export type BoundType = "VARCHAR" | "BIGINT" | "DOUBLE" | "BOOLEAN" | "TIMESTAMP" | "DATE";
/** Numbers travel as text, so that a BIGINT keeps all its digits. */
export type Bound = { type: BoundType; value: string | boolean | null };

export type SqlAsk = { sql: string; parameters: readonly Bound[]; timeZone: string; limit?: number | undefined };

export type SqlHandlers = { onFields(fields: readonly Field[]): void; onRows(chunk: Chunk): void; onBytes(bytes: number): void };

/** Also where `crypto.randomUUID` is missing: plain HTTP on another host. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function body(id: string, ask: SqlAsk, format: string, header: boolean): string {
  const context: Record<string, unknown> = { sqlQueryId: id, sqlTimeZone: ask.timeZone };
  if (ask.limit !== undefined) context.sqlOuterLimit = ask.limit;
  return JSON.stringify({ query: ask.sql, resultFormat: format, header, context, parameters: ask.parameters });
}

async function open(id: string, ask: SqlAsk, format: string, header: boolean, signal: AbortSignal): Promise<Response> {
  const answer = await fetch("/druid/v2/sql", { method: "POST", headers: { "Content-Type": "application/json" }, body: body(id, ask, format, header), signal });
  if (answer.ok) return answer;
  const words = await answer.text();
  let parsed: unknown = words;
  try {
    parsed = JSON.parse(words);
  } catch {
    // Not from freshet itself: a proxy's page, say. Its status has to do.
  }
  throw errorFrom(parsed, answer.status);
}

/** Hands rows on as they come. Resolves with the messages of the stream, for a result that is kept. */
export async function runSql(id: string, ask: SqlAsk, signal: AbortSignal, handlers: SqlHandlers): Promise<readonly Uint8Array[]> {
  try {
    const answer = await open(id, ask, "arrow", false, signal);
    const reader = new ArrowReader();
    let bytes = 0;
    let rows = 0;
    const stream = answer.body?.getReader();
    try {
      for (let piece = await stream?.read(); piece?.value !== undefined; piece = await stream?.read()) {
        bytes += piece.value.length;
        const before = reader.fields;
        const chunks = reader.push(piece.value);
        if (before === undefined && reader.fields !== undefined) handlers.onFields(reader.fields);
        handlers.onBytes(bytes);
        for (const chunk of chunks) {
          rows += chunk.rowCount;
          handlers.onRows(chunk);
        }
      }
    } catch (error) {
      if (!signal.aborted && error instanceof TypeError) throw cut(rows);
      throw error;
    }
    if (!reader.ended) throw cut(rows);
    return reader.messages;
  } catch (error) {
    throw asApiError(error);
  }
}

function cut(rows: number): ApiError {
  return new ApiError(`the answer was cut short after ${rows} rows`, { hint: "the server stopped or failed while it sent; run it again" });
}

/** False when nothing with this id was running, or the server cannot be reached: then there is nothing to wait for either. */
export async function cancelSql(id: string): Promise<boolean> {
  try {
    return (await fetch(`/druid/v2/sql/${encodeURIComponent(id)}`, { method: "DELETE" })).status === 202;
  } catch {
    return false;
  }
}

/** All rows at once, as objects; for small answers about the server itself. */
export function sqlRows<T>(sql: string, parameters: readonly Bound[] = [], timeZone = "UTC"): Promise<T[]> {
  return request<T[]>("/druid/v2/sql", { method: "POST", json: { query: sql, parameters, context: { sqlTimeZone: timeZone } } });
}

export type ExportFormat = "csv" | "objectLines" | "arrow";

/** The result as bytes from the server, without a limit of the page. `onBytes` hears how much has come. */
export async function exportSql(id: string, ask: SqlAsk, format: ExportFormat, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  try {
    const answer = await open(id, { ...ask, limit: undefined }, format, format === "csv", signal);
    if (answer.body === null) throw new ApiError("the server sent no data");
    return answer.body.pipeThrough(format === "arrow" ? counted(onBytes) : withoutLastLine(onBytes));
  } catch (error) {
    throw asApiError(error);
  }
}

function counted(onBytes: (bytes: number) => void): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  let bytes = 0;
  return new TransformStream({
    transform(piece, controller) {
      bytes += piece.length;
      onBytes(bytes);
      controller.enqueue(piece);
    },
  });
}

/** Line formats end with an empty line, which shows that nothing is missing. A file has no use for it, so the last byte is held back. */
export function withoutLastLine(onBytes: (bytes: number) => void): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  let bytes = 0;
  let held: Uint8Array<ArrayBuffer> | undefined;
  return new TransformStream({
    transform(piece, controller) {
      if (piece.length === 0) return;
      bytes += piece.length;
      onBytes(bytes);
      if (held !== undefined) controller.enqueue(held);
      held = piece.slice(-1);
      if (piece.length > 1) controller.enqueue(piece.subarray(0, -1));
    },
    flush(controller) {
      if (held?.[0] !== 10) controller.error(new ApiError("the export was cut short", { hint: "the server stopped or failed while it sent; export again" }));
    },
  });
}
