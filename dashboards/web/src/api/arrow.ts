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
