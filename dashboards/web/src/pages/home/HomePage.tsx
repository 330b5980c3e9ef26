// Home: what this server holds and how fresh it is, live.
import { useEffect, useState } from "react";
import type { Features } from "../../api/capabilities";
import { useTables } from "../../api/hooks";
import { extentOf, type Table } from "../../api/tables";
import { Page } from "../../app/Frame";
import { Link } from "../../app/router";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import { exploreHref } from "../../query/explore";
import { rangeOfNewest } from "../../query/range";
import { formatBytes, formatDuration, formatExact, formatNumber, formatRate } from "../../viz/format";
import { Sparkline } from "../../viz/Sparkline";
import { useHistory } from "./history";
import { RejectedDialog } from "./RejectedDialog";
import styles from "./home.module.css";

export function HomePage({ features }: { features: Partial<Features> }) {
  const { tables, error } = useTables();
  const [rejectedOf, setRejectedOf] = useState<string>();
  const history = useHistory(tables);
  const sum = (of: (table: Table) => number) => (tables ?? []).reduce((total, table) => total + of(table), 0);
  const slowest = Math.max(...(tables ?? []).map((table) => table.freshness?.p99Ms ?? -1));
  return (
    <Page title="Home" name="Home" badge tools={features.demo === true || features.push === true ? <Link href="/welcome" className={styles.add}>Add data</Link> : undefined}>
      {error !== undefined && <ErrorStrip error={error} what="The list of tables" />}
      {tables === undefined ? <Skeleton height={240} /> : (
        <>
          <ul className={styles.stats} aria-label="All tables">
            <Stat name="Rows a second" value={formatRate(sum((table) => table.rowsPerSecond))} points={history.get("") ?? []} />
            <Stat name="Rows" value={formatNumber(sum((table) => table.rows))} exact={formatExact(sum((table) => table.rows))} />
            <Stat name="Produced → queryable, p99" value={slowest < 0 ? "–" : formatDuration(slowest)} />
            <Stat name="Rejected" value={formatNumber(sum((table) => table.rejected))} />
          </ul>
          <section className={styles.panel} aria-labelledby="tables">
            <h2 id="tables" className={styles.panelTitle}>Tables</h2>
            <ul className={styles.tables}>
              {tables.map((table) => <TableRow key={table.name} table={table} points={history.get(table.name) ?? []} onRejected={() => setRejectedOf(table.name)} />)}
            </ul>
          </section>
        </>
      )}
      {rejectedOf !== undefined && <RejectedDialog table={rejectedOf} onClose={() => setRejectedOf(undefined)} />}
    </Page>
  );
}

function Stat({ name, value, exact, points }: { name: string; value: string; exact?: string; points?: readonly number[] }) {
  return (
    <li className={styles.stat}>
      <span className={styles.dim}>{name}</span>
      <span className={styles.number} title={exact}>{value}</span>
      {points !== undefined && <Sparkline points={points} label={`${name}, the last minutes`} />}
    </li>
  );
}

function TableRow({ table, points, onRejected }: { table: Table; points: readonly number[]; onRejected: () => void }) {
  const extent = extentOf(table);
  const now = useNow();
  const href = exploreHref({ table: table.name, range: rangeOfNewest(extent, now) });
  const freshness = table.freshness;
  const age = extent.maxTime === undefined ? undefined : now - extent.maxTime;
  return (
    <li className={styles.row} data-testid={`table-${table.name}`}>
      <span className={styles.name}>
        <Link href={href}>{table.name}</Link>
        <span className={styles.dim}>{table.sources.join(", ")}</span>
      </span>
      <Cell name="rows/s" value={formatRate(table.rowsPerSecond)} />
      <span className={styles.spark}><Sparkline points={points} label={`Rows a second of ${table.name}`} /></span>
      <Cell name="rows" value={formatNumber(table.rows)} title={`${formatExact(table.rows)}: ${formatExact(table.sealedRows)} sealed in files, ${formatExact(table.growingRows)} growing in memory`} />
      <Cell name="memory / files" value={`${formatBytes(table.bytes)} / ${formatBytes(table.storedBytes)}`} title={table.recovering === null ? "Memory of growing rows, and bytes of sealed files" : `Being recovered: ${table.recovering}`} />
      <Cell name="fresh p50 / p99" value={freshness === null || freshness.p50Ms === null || freshness.count === 0 ? "–" : `${formatDuration(freshness.p50Ms)} / ${formatDuration(freshness.p99Ms ?? freshness.p50Ms)}`} title="Produced or received → queryable, over the last minute" />
      <Cell name="newest row" value={age === undefined ? "–" : age < 0 ? `in ${formatDuration(-age)}` : `${formatDuration(Math.max(0, age))} old`} title={table.maxTime ?? undefined} />
      <span className={styles.cell}>
        <span className={styles.dim}>rejected</span>
        {table.rejected === 0 ? "0" : <button type="button" className={styles.rejected} onClick={onRejected}>{formatNumber(table.rejected)}</button>}
      </span>
      <Link href={href} className={styles.explore} aria-label={`Explore ${table.name}`}>Explore</Link>
    </li>
  );
}

function Cell({ name, value, title }: { name: string; value: string; title?: string | undefined }) {
  return <span className={styles.cell} title={title}><span className={styles.dim}>{name}</span>{value}</span>;
}

function useNow(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
