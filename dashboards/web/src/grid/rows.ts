// The rows of a result as the grid reads them: chunks as they came, values decoded only where they are looked at.
import type { Chunk, Exact, Field } from "../api/arrow";

export class Rows {
  readonly fields: readonly Field[];
  /** Rows that are shown; a chunk may hold one more than was asked for. */
  rowCount = 0;
  /** There was more than `limit`. */
  more = false;
  #limit: number;
  #chunks: { start: number; chunk: Chunk }[] = [];
  #last = 0;

  constructor(fields: readonly Field[], limit = Infinity) {
    this.fields = fields;
    this.#limit = limit;
  }

  add(chunk: Chunk): void {
    if (chunk.rowCount === 0) return;
    if (this.rowCount === this.#limit) {
      this.more = true;
      return;
    }
    this.#chunks.push({ start: this.rowCount, chunk });
    const all = this.rowCount + chunk.rowCount;
    this.more = all > this.#limit;
    this.rowCount = Math.min(all, this.#limit);
  }

  cell(row: number, column: number): Exact {
    const found = this.#chunkOf(row);
    return found?.chunk.columns[column]?.at(row - found.start) ?? null;
  }

  /** Neighbours are asked for one after the other, so the chunk of the last answer is looked at first. */
  #chunkOf(row: number): { start: number; chunk: Chunk } | undefined {
    const last = this.#chunks[this.#last];
    if (last !== undefined && row >= last.start && row < last.start + last.chunk.rowCount) return last;
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#chunks[middle]?.start ?? Infinity) <= row) low = middle;
      else high = middle - 1;
    }
    this.#last = low;
    return this.#chunks[low];
  }
}

export type Sort = { column: number; descending: boolean };

/** The order of rows by one column; NULL and what is no number come last either way, equal values keep their order. */
export function orderBy(rows: Rows, sort: Sort): Uint32Array {
  const values: Exact[] = Array.from({ length: rows.rowCount }, (_, row) => {
    const value = rows.cell(row, sort.column);
    return Number.isNaN(value) ? null : value;
  });
  const sign = sort.descending ? -1 : 1;
  return Uint32Array.from(values.keys()).sort((a, b) => {
    const left = values[a] as Exact;
    const right = values[b] as Exact;
    if (left === null || right === null) return left === right ? a - b : left === null ? 1 : -1;
    return left < right ? -sign : left > right ? sign : a - b;
  });
}
