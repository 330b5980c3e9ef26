// The socket against a fake of the browser's WebSocket: what is sent when, and what happens when it breaks.
import { tableFromArrays, tableToIPC } from "@uwdata/flechette";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LiveSocket, type Frame, type Spec } from "./live";
import type { ApiError } from "./errors";

class FakeSocket {
  static OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(text: string) {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close() {
    this.readyState = 3;
    this.onclose?.();
  }
  open() {
    this.readyState = 1;
    this.onopen?.();
  }
  frame(type: number, id: number, seq: number, payload: Uint8Array) {
    const data = new ArrayBuffer(24 + payload.length);
    const header = new DataView(data);
    header.setUint8(0, type);
    header.setUint32(4, id, true);
    header.setBigUint64(8, BigInt(seq), true);
    header.setBigInt64(16, BigInt(Date.now()), true);
    new Uint8Array(data, 24).set(payload);
    this.onmessage?.({ data });
  }
}

const SPEC: Spec = { kind: "query", table: "demo", sql: "SELECT 1", params: [], range: { from: "now-15m", to: "now" } };
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const page = { hidden: false, listeners: new Map<string, () => void>() };
const last = () => FakeSocket.all[FakeSocket.all.length - 1] as FakeSocket;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  page.hidden = false;
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("window", { addEventListener: () => undefined });
  vi.stubGlobal("navigator", { onLine: true });
  vi.stubGlobal("document", { get hidden() { return page.hidden; }, addEventListener: (name: string, listener: () => void) => page.listeners.set(name, listener) });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function start() {
  const socket = new LiveSocket("ws://host/api/v1/live");
  const frames: Frame[] = [];
  const errors: ApiError[] = [];
  const stop = socket.subscribe(SPEC, { onFrame: (frame) => frames.push(frame), onError: (error) => errors.push(error) });
  socket.start();
  last().open();
  return { socket, frames, errors, stop };
}

describe("the live socket", () => {
  it("subscribes once open, decodes, acknowledges and unsubscribes", () => {
    const { frames, stop } = start();
    expect(last().sent).toEqual([{ op: "sub", id: 1, ...SPEC }]);
    const table = tableFromArrays({ v: ["a"] });
    last().frame(1, 1, 7, tableToIPC(table, { format: "stream" }) as Uint8Array);
    expect(frames).toHaveLength(1);
    expect(frames[0]?.kind === "rows" && frames[0].batch.column("v")?.[0]).toBe("a");
    expect(last().sent[1]).toEqual({ op: "ack", id: 1, seq: 7 });
    stop();
    expect(last().sent[2]).toEqual({ op: "unsub", id: 1 });
  });

  it("comes back by itself and subscribes again", () => {
    const { socket } = start();
    const first = last();
    first.close();
    expect(socket.status.kind).toBe("reconnecting");
    vi.advanceTimersByTime(700);
    expect(last()).not.toBe(first);
    last().open();
    expect(socket.status.kind).toBe("live");
    expect(last().sent).toEqual([{ op: "sub", id: 1, ...SPEC }]);
  });

  it("waits longer after each failure", () => {
    start();
    const count = (ms: number) => {
      const before = FakeSocket.all.length;
      last().close();
      vi.advanceTimersByTime(ms);
      return FakeSocket.all.length - before;
    };
    expect(count(700)).toBe(1);
    expect(count(700)).toBe(0);
    vi.advanceTimersByTime(600);
    expect(FakeSocket.all.length).toBe(3);
  });

  it("gives a silent connection up", () => {
    const { socket } = start();
    vi.advanceTimersByTime(20_000);
    last().frame(6, 0, 0, new Uint8Array());
    vi.advanceTimersByTime(20_000);
    expect(socket.status.kind).toBe("live");
    vi.advanceTimersByTime(10_000);
    expect(socket.status.kind).not.toBe("live");
  });

  it("leaves when hidden for half a minute and catches up when seen again", () => {
    start();
    page.hidden = true;
    page.listeners.get("visibilitychange")?.();
    vi.advanceTimersByTime(9_000);
    last().frame(6, 0, 0, new Uint8Array());
    vi.advanceTimersByTime(20_000);
    expect(last().sent).toHaveLength(1);
    last().frame(6, 0, 0, new Uint8Array());
    vi.advanceTimersByTime(2_000);
    expect(last().sent[1]).toEqual({ op: "unsub", id: 1 });
    page.hidden = false;
    page.listeners.get("visibilitychange")?.();
    expect(last().sent[2]).toEqual({ op: "sub", id: 1, ...SPEC });
  });

  it("hands errors on in the server's words and asks again when the server gave up", () => {
    const { errors } = start();
    last().frame(5, 1, 0, text({ error: "druidException", errorMessage: "there is no table demo", hint: "push a row", retry: false }));
    expect(errors[0]?.message).toBe("there is no table demo");
    expect(errors[0]?.hint).toBe("push a row");
    vi.advanceTimersByTime(1_100);
    expect(last().sent[1]).toEqual({ op: "sub", id: 1, ...SPEC });
    last().frame(5, 1, 0, text({ error: "druidException", errorMessage: "later", retry: true }));
    vi.advanceTimersByTime(8_000);
    expect(last().sent).toHaveLength(2);
  });

  it("survives a frame that cannot be read", () => {
    const { errors, frames } = start();
    last().frame(1, 1, 1, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
    expect(errors).toHaveLength(1);
    last().frame(4, 1, 2, text({ tables: [] }));
    expect(frames).toHaveLength(1);
  });
});
