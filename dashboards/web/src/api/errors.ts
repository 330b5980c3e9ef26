// Errors as the server words them (Druid's shape, with our hint), and as the page shows them.

/** In a SQL text, lines and columns from 1; the last character is inside. */
export type SqlPlace = { line: number; column: number; endLine: number; endColumn: number };

export class ApiError extends Error {
  readonly hint: string | undefined;
  readonly at: string | undefined;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly retry: boolean;
  /** Where in the SQL, when the server knows. */
  readonly place: SqlPlace | undefined;

  constructor(message: string, detail: { hint?: string | undefined; at?: string | undefined; status?: number | undefined; requestId?: string | undefined; retry?: boolean; place?: SqlPlace | undefined } = {}) {
    super(message);
    this.hint = detail.hint;
    this.at = detail.at;
    this.status = detail.status;
    this.requestId = detail.requestId;
    this.retry = detail.retry ?? false;
    this.place = detail.place;
  }

  /** The same error in other words; the page shows its place by itself. */
  with(message: string): ApiError {
    const { hint, status, requestId, retry, place } = this;
    return new ApiError(message, { hint, status, requestId, retry, place });
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function placeFrom(context: unknown): SqlPlace | undefined {
  if (typeof context !== "object" || context === null) return undefined;
  const { sourceType, line, column, endLine, endColumn } = context as Record<string, unknown>;
  const [from, at, to, end] = [line, column, endLine ?? line, endColumn ?? column].map(Number);
  if (sourceType !== "sql" || !Number.isInteger(from) || !Number.isInteger(at) || !Number.isInteger(to) || !Number.isInteger(end)) return undefined;
  return { line: from as number, column: at as number, endLine: to as number, endColumn: end as number };
}

/** Reads an error body of any of the server's doors: `errorMessage`, or Druid's bare `{"error": ".."}`. */
export function errorFrom(body: unknown, status?: number): ApiError {
  const fields = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const message = text(fields.errorMessage) ?? text(fields.error) ?? (status === undefined ? "the server sent an error without words" : `the server answered ${status}`);
  return new ApiError(message, {
    hint: text(fields.hint),
    at: text(fields.at),
    requestId: text(fields.requestId),
    retry: fields.retry === true,
    place: placeFrom(fields.context),
    ...(status === undefined ? {} : { status }),
  });
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof TypeError) return new ApiError("the server cannot be reached", { hint: "is freshet running? The page tries again by itself." });
  return new ApiError(error instanceof Error ? error.message : String(error));
}
