// One measure over time. uPlot keeps axes, cursor and selection; the series is painted by `paintSeries`, the x axis glides with the
// server's clock in the page's one frame loop. Rows never pass through React.
import { useEffect, useRef, type KeyboardEvent } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { lowerBound, niceTop } from "./columns";
import { axisLabels, formatClock, formatExact, formatNumber } from "./format";
import { frames } from "./frames";
import { onPalette, palette } from "./palette";
import { paintSeries } from "./painter";
import type { Series } from "./series";
import type { Span, Zone } from "../query/range";
import styles from "./TimeChart.module.css";

type Props = {
  series: Series;
  /** Which of the series' measures this chart shows. */
  measure: string;
  label: string;
  colour: number;
  zone: Zone;
  height: number;
  showAxis: boolean;
  /** Counts have no halves on their axis. */
  whole: boolean;
  /** What the x axis covers now. */
  view: () => Span;
  gliding: boolean;
  /** The time up to which the shown rows are all there are. */
  known: () => number;
  /** The first chart of several says the time for all. */
  showTime: boolean;
  onZoom: (span: Span) => void;
  onBack: () => void;
};

const AXIS_LEFT = 52;
const WHOLE_STEPS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
const FRAME_MS = 1_000 / 60;

export function TimeChart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLDivElement>(null);
  const spoken = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot>(undefined);
  const anchor = useRef<number>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const { series, height, showAxis, zone, whole } = props;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let grid: ReturnType<Series["grid"]> | undefined;
    let values: Float64Array = new Float64Array(0);
    let topBefore = 0;
    let redraw = true;

    const options: uPlot.Options = {
      width: Math.max(60, element.clientWidth),
      height,
      ms: 1,
      padding: [10, 22, showAxis ? 0 : 6, 0],
      legend: { show: false },
      tzDate: (ts) => (zone === "UTC" ? uPlot.tzDate(new Date(ts), "Etc/UTC") : new Date(ts)),
      scales: { x: { time: true, auto: false, range: (_, min, max) => [min, max] }, y: { auto: false, range: (_, min, max) => [min, max] } },
      cursor: {
        y: false,
        sync: { key: "freshet", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, width: 0, fill: () => palette().series[latest.current.colour] ?? "", stroke: () => palette().panel },
        bind: { dblclick: () => () => { latest.current.onBack(); return null; } },
      },
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        {
          show: true, size: showAxis ? 26 : 0, gap: 4, space: 84, font: "11px Inter Variable, system-ui, sans-serif",
          stroke: () => palette().dim, ticks: { show: false }, grid: { stroke: () => palette().line, width: 1 },
          values: (_, splits, __, ___, step) => (showAxis ? axisLabels(splits, step, latest.current.zone) : splits.map(() => "")),
        },
        {
          size: AXIS_LEFT, gap: 6, ...(whole ? { incrs: WHOLE_STEPS } : {}), space: 30, font: "11px Inter Variable, system-ui, sans-serif",
          stroke: () => palette().dim, ticks: { show: false }, grid: { stroke: () => palette().line, width: 1 },
          values: (_, splits) => splits.map((value) => formatNumber(value)),
        },
      ],
      hooks: {
        draw: [(u) => {
          if (grid === undefined) return;
          const { colour, measure } = latest.current;
          const cut = series.cut;
          const partialFrom = cut.follows ? latest.current.known() - cut.bucketMs : Infinity;
          paintSeries(u, grid.t, series.valuesOf(grid, measure), palette().series[colour] ?? "", partialFrom);
        }],
        setCursor: [(u) => showReadout(u)],
        setSelect: [(u) => {
          if (u.select.width < 4) return;
          const from = u.posToVal(u.select.left, "x");
          const to = u.posToVal(u.select.left + u.select.width, "x");
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          latest.current.onZoom(snapped({ from, to }, series.cut.bucketMs));
        }],
      },
    };

    const showReadout = (u: uPlot) => {
      const label = readout.current;
      if (label === null) return;
      const left = u.cursor.left ?? -1;
      const at = u.cursor.idx;
      if (left < 0 || at === null || at === undefined || grid === undefined || grid.t[at] === undefined) {
        label.hidden = true;
        return;
      }
      const value = series.valuesOf(grid, latest.current.measure)[at];
      label.hidden = false;
      const time = formatClock(grid.t[at], latest.current.zone, series.cut.bucketMs);
      label.textContent = latest.current.showTime ? `${time}  ${formatExact(value)}` : formatExact(value);
      label.dataset.spoken = `${time}, ${formatExact(value)}`;
      const x = AXIS_LEFT + left;
      const right = x > element.clientWidth / 2;
      label.style.left = right ? "" : `${x + 10}px`;
      label.style.right = right ? `${element.clientWidth - x + 10}px` : "";
    };

    const u = new uPlot(options, [[], []], element);
    plot.current = u;

    const update = (now: number): number => {
      const view = latest.current.view();
      const next = series.grid(latest.current.known());
      u.batch(() => {
        if (next !== grid || redraw) {
          grid = next;
          redraw = false;
          values = series.valuesOf(next, latest.current.measure);
          u.setData([next.t, values], false);
        }
        let low = 0;
        let high = 0;
        for (let at = lowerBound(next.t, view.from - series.cut.bucketMs); at < next.t.length && (next.t[at] as number) < view.to; at++) {
          const value = values[at] as number;
          if (value > high) high = value;
          if (value < low) low = value;
        }
        // The top comes down only when the data left the upper half, so that the scale is calm.
        let top = niceTop(high);
        if (high > 0 && top < topBefore && high > topBefore * 0.55) top = topBefore;
        topBefore = top;
        u.setScale("x", { min: view.from, max: view.to });
        u.setScale("y", { min: low < 0 ? -niceTop(-low) : 0, max: high === 0 && low < 0 ? 0 : top });
      });
      if (!latest.current.gliding) return Infinity;
      // Half a device pixel is the least move anyone can see.
      const pixel = (view.to - view.from) / Math.max(1, u.bbox.width);
      return now + Math.max(FRAME_MS, pixel / 2);
    };

    const painter = { element, paint: update };
    const remove = frames().add(painter);
    const touch = () => frames().touch(element);
    const offSeries = series.onChange(touch);
    const offPalette = onPalette(() => { redraw = true; touch(); });
    const sizes = new ResizeObserver(() => {
      u.setSize({ width: Math.max(60, element.clientWidth), height });
      touch();
    });
    sizes.observe(element);
    return () => {
      remove();
      offSeries();
      offPalette();
      sizes.disconnect();
      u.destroy();
      plot.current = undefined;
    };
  }, [series, height, showAxis, zone, whole]);

  useEffect(() => {
    if (box.current !== null) frames().touch(box.current);
  });

  // Every drag has its equal on the keyboard: arrows move the cursor, with Shift they select, Enter zooms.
  const onKeyDown = (event: KeyboardEvent) => {
    const u = plot.current;
    if (u === undefined) return;
    const width = u.over.clientWidth;
    const left = u.cursor.left === undefined || u.cursor.left < 0 ? width / 2 : u.cursor.left;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      const next = Math.min(width, Math.max(0, left + (event.key === "ArrowLeft" ? -12 : 12)));
      if (event.shiftKey) {
        anchor.current ??= left;
        u.setSelect({ left: Math.min(anchor.current, next), width: Math.abs(next - anchor.current), top: 0, height: u.over.clientHeight }, false);
      } else if (anchor.current !== undefined) {
        anchor.current = undefined;
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }
      u.setCursor({ left: next, top: 1 });
      if (spoken.current !== null) spoken.current.textContent = readout.current?.dataset.spoken ?? "";
    } else if (event.key === "Enter" && u.select.width > 4) {
      anchor.current = undefined;
      u.setSelect(u.select, true);
    } else if (event.key === "Escape") {
      anchor.current = undefined;
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      u.setCursor({ left: -10, top: -10 });
    }
  };

  return (
    <div className={styles.chart}>
      <div
        ref={box}
        className={styles.plot}
        data-height={height}
        role="application"
        aria-roledescription="time chart"
        tabIndex={0}
        aria-label={`${props.label} over time. Arrow keys read values, Shift and arrows select, Enter zooms, t shows a table.`}
        onKeyDown={onKeyDown}
      />
      <div ref={readout} className={styles.readout} aria-hidden="true" hidden />
      <span ref={spoken} className="visually-hidden" aria-live="polite" />
    </div>
  );
}

/** Whole buckets, so that the first and the last point of the zoomed picture are complete. */
function snapped(span: Span, bucketMs: number): Span {
  const size = Math.min(bucketMs, 3_600_000);
  const from = Math.floor(span.from / size) * size;
  return { from, to: Math.max(from + size, Math.ceil(span.to / size) * size) };
}
