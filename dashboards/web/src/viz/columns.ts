// Painter maths: many points to one column of pixels each, as minimum and maximum, so that no peak is lost and the cost is the
// width of the chart and not the number of points.

export type Columns = {
  /** For each pixel column: lowest and highest value, NaN where there is none. */
  low: Float64Array;
  high: Float64Array;
  /** First and last value of the column, to join neighbours. */
  first: Float64Array;
  last: Float64Array;
};

export function toColumns(t: ArrayLike<number>, values: ArrayLike<number>, from: number, to: number, width: number): Columns {
  const columns: Columns = {
    low: new Float64Array(width).fill(NaN),
    high: new Float64Array(width).fill(NaN),
    first: new Float64Array(width).fill(NaN),
    last: new Float64Array(width).fill(NaN),
  };
  const scale = width / (to - from);
  for (let at = lowerBound(t, from); at < t.length && (t[at] as number) < to; at++) {
    const value = values[at] as number;
    if (Number.isNaN(value)) continue;
    const column = Math.min(width - 1, Math.floor(((t[at] as number) - from) * scale));
    if (Number.isNaN(columns.low[column] as number)) {
      columns.low[column] = columns.high[column] = columns.first[column] = value;
    } else {
      columns.low[column] = Math.min(columns.low[column] as number, value);
      columns.high[column] = Math.max(columns.high[column] as number, value);
    }
    columns.last[column] = value;
  }
  return columns;
}

/** Index of the first element not below `wanted`, in a sorted array. */
export function lowerBound(sorted: ArrayLike<number>, wanted: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Runs of points without a gap: `[start, end)` pairs of indices where values are numbers. */
export function runs(values: ArrayLike<number>, start: number, end: number): [number, number][] {
  const found: [number, number][] = [];
  let open = -1;
  for (let at = start; at < end; at++) {
    const gap = Number.isNaN(values[at] as number);
    if (!gap && open < 0) open = at;
    if (gap && open >= 0) {
      found.push([open, at]);
      open = -1;
    }
  }
  if (open >= 0) found.push([open, end]);
  return found;
}

/** A top of scale that is a round number a little above the data, so that it does not change with every point. */
export function niceTop(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
  const wanted = (value * 1.04) / power;
  return (steps.find((step) => step >= wanted) ?? 12) * power;
}
