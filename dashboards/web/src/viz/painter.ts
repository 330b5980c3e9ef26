// The column painter: draws a series into uPlot's canvas. As many points as pixels or fewer are a stroked line over a soft area; more
// are one vertical bar a pixel from the lowest to the highest value. Buckets that are still filling are drawn lighter.
import type uPlot from "uplot";
import { lowerBound, runs, toColumns } from "./columns";

const PARTIAL_ALPHA = 0.35;

/** `shaded` fills the area below a line; several lines in one chart go without. */
export function paintSeries(u: uPlot, t: Float64Array, values: Float64Array, colour: string, partialFrom: number, shaded = true): void {
  const { ctx, bbox } = u;
  const from = u.scales.x?.min;
  const to = u.scales.x?.max;
  if (from === null || from === undefined || to === null || to === undefined || t.length === 0) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - 2, bbox.width, bbox.height + 4);
  ctx.clip();
  const x = (at: number) => bbox.left + ((at - from) / (to - from)) * bbox.width;
  const y = (value: number) => u.valToPos(value, "y", true);

  // One point more at each side, so that the line reaches the edges.
  const start = Math.max(0, lowerBound(t, from) - 1);
  const end = Math.min(t.length, lowerBound(t, to) + 1);
  if (end - start > bbox.width) {
    paintDense(ctx, toColumns(t, values, from, to, Math.max(1, Math.round(bbox.width))), bbox.left, y, colour);
  } else {
    const whole = Math.min(end, Math.max(start, lowerBound(t, partialFrom)));
    if (shaded) paintLine(ctx, t, values, start, whole, x, y, colour, bbox);
    else strokeRuns(ctx, t, values, start, whole, x, y, colour);
    if (whole < end) {
      ctx.globalAlpha = PARTIAL_ALPHA;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      strokeRuns(ctx, t, values, Math.max(start, whole - 1), end, x, y, colour);
    }
  }
  ctx.restore();
}

function paintLine(ctx: CanvasRenderingContext2D, t: Float64Array, values: Float64Array, start: number, end: number, x: (at: number) => number, y: (value: number) => number, colour: string, bbox: uPlot.BBox): void {
  const zero = y(0);
  const shade = ctx.createLinearGradient(0, bbox.top, 0, bbox.top + bbox.height);
  shade.addColorStop(0, `${colour}3d`);
  shade.addColorStop(1, `${colour}05`);
  ctx.fillStyle = shade;
  for (const [first, last] of runs(values, start, end)) {
    ctx.beginPath();
    ctx.moveTo(x(t[first] as number), zero);
    for (let at = first; at < last; at++) ctx.lineTo(x(t[at] as number), y(values[at] as number));
    ctx.lineTo(x(t[last - 1] as number), zero);
    ctx.fill();
  }
  strokeRuns(ctx, t, values, start, end, x, y, colour);
}

function strokeRuns(ctx: CanvasRenderingContext2D, t: Float64Array, values: Float64Array, start: number, end: number, x: (at: number) => number, y: (value: number) => number, colour: string): void {
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.lineJoin = "round";
  for (const [first, last] of runs(values, start, end)) {
    if (last - first === 1) {
      // A point between two gaps has no line to be part of.
      ctx.beginPath();
      ctx.arc(x(t[first] as number), y(values[first] as number), 2 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
      continue;
    }
    ctx.beginPath();
    for (let at = first; at < last; at++) ctx.lineTo(x(t[at] as number), y(values[at] as number));
    ctx.stroke();
  }
}

function paintDense(ctx: CanvasRenderingContext2D, columns: ReturnType<typeof toColumns>, left: number, y: (value: number) => number, colour: string): void {
  ctx.fillStyle = colour;
  const thick = Math.max(1, devicePixelRatio);
  let previous = NaN;
  for (let column = 0; column < columns.low.length; column++) {
    let low = columns.low[column] as number;
    let high = columns.high[column] as number;
    if (Number.isNaN(low)) {
      previous = NaN;
      continue;
    }
    // Neighbours are joined, so that a steep rise is a line and not two dots.
    if (!Number.isNaN(previous)) {
      low = Math.min(low, previous);
      high = Math.max(high, previous);
    }
    previous = columns.last[column] as number;
    const top = y(high);
    ctx.fillRect(left + column, top, 1, Math.max(thick, y(low) - top));
  }
}
