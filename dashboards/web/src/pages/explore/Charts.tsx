// One row a measure: its name, its value over the whole range, its course. One cursor over all of them.
import { useEffect, useState } from "react";
import { Button } from "../../kit/Button";
import { MoreIcon } from "../../kit/icons";
import { Menu } from "../../kit/Menu";
import { bucketName } from "../../query/buckets";
import type { Measure } from "../../query/measures";
import type { Span, Zone } from "../../query/range";
import { seriesIndices } from "../../viz/colour";
import { formatExact, formatIso, formatNumber } from "../../viz/format";
import type { Series } from "../../viz/series";
import { TimeChart } from "../../viz/TimeChart";
import styles from "./explore.module.css";

type Props = {
  series: Series;
  measures: readonly Measure[];
  totals: ReadonlyMap<string, number> | undefined;
  zone: Zone;
  view: () => Span;
  gliding: boolean;
  known: () => number;
  asTable: boolean;
  bucketMs: number;
  onZoom: (span: Span) => void;
  onBack: () => void;
  onTable: () => void;
  onSql: () => void;
};

const HEIGHT = 100;
const AXIS = 24;

export function Charts({ series, measures, totals, zone, view, gliding, known, asTable, bucketMs, onZoom, onBack, onTable, onSql }: Props) {
  const colours = seriesIndices(measures.map((measure) => measure.key));
  return (
    <section aria-label="Measures over time">
      <div className={styles.panelHead}>
        <h2>Over time</h2>
        <span className={styles.dim}>buckets of {bucketName(bucketMs)}</span>
        <Menu label="Charts" items={[{ id: "table", label: asTable ? "View as charts" : "View as table", hint: "t" }, { id: "sql", label: "Show SQL" }]} onAction={(id) => (id === "table" ? onTable() : onSql())}>
          <Button look="quiet" icon={<MoreIcon />} title="Charts: more" />
        </Menu>
      </div>
      {asTable ? <SeriesTable series={series} measures={measures} zone={zone} /> : measures.map((measure, index) => {
        const last = index === measures.length - 1;
        return (
          <div key={measure.key} className={styles.measure} data-testid={`measure-${measure.key}`}>
            <div className={styles.measureHead}>
              <span className={styles.measureName}><i data-series={(colours[index] as number) + 1} className={styles.swatch} />{measure.label}</span>
              <span className={styles.stat} title={formatExact(totals?.get(measure.key))}>{formatNumber(totals?.get(measure.key))}</span>
            </div>
            <TimeChart
              series={series} measure={measure.key} label={measure.label} colour={colours[index] as number} zone={zone} height={last ? HEIGHT + AXIS : HEIGHT} showAxis={last} whole={measure.aggregate === "count" || measure.aggregate === "distinct"}
              view={view} gliding={gliding} known={known} showTime={index === 0} onZoom={onZoom} onBack={onBack}
            />
          </div>
        );
      })}
    </section>
  );
}

/** The same numbers as text, newest first. */
function SeriesTable({ series, measures, zone }: { series: Series; measures: readonly Measure[]; zone: Zone }) {
  const [, update] = useState(0);
  useEffect(() => series.onChange(() => update((version) => version + 1)), [series]);
  const { t, values } = series.rows();
  const columns = measures.map((measure) => values[series.cut.keys.indexOf(measure.key)]);
  return (
    <div className={styles.tableScroll} tabIndex={0} role="region" aria-label="Measures over time, as a table">
      <table className={styles.table}>
        <thead>
          <tr><th scope="col">bucket start</th>{measures.map((measure) => <th key={measure.key} scope="col" className={styles.number}>{measure.label}</th>)}</tr>
        </thead>
        <tbody>
          {Array.from(t.keys()).reverse().map((row) => (
            <tr key={t[row]}>
              <td className={styles.mono}>{formatIso(t[row] as number, zone)}</td>
              {measures.map((measure, index) => <td key={measure.key} className={styles.number}>{formatExact(columns[index]?.[row])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
