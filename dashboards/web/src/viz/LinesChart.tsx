// Several lines over time that stand still: a result, not a stream. Axes and cursor by uPlot, lines by the painter of the live charts.
import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Zone } from "../query/range";
import { axisLabels, formatExact, formatInstant, formatNumber } from "./format";
import { onPalette, palette } from "./palette";
import { paintSeries } from "./painter";
import styles from "./TimeChart.module.css";

export type ShownLine = { name: string; values: Float64Array; colour: number };

type Props = { t: Float64Array; lines: readonly ShownLine[]; zone: Zone; height: number; label: string; /** The point under the cursor, or undefined. */ onPoint: (index: number | undefined) => void };

const AXIS_LEFT = 56;

export function LinesChart({ t, lines, zone, height, label, onPoint }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [spoken, setSpoken] = useState("");
  const latest = useRef(onPoint);
  latest.current = onPoint;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let low = 0;
    let high = 0;
    for (const { values } of lines) {
      for (const value of values) {
        if (value > high) high = value;
        if (value < low) low = value;
      }
    }
    const options: uPlot.Options = {
      width: Math.max(60, element.clientWidth), height, ms: 1, padding: [10, 22, 0, 0], legend: { show: false },
      tzDate: (at) => (zone === "UTC" ? uPlot.tzDate(new Date(at), "Etc/UTC") : new Date(at)),
      scales: { x: { time: true, range: (_, min, max) => (min === max ? [min - 1_000, max + 1_000] : [min, max]) }, y: { auto: false, range: () => [low < 0 ? low * 1.06 : 0, high === 0 && low === 0 ? 1 : Math.max(0, high * 1.06)] } },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, width: 0, fill: (_, index) => palette().series[lines[index - 1]?.colour ?? 0] ?? "", stroke: () => palette().panel } },
      series: [{}, ...lines.map(() => ({ paths: () => null, points: { show: false } }))],
      axes: [
        { size: 26, gap: 4, space: 84, font: "11px Inter Variable, system-ui, sans-serif", stroke: () => palette().dim, ticks: { show: false }, grid: { stroke: () => palette().line, width: 1 }, values: (_, splits, __, ___, step) => axisLabels(splits, step, zone) },
        { size: AXIS_LEFT, gap: 6, space: 34, font: "11px Inter Variable, system-ui, sans-serif", stroke: () => palette().dim, ticks: { show: false }, grid: { stroke: () => palette().line, width: 1 }, values: (_, splits) => splits.map((value) => formatNumber(value)) },
      ],
      hooks: {
        draw: [(u) => { for (const line of lines) paintSeries(u, t, line.values, palette().series[line.colour] ?? "", Infinity, lines.length === 1); }],
        setCursor: [(u) => latest.current((u.cursor.left ?? -1) < 0 ? undefined : (u.cursor.idx ?? undefined))],
      },
    };
    const u = new uPlot(options, [t, ...lines.map((line) => line.values)], element);
    plot.current = u;
    const offPalette = onPalette(() => u.redraw());
    const sizes = new ResizeObserver(() => u.setSize({ width: Math.max(60, element.clientWidth), height }));
    sizes.observe(element);
    return () => {
      offPalette();
      sizes.disconnect();
      u.destroy();
      plot.current = undefined;
    };
  }, [t, lines, zone, height]);

  const onKeyDown = (event: KeyboardEvent) => {
    const u = plot.current;
    if (u === undefined || t.length === 0) return;
    const at = u.cursor.idx ?? Math.floor(t.length / 2);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: t.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.min(t.length - 1, Math.max(0, next));
    u.setCursor({ left: u.valToPos(t[index] as number, "x"), top: 1 });
    setSpoken([formatInstant(t[index] as number, zone, true), ...lines.map((line) => `${line.name} ${formatExact(line.values[index])}`)].join(", "));
  };

  return (
    <div className={styles.chart}>
      <div ref={box} className={styles.plot} role="application" aria-roledescription="time chart" tabIndex={0} aria-label={`${label}. Arrow keys read values; the Table tab has them as text.`} onKeyDown={onKeyDown} onPointerLeave={() => onPoint(undefined)} />
      <span className="visually-hidden" aria-live="polite">{spoken}</span>
    </div>
  );
}
