// The one live socket of this tab: subscriptions that survive reconnects, frames decoded once, acknowledgements, a clock.
//
//   subscribe → sub ─────────────▶ server
//   frame ◀──── 24-byte header + Arrow | JSON;   ack ─▶   (the server coalesces beyond two frames unacknowledged)
//
// A lost connection comes back by itself with growing pauses and every subscription is made again; the server then sends a fresh
// snapshot, so nothing is missed and nothing is counted twice. A tab hidden for 30 s unsubscribes, and catches up when seen again.
import { decodeArrow, type Batch } from "./arrow";
import { ApiError, errorFrom } from "./errors";
import type { TimeRange } from "../query/range";

export type QuerySpec = { kind: "query"; table: string; sql: string; params: readonly { type: string; value: string | number | boolean | null }[]; range: TimeRange; bucketMs?: number; refreshMs?: number; timeZone?: string };
export type Spec = QuerySpec | { kind: "tables" };

export type Frame =
  | { kind: "rows"; batch: Batch; /** Rows at or after this bucket start are replaced; undefined = all are. */ from: number | undefined; rangeFrom: number; rangeTo: number; produced: number | undefined; watermark: number }
  | { kind: "status"; body: unknown; watermark: number };

export type Handlers = {
  onFrame(frame: Frame): void;
  onError(error: ApiError): void;
  /** Takes frames of rows undecoded instead of `onFrame`: for results whose 64-bit integers must stay exact. */
  onStream?(bytes: Uint8Array): void;
};

export type SocketStatus = { kind: "connecting" } | { kind: "live" } | { kind: "reconnecting"; at: number } | { kind: "offline" };

const HEADER_BYTES = 24;
const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** The server's heartbeat comes each 10 s; without anything for this long the connection is dead, whatever the system says. */
const SILENCE_MS_MAX = 25_000;
const HIDDEN_MS_MAX = 30_000;

/** A subscription the server gave up (its table is gone, say) is asked for again, with growing pauses. */
const GIVEN_UP_MS = [1_000, 2_000, 4_000, 8_000, 16_000];

type Subscription = { spec: Spec; handlers: Handlers; sent: boolean; failures: number };

export class LiveSocket {
  #url: string;
  #socket: WebSocket | undefined;
  #subscriptions = new Map<number, Subscription>();
  #nextId = 1;
  #status: SocketStatus = { kind: "connecting" };
  #listeners = new Set<() => void>();
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastFrameAt = 0;
  #asleep = false;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  #clockOffset: number | undefined;
  #watermark = 0;

  constructor(url: string) {
    this.#url = url;
  }

  start(): void {
    this.#connect();
    setInterval(() => this.#watch(), 5_000);
    window.addEventListener("online", () => this.retry());
    window.addEventListener("offline", () => {
      if (this.#socket?.readyState !== WebSocket.OPEN) this.#setStatus(this.#broken(0));
    });
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  get status(): SocketStatus {
    return this.#status;
  }

  /** Wall clock of the server at its newest reading or heartbeat; 0 before the first one. */
  get watermark(): number {
    return this.#watermark;
  }

  /** The server's wall clock now, as well as the frames let us know it. */
  serverNow(): number {
    return Date.now() + (this.#clockOffset ?? 0);
  }

  onStatus = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  subscribe(spec: Spec, handlers: Handlers): () => void {
    const id = this.#nextId++;
    const subscription: Subscription = { spec, handlers, sent: false, failures: 0 };
    this.#subscriptions.set(id, subscription);
    this.#sendSub(id, subscription);
    return () => {
      if (this.#subscriptions.delete(id) && subscription.sent) this.#send({ op: "unsub", id });
    };
  }

  /** Connects now instead of at the end of the pause. */
  retry(): void {
    if (this.#status.kind === "reconnecting" || this.#status.kind === "offline") this.#connect();
  }

  #connect(): void {
    clearTimeout(this.#timer);
    this.#drop();
    const socket = new WebSocket(this.#url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#attempt = 0;
      this.#lastFrameAt = Date.now();
      this.#setStatus({ kind: "live" });
      if (!this.#asleep) for (const [id, subscription] of this.#subscriptions) this.#sendSub(id, subscription);
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer>) => this.#receive(event.data);
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost();
    };
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    for (const subscription of this.#subscriptions.values()) subscription.sent = false;
    if (socket !== undefined) socket.close();
  }

  #lost(): void {
    this.#drop();
    const pause = (PAUSES_MS[Math.min(this.#attempt, PAUSES_MS.length - 1)] as number) * (0.8 + Math.random() * 0.4);
    this.#attempt += 1;
    this.#setStatus(this.#broken(pause));
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  /** A server on this machine is reached without any network, so the browser's word about it counts for other hosts only. */
  #broken(pause: number): SocketStatus {
    const here = /^wss?:\/\/(localhost|127\.|\[::1\])/.test(this.#url);
    return here || navigator.onLine ? { kind: "reconnecting", at: Date.now() + pause } : { kind: "offline" };
  }

  #watch(): void {
    if (this.#status.kind === "live" && Date.now() - this.#lastFrameAt > SILENCE_MS_MAX) this.#lost();
  }

  #visibility(): void {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) {
      this.#hiddenTimer = setTimeout(() => this.#sleep(), HIDDEN_MS_MAX);
      return;
    }
    this.retry();
    if (!this.#asleep) return;
    this.#asleep = false;
    for (const [id, subscription] of this.#subscriptions) this.#sendSub(id, subscription);
  }

  #sleep(): void {
    this.#asleep = true;
    for (const [id, subscription] of this.#subscriptions) {
      if (subscription.sent) this.#send({ op: "unsub", id });
      subscription.sent = false;
    }
  }

  #sendSub(id: number, subscription: Subscription): void {
    if (this.#asleep) return;
    subscription.sent = this.#send({ op: "sub", id, ...subscription.spec });
  }

  #send(message: unknown): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #receive(data: ArrayBuffer | string): void {
    this.#lastFrameAt = Date.now();
    if (typeof data === "string" || data.byteLength < HEADER_BYTES) return;
    const header = new DataView(data, 0, HEADER_BYTES);
    const type = header.getUint8(0);
    const id = header.getUint32(4, true);
    const seq = Number(header.getBigUint64(8, true));
    const watermark = Number(header.getBigInt64(16, true));
    if (type !== 5) this.#clock(watermark);
    const subscription = this.#subscriptions.get(id);
    if (type === 6 || subscription === undefined) return;
    try {
      const payload = new Uint8Array(data, HEADER_BYTES);
      if ((type === 1 || type === 2) && subscription.handlers.onStream !== undefined) subscription.handlers.onStream(payload);
      else if (type === 1 || type === 2) subscription.handlers.onFrame(rowsFrame(decodeArrow(payload), type === 2, watermark));
      else if (type === 4) subscription.handlers.onFrame({ kind: "status", body: json(payload), watermark });
      else if (type === 5) this.#failed(id, subscription, errorFrom(json(payload)));
      if (type !== 5) subscription.failures = 0;
    } catch (error) {
      subscription.handlers.onError(new ApiError("a frame of the live socket could not be read", { hint: error instanceof Error ? error.message : String(error) }));
    }
    if (type !== 5) this.#send({ op: "ack", id, seq });
  }

  #failed(id: number, subscription: Subscription, error: ApiError): void {
    subscription.handlers.onError(error);
    if (error.retry) return;
    const pause = GIVEN_UP_MS[Math.min(subscription.failures, GIVEN_UP_MS.length - 1)] as number;
    subscription.failures += 1;
    subscription.sent = false;
    setTimeout(() => {
      if (this.#subscriptions.get(id) === subscription && !subscription.sent) this.#sendSub(id, subscription);
    }, pause);
  }

  /** The least delayed frame so far tells the offset best; it drifts down slowly, so that a corrected clock is followed. */
  #clock(watermark: number): void {
    if (watermark <= 0) return;
    this.#watermark = Math.max(this.#watermark, watermark);
    const offset = watermark - Date.now();
    this.#clockOffset = this.#clockOffset === undefined ? offset : Math.max(offset, this.#clockOffset - 0.5);
  }

  #setStatus(status: SocketStatus): void {
    this.#status = status;
    for (const listener of this.#listeners) listener();
  }
}

function json(payload: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(payload));
}

function rowsFrame(batch: Batch, isDelta: boolean, watermark: number): Frame {
  const number = (key: string) => {
    const value = batch.metadata.get(key);
    return value === undefined || value === "" ? undefined : Number(value);
  };
  return {
    kind: "rows",
    batch,
    from: isDelta ? number("from") : undefined,
    rangeFrom: number("rangeFrom") ?? NaN,
    rangeTo: number("rangeTo") ?? NaN,
    produced: number("produced"),
    watermark,
  };
}

export const live = new LiveSocket(`${globalThis.location?.protocol === "https:" ? "wss" : "ws"}://${globalThis.location?.host ?? "localhost"}/api/v1/live`);
