// The rows of one time series subscription, outside of React: snapshots replace, deltas replace from a bucket on, painters read.
import { numbers } from "../api/arrow";
import type { Frame } from "../api/live";
import { spread, type Grid } from "../query/buckets";
import type { Zone } from "../query/range";

type RowsFrame = Extract<Frame, { kind: "rows" }>;

/** How a series is cut; comes with the subscription. */
export type Cut = {
  bucketMs: number;
  zone: Zone;
  /** The right edge is the present. */
  follows: boolean;
  /** The left edge moves too. */
  slides: boolean;
  /** The measures, in the order of the query's columns `m0`, `m1`, .. */
  keys: readonly string[];
  /** What a bucket without rows shows, for each measure. */
  empty: readonly ("zero" | "gap")[];
};

export class Series {
  #t: Float64Array = new Float64Array(0);
  #values: Float64Array[] = [];
  #cut: Cut = { bucketMs: 1_000, zone: "UTC", follows: true, slides: true, keys: [], empty: [] };
  /** Buckets that start here or later were seen whole. */
  #wholeFrom = -Infinity;
  #rangeFrom = NaN;
  #rangeTo = NaN;
  #grid: Grid | undefined;
  #gridTo = NaN;
  #listeners = new Set<() => void>();
  version = 0;

  get cut(): Cut {
    return this.#cut;
  }

  /** The range the newest frame was evaluated for. */
  get range(): { from: number; to: number } | undefined {
    return Number.isNaN(this.#rangeFrom) ? undefined : { from: this.#rangeFrom, to: this.#rangeTo };
  }

  get isEmpty(): boolean {
    return this.#t.length === 0;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  apply(frame: RowsFrame, cut: Cut): void {
    const { batch } = frame;
    const columns = cut.empty.map((_, index) => numbers(batch.column(`m${index}`), batch.rowCount));
    const rows = sorted(numbers(batch.column("t"), batch.rowCount), columns);
    if (frame.from === undefined) {
      // The first bucket of a sliding window is cut by its edge: it would be drawn as a fall that never happened.
      this.#wholeFrom = cut.slides ? frame.rangeFrom : frame.rangeFrom - 32 * 86_400_000;
      const keep = (t: number) => t >= this.#wholeFrom;
      [this.#t, this.#values] = filtered(rows.t, rows.values, keep);
      this.#cut = cut;
    } else {
      const from = frame.from;
      // Two buckets stay beyond the edge, so that the line leaves the picture instead of ending inside it.
      const oldest = cut.slides ? frame.rangeFrom - 2 * cut.bucketMs : -Infinity;
      const [oldT, oldValues] = filtered(this.#t, this.#values, (t) => t < from && t >= oldest);
      this.#t = joined(oldT, rows.t);
      this.#values = rows.values.map((column, index) => joined(oldValues[index] ?? new Float64Array(oldT.length).fill(NaN), column));
    }
    this.#rangeFrom = frame.rangeFrom;
    this.#rangeTo = frame.rangeTo;
    this.#grid = undefined;
    this.version += 1;
    for (const listener of this.#listeners) listener();
  }

  /**
   * Every bucket up to `known` (or the end of an absolute range), missing ones filled in. `known` is the time up to which nothing
   * can have been missed; a bucket after it is not zero but not yet known.
   */
  grid(known: number): Grid {
    const { bucketMs, zone, follows, slides, empty } = this.#cut;
    const to = follows ? known : this.#rangeTo;
    // A new bucket can begin between two frames only on a quiet table; then the grid grows by a zero.
    if (this.#grid !== undefined && to - this.#gridTo < bucketMs) return this.#grid;
    this.#gridTo = Number.isNaN(to) ? known : to;
    const from = slides ? Math.max(this.#wholeFrom, this.#rangeFrom - 2 * bucketMs) + bucketMs - 1 : this.#rangeFrom;
    if (Number.isNaN(from)) return { t: this.#t, values: this.#values };
    this.#grid = spread({ t: this.#t, values: this.#values }, bucketMs, zone, from, this.#gridTo, empty);
    return this.#grid;
  }

  /** The values of one measure on a grid; all gaps while the rows of a newly chosen measure are still on their way. */
  valuesOf(grid: Grid, key: string): Float64Array {
    return grid.values[this.#cut.keys.indexOf(key)] ?? new Float64Array(grid.t.length).fill(NaN);
  }

  /** The rows as they came, for the table view. */
  rows(): { t: Float64Array; values: readonly Float64Array[] } {
    return { t: this.#t, values: this.#values };
  }
}

function sorted(t: Float64Array, values: Float64Array[]): { t: Float64Array; values: Float64Array[] } {
  let ordered = true;
  for (let at = 1; at < t.length && ordered; at++) ordered = (t[at - 1] as number) <= (t[at] as number);
  if (ordered) return { t, values };
  const order = Array.from(t.keys()).sort((a, b) => (t[a] as number) - (t[b] as number));
  const pick = (column: Float64Array) => Float64Array.from(order, (at) => column[at] as number);
  return { t: pick(t), values: values.map(pick) };
}

function filtered(t: Float64Array, values: readonly Float64Array[], keep: (t: number) => boolean): [Float64Array, Float64Array[]] {
  return [t.filter((at) => keep(at)), values.map((column) => column.filter((_, row) => keep(t[row] as number)))];
}

function joined(a: Float64Array, b: Float64Array): Float64Array {
  const out = new Float64Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
