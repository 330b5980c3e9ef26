// Arrow IPC → columns. The only file that knows the decoder, so that another one could take its place.
import { tableFromIPC } from "@uwdata/flechette";

export type Cell = string | number | boolean | null;

export type Batch = {
  rowCount: number;
  metadata: ReadonlyMap<string, string>;
  names: readonly string[];
  /** Timestamps are epoch milliseconds; 64-bit integers are numbers, exact up to 2^53. */
  column(name: string): ArrayLike<Cell> | undefined;
};

export function decodeArrow(bytes: Uint8Array): Batch {
  const table = tableFromIPC(bytes, { useDate: false, useBigInt: false });
  return {
    rowCount: table.numRows,
    metadata: table.schema.metadata ?? new Map<string, string>(),
    names: table.names.map(String),
    column: (name) => table.getChild(name)?.toArray() as ArrayLike<Cell> | undefined,
  };
}

/** A numeric column; NULL becomes NaN, which the charts draw as a gap. */
export function numbers(column: ArrayLike<Cell> | undefined, rowCount: number): Float64Array {
  const out = new Float64Array(rowCount).fill(NaN);
  if (column === undefined) return out;
  for (let row = 0; row < rowCount; row++) {
    const value = column[row];
    if (typeof value === "number") out[row] = value;
  }
  return out;
}

/** What a column holds, as far as the page treats it differently. Times are epoch milliseconds. */
export type FieldKind = "time" | "integer" | "number" | "boolean" | "text";
export type Field = { name: string; kind: FieldKind };

/** A value as the server has it: 64-bit integers are `bigint`, so that no digit is lost. */
export type Exact = string | number | bigint | boolean | null;

/** Some rows of a result. Names may repeat in SQL, so columns are known by their place. */
export type Chunk = { rowCount: number; columns: readonly { at(row: number): Exact }[] };

const PREFIX_BYTES = 8;
const SCHEMA = 1;
const RECORD_BATCH = 3;
/** No message of the server is near this; a larger length is not Arrow. */
const MESSAGE_BYTES_MAX = 1 << 30;
/** Arrow's type ids → kinds; what is missing here is shown as text. */
const KINDS: Record<number, FieldKind> = { 2: "integer", 3: "number", 6: "boolean", 8: "time", 10: "time" };

/**
 * Reads an Arrow IPC stream as its bytes come, in pieces of any size, and gives rows as soon as they are whole.
 *
 *     prefix (8 bytes: mark, length) | metadata (a flatbuffer, says the length of the body) | body
 */
export class ArrowReader {
  fields: readonly Field[] | undefined;
  /** The stream's own end was seen: without it the answer was cut short. */
  ended = false;
  /** Bytes of whole messages. */
  bytes = 0;
  #schema: Uint8Array | undefined;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #messages: Uint8Array[] = [];

  /** The whole messages so far; `ArrowReader.push` of all of them reads the same rows again. */
  get messages(): readonly Uint8Array[] {
    return this.#messages;
  }

  push(bytes: Uint8Array): Chunk[] {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    const chunks: Chunk[] = [];
    for (let message = this.#next(); message !== undefined; message = this.#next()) {
      const chunk = this.#read(message.bytes, message.type);
      if (chunk !== undefined) chunks.push(chunk);
    }
    return chunks;
  }

  #read(message: Uint8Array, type: number): Chunk | undefined {
    this.bytes += message.length;
    this.#messages.push(message);
    if (type === SCHEMA) {
      this.#schema = message;
      const { fields } = tableFromIPC([message], { useBigInt: true }).schema;
      this.fields = fields.map((field) => ({ name: String(field.name), kind: KINDS[field.type.typeId] ?? "text" }));
    }
    if (type !== RECORD_BATCH || this.#schema === undefined) return undefined;
    const table = tableFromIPC([this.#schema, message], { useDate: false, useBigInt: true });
    return { rowCount: table.numRows, columns: table.children as unknown as Chunk["columns"] };
  }

  /** The next whole message, in memory of its own, so that numbers in it are aligned. */
  #next(): { bytes: Uint8Array; type: number } | undefined {
    if (this.ended || this.#waitingBytes < PREFIX_BYTES) return undefined;
    const prefix = view(this.#peek(PREFIX_BYTES));
    const metadataBytes = prefix.getInt32(4, true);
    if (prefix.getInt32(0, true) !== -1 || metadataBytes < 0 || metadataBytes > MESSAGE_BYTES_MAX) throw new Error("the answer is not an Arrow stream");
    if (metadataBytes === 0) {
      this.ended = true;
      return undefined;
    }
    const headBytes = PREFIX_BYTES + metadataBytes;
    if (this.#waitingBytes < headBytes) return undefined;
    const { type, bodyBytes } = header(view(this.#peek(headBytes)), PREFIX_BYTES);
    if (bodyBytes < 0 || bodyBytes > MESSAGE_BYTES_MAX) throw new Error("the answer is not an Arrow stream");
    if (this.#waitingBytes < headBytes + bodyBytes) return undefined;
    const bytes = this.#peek(headBytes + bodyBytes);
    this.#drop(bytes.length);
    return { bytes, type };
  }

  #peek(count: number): Uint8Array {
    const out = new Uint8Array(count);
    let at = 0;
    for (const piece of this.#waiting) {
      const part = piece.subarray(0, count - at);
      out.set(part, at);
      at += part.length;
      if (at === count) break;
    }
    return out;
  }

  #drop(count: number): void {
    this.#waitingBytes -= count;
    let left = count;
    while (left > 0) {
      const piece = this.#waiting[0] as Uint8Array;
      if (piece.length > left) {
        this.#waiting[0] = piece.subarray(left);
        return;
      }
      left -= piece.length;
      this.#waiting.shift();
    }
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The two fields of Arrow's `Message` flatbuffer that frame the stream: header type (slot 6) and body length (slot 10). */
function header(bytes: DataView, start: number): { type: number; bodyBytes: number } {
  const table = start + bytes.getUint32(start, true);
  const slots = table - bytes.getInt32(table, true);
  const slotBytes = bytes.getUint16(slots, true);
  const place = (slot: number) => (slot < slotBytes ? bytes.getUint16(slots + slot, true) : 0);
  const type = place(6);
  const body = place(10);
  return { type: type === 0 ? 0 : bytes.getUint8(table + type), bodyBytes: body === 0 ? 0 : Number(bytes.getBigInt64(table + body, true)) };
}

/** A whole stream at once: a frame of the live socket, or a result kept from earlier. */
export function readStream(pieces: readonly Uint8Array[]): { fields: readonly Field[]; chunks: Chunk[]; messages: readonly Uint8Array[] } {
  const reader = new ArrowReader();
  const chunks = pieces.flatMap((piece) => reader.push(piece));
  return { fields: reader.fields ?? [], chunks, messages: reader.messages };
}
