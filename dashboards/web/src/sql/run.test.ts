// A run against a fake of the browser's fetch: what it asks, what it shows when, and how it ends.
import { int64, tableFromArrays, tableToIPC } from "@uwdata/flechette";
import { afterEach, describe, expect, it, vi } from "vitest";
import { TabRun, type Finished } from "./run";
import type { Asked } from "./tabs";

const BYTES = tableToIPC(tableFromArrays({ n: [1n, 9_007_199_254_740_993n, 3n] }, { types: { n: int64() } }), { format: "stream" }) as Uint8Array<ArrayBuffer>;
const ASKED: Asked = { sql: "SELECT n FROM t", parameters: [{ type: "BIGINT", value: "7" }], timeZone: "UTC", from: 0, rowsMax: 2, limit: 3 };

type Call = { path: string; method: string; body: { query?: string; context?: { sqlQueryId: string; sqlOuterLimit?: number }; [key: string]: unknown } };

function serve(answer: (call: Call, signal: AbortSignal | undefined) => Response | Promise<Response>): Call[] {
  const calls: Call[] = [];
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    const call = { path, method: init.method ?? "GET", body: typeof init.body === "string" ? JSON.parse(init.body) : {} } as Call;
    calls.push(call);
    return Promise.resolve(answer(call, init.signal ?? undefined));
  });
  return calls;
}

function stream(...pieces: Uint8Array[]): Response {
  return new Response(new ReadableStream({ start(controller) { for (const piece of pieces) controller.enqueue(piece); controller.close(); } }));
}

async function finished(run: TabRun, asked = ASKED): Promise<Finished> {
  let end: Finished | undefined;
  run.onFinish = (each) => (end = each);
  await run.run(asked);
  return end as Finished;
}

afterEach(() => vi.unstubAllGlobals());

describe("a run", () => {
  it("asks for one row more than it shows, and shows every digit", async () => {
    const calls = serve(() => stream(BYTES.subarray(0, 100), BYTES.subarray(100)));
    const run = new TabRun();
    const end = await finished(run);
    expect(calls[0]).toMatchObject({ path: "/druid/v2/sql", method: "POST", body: { query: ASKED.sql, resultFormat: "arrow", parameters: ASKED.parameters, context: { sqlOuterLimit: 3, sqlTimeZone: "UTC" } } });
    expect(run.state).toEqual({ kind: "done" });
    expect([run.result?.rows.rowCount, run.result?.rows.more, run.result?.rows.cell(1, 0)]).toEqual([2, true, 9_007_199_254_740_993n]);
    expect([end.outcome, end.rows, end.messages.length]).toEqual(["done", 2, 2]);
  });

  it("keeps the last good result when the next one is refused, with the place of the mistake", async () => {
    serve(() => stream(BYTES));
    const run = new TabRun();
    await finished(run);
    const good = run.result;
    serve(() => Response.json({ errorMessage: "Column 'x' not found (line [2], column [8])", hint: 'did you mean "n"?', context: { sourceType: "sql", line: "2", column: "8", endLine: "2", endColumn: "8" } }, { status: 400 }));
    const end = await finished(run, { ...ASKED, sql: "SELECT\n       x" });
    expect(end.outcome).toBe("failed");
    expect(run.result).toBe(good);
    expect(run.state).toMatchObject({ kind: "failed", error: { status: 400, hint: 'did you mean "n"?', place: { line: 2, column: 8, endLine: 2, endColumn: 8 } } });
  });

  it("does not take a stream for whole that has no end", async () => {
    serve(() => stream(BYTES.subarray(0, BYTES.length - 8)));
    const run = new TabRun();
    const end = await finished(run);
    expect([end.outcome, end.rows]).toEqual(["failed", 2]);
    expect(end.message).toMatch(/cut short after 3 rows/);
    serve(() => new Response(new ReadableStream({ start(controller) { controller.enqueue(BYTES.subarray(0, 40)); controller.error(new TypeError("network error")); } })));
    expect((await finished(run)).message).toMatch(/cut short after 0 rows/);
  });

  it("cancels by the id it gave, and says so whatever the server answers then", async () => {
    for (const answer of [202, 404]) {
      let refuse: ((error: Error) => void) | undefined;
      const calls = serve((call, signal) => {
        if (call.method === "DELETE") return new Response(null, { status: answer });
        return new Promise<Response>((_, reject) => {
          refuse = reject;
          signal?.addEventListener("abort", () => refuse?.(new DOMException("aborted", "AbortError")));
        });
      });
      const run = new TabRun();
      const end = finished(run);
      await vi.waitFor(() => expect(calls).toHaveLength(1));
      expect(run.state.kind).toBe("running");
      await run.cancel();
      expect((await end).outcome).toBe("cancelled");
      expect(run.state).toMatchObject({ kind: "cancelled", rows: 0 });
      expect(calls[1]).toMatchObject({ method: "DELETE", path: `/druid/v2/sql/${calls[0]?.body.context?.sqlQueryId}` });
    }
  });
});
