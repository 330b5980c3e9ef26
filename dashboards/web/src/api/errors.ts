// Errors as the server words them (Druid's shape, with our hint), and as the page shows them.

export class ApiError extends Error {
  readonly hint: string | undefined;
  readonly at: string | undefined;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly retry: boolean;

  constructor(message: string, detail: { hint?: string | undefined; at?: string | undefined; status?: number; requestId?: string | undefined; retry?: boolean } = {}) {
    super(message);
    this.hint = detail.hint;
    this.at = detail.at;
    this.status = detail.status;
    this.requestId = detail.requestId;
    this.retry = detail.retry ?? false;
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
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
    ...(status === undefined ? {} : { status }),
  });
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof TypeError) return new ApiError("the server cannot be reached", { hint: "is freshet running? The page tries again by itself." });
  return new ApiError(error instanceof Error ? error.message : String(error));
}
