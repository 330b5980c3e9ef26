// A result as a chart: lines over a time column, or bars over a text column. What is drawn can be chosen; the first guess is shown.
import { useMemo, useState } from "react";
import type { Rows } from "../../grid/rows";
import { Notice } from "../../kit/Strip";
import { barsOf, BARS_MAX, choose, isNumber, linesOf, type ChartWish } from "../../sql/chart";
import type { Tab } from "../../sql/tabs";
import { workspace } from "../../sql/workspace";
import { Bars } from "../../viz/Bars";
import { seriesIndices } from "../../viz/colour";
import { formatExact, formatInstant, formatNumber } from "../../viz/format";
import { LinesChart } from "../../viz/LinesChart";
import styles from "./sql.module.css";

type Props = { tab: Tab; rows: Rows; /** Changes when rows came. */ version: number; order: Uint32Array | undefined };

const HEIGHT = 300;

export default function ChartView({ tab, rows, version, order }: Props) {
  const choice = useMemo(() => choose(rows, tab.chart), [rows, rows.rowCount, tab.chart]);
  const [point, setPoint] = useState<number>();
  const wish = (change: ChartWish) => workspace.change(tab.id, { chart: { ...tab.chart, ...change } });
  const { fields } = rows;

  const drawn = useMemo(() => {
    if (choice.kind !== "lines") return undefined;
    const found = linesOf(rows, choice);
    const colours = seriesIndices(found.lines.map((line) => line.name));
    return { ...found, lines: found.lines.map((line, index) => ({ ...line, colour: colours[index] ?? 0 })) };
  }, [choice, rows, rows.rowCount, version]);

  if (choice.kind === "none") return <Notice title={choice.why}>Each row should have a time or a name, and a number: SELECT country, COUNT(*) AS n … GROUP BY 1</Notice>;
  const places = (is: (place: number) => boolean) => fields.flatMap((field, place) => (is(place) ? [{ place, name: field.name }] : []));
  const xs = places((place) => fields[place]?.kind !== "integer" && fields[place]?.kind !== "number");
  const numbers = places((place) => isNumber(fields[place]));
  const texts = places((place) => (fields[place]?.kind === "text" || fields[place]?.kind === "boolean") && place !== choice.x);
  const several = choice.kind === "lines" && choice.split === undefined;
  const toggle = (place: number) => {
    if (choice.kind !== "lines") return;
    const next = choice.ys.includes(place) ? choice.ys.filter((other) => other !== place) : [...choice.ys, place].sort((a, b) => a - b);
    if (next.length > 0) wish({ ys: next });
  };
  return (
    <div className={styles.chart}>
      <div className={styles.chartBar}>
        <label>Along <select value={choice.x} onChange={(event) => wish({ x: Number(event.target.value) })}>{xs.map(({ place, name }) => <option key={place} value={place}>{name}</option>)}</select></label>
        {several ? (
          <fieldset className={styles.ys}>
            <legend className="visually-hidden">Numbers that are drawn</legend>
            {numbers.map(({ place, name }) => <label key={place}><input type="checkbox" checked={choice.ys.includes(place)} onChange={() => toggle(place)} />{name}</label>)}
          </fieldset>
        ) : (
          <label>Number <select value={choice.ys[0]} onChange={(event) => wish({ ys: [Number(event.target.value)] })}>{numbers.map(({ place, name }) => <option key={place} value={place}>{name}</option>)}</select></label>
        )}
        {choice.kind === "lines" && texts.length > 0 && (
          <label>Split by <select value={choice.split ?? -1} onChange={(event) => wish({ split: Number(event.target.value) < 0 ? null : Number(event.target.value) })}><option value={-1}>nothing</option>{texts.map(({ place, name }) => <option key={place} value={place}>{name}</option>)}</select></label>
        )}
      </div>
      {choice.kind === "bars" ? (
        <>
          <Bars bars={barsOf(rows, choice, order)} label={`${fields[choice.ys[0] ?? 0]?.name ?? ""} by ${fields[choice.x]?.name ?? ""}`} />
          {rows.rowCount > BARS_MAX && <p className={styles.hint}>The first {BARS_MAX} of {rows.rowCount.toLocaleString("en")} rows, in the order of the table.</p>}
        </>
      ) : drawn !== undefined && (
        <>
          <LinesChart t={drawn.t} lines={drawn.lines} zone={tab.zone} height={HEIGHT} label={`${choice.ys.map((y) => fields[y]?.name).join(", ")} over ${fields[choice.x]?.name ?? ""}`} onPoint={setPoint} />
          <p className={styles.at} aria-hidden="true">{point === undefined || drawn.t[point] === undefined ? "\u00a0" : formatInstant(drawn.t[point], tab.zone, true)}</p>
          <ul className={styles.legend} aria-label="Lines">
            {drawn.lines.map((line) => (
              <li key={line.name}><svg width="12" height="3" aria-hidden="true" data-series={line.colour + 1} className={styles.swatch}><rect width="12" height="3" rx="1.5" /></svg>{line.name}{point !== undefined && <strong title={formatExact(line.values[point])}>{formatNumber(line.values[point])}</strong>}</li>
            ))}
          </ul>
          {drawn.left > 0 && <p className={styles.hint}>The {drawn.lines.length} largest of {drawn.left + drawn.lines.length} values of {choice.split === undefined ? "" : fields[choice.split]?.name}.</p>}
          {drawn.cut && <p className={styles.hint}>The chart shows the first 200,000 rows.</p>}
        </>
      )}
    </div>
  );
}
