// The leading values of one column. A click keeps a value, Alt excludes it, Ctrl collects several.
import { useEffect, useRef, useState, type KeyboardEvent, type MouseEvent, type RefObject } from "react";
import { useLiveQuery, useSocketStatus } from "../../api/hooks";
import type { QuerySpec } from "../../api/live";
import type { Column } from "../../api/tables";
import { Button } from "../../kit/Button";
import { ExcludeIcon, MoreIcon } from "../../kit/icons";
import { Menu } from "../../kit/Menu";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import type { Filter, Value } from "../../query/filters";
import type { Measure } from "../../query/measures";
import { LEADERS_MAX, leadersQuery, type Query } from "../../query/sql";
import { formatExact, formatNumber } from "../../viz/format";
import styles from "./explore.module.css";

type Row = { value: Value; numbers: ReadonlyMap<string, number> };

type Props = {
  base: Omit<QuerySpec, "sql" | "params">;
  column: Column;
  columns: readonly Column[];
  measures: readonly Measure[];
  filters: readonly Filter[];
  once: boolean;
  asTable: boolean;
  onPick: (column: string, value: Value, mode: "in" | "out", add: boolean) => void;
  onTable: () => void;
  onSql: (query: Query) => void;
};

const COLUMNS_SHOWN = 2;

export function Leaderboard({ base, column, columns, measures, filters, once, asTable, onPick, onTable, onSql }: Props) {
  const [box, seen] = useSeen();
  const [rows, setRows] = useState<readonly Row[]>([]);
  const held = useRef(false);
  const status = useSocketStatus();
  const query = leadersQuery(base.table, column.name, measures, filters, columns);
  const spec = seen ? { ...base, ...query, refreshMs: Math.max(1_000, base.refreshMs ?? 1_000) } : undefined;
  const state = useLiveQuery(spec, once, ({ batch }) => {
    const values = batch.column("v");
    const numbers = measures.map((measure, index) => [measure.key, batch.column(`m${index}`)] as const);
    const next: Row[] = Array.from({ length: batch.rowCount }, (_, row) => {
      const value = values?.[row];
      return { value: value === null || value === undefined ? null : String(value), numbers: new Map(numbers.map(([key, cells]) => [key, typeof cells?.[row] === "number" ? cells[row] : NaN])) };
    });
    // Under the pointer rows keep their places: nobody should click what just moved there.
    setRows((before) => (held.current ? inOrderOf(before, next) : next));
  });

  const filter = filters.find((candidate) => candidate.column === column.name);
  const shown = withFiltered(rows, filter);
  const first = (row: Row) => Math.abs(row.numbers.get(measures[0]?.key ?? "") || 0);
  const top = Math.max(0, ...shown.map(first));
  const columnsShown = asTable ? measures : measures.slice(0, COLUMNS_SHOWN);

  const onClick = (event: MouseEvent, value: Value) => onPick(column.name, value, event.altKey ? "out" : "in", event.ctrlKey || event.metaKey);
  const onKeyDown = (event: KeyboardEvent<HTMLElement>, value: Value) => {
    if (event.key === "x") onPick(column.name, value, "out", false);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const buttons = [...(event.currentTarget.closest("tbody")?.querySelectorAll<HTMLButtonElement>("[data-value]") ?? [])];
      const at = buttons.indexOf(event.currentTarget as HTMLButtonElement);
      buttons[at + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
    } else return;
    event.preventDefault();
  };

  return (
    <section ref={box} className={styles.board} aria-label={`Leaders of ${column.name}`} data-testid={`board-${column.name}`} data-stale={state.kind === "shown" && state.stale ? true : undefined} onPointerEnter={() => (held.current = true)} onPointerLeave={() => (held.current = false)}>
      <div className={styles.panelHead}>
        <h2>{column.name}</h2>
        <Menu label={`${column.name}: more`} items={[{ id: "table", label: asTable ? "View with bars" : "View as table", hint: "t" }, { id: "sql", label: "Show SQL" }]} onAction={(id) => (id === "table" ? onTable() : onSql(query))}>
          <Button look="quiet" icon={<MoreIcon />} title={`${column.name}: more`} />
        </Menu>
      </div>
      {state.kind === "failed" && status.kind === "live" ? <ErrorStrip error={state.error} /> : state.kind !== "shown" ? <Skeleton height={LEADERS_MAX * 26} /> : (
        <div className={asTable ? styles.tableScroll : undefined}>
          <table className={styles.leaders}>
            <thead>
              <tr>
                <th scope="col"><span className="visually-hidden">{column.name}</span></th>
                {columnsShown.map((measure) => <th key={measure.key} scope="col" className={styles.number}>{measure.label}</th>)}
              </tr>
            </thead>
            <tbody>
              {shown.map((row, index) => {
                const chosen = filter?.values.includes(row.value) ?? false;
                const mark = filter === undefined ? undefined : filter.mode === "in" ? (chosen ? "in" : "aside") : chosen ? "out" : undefined;
                const words = row.value === null ? "no value" : row.value === "" ? "empty text" : row.value;
                return (
                  <tr key={row.value ?? "\u0000"} data-mark={mark} className={styles.leader}>
                    <td className={styles.leaderCell}>
                      {!asTable && <svg className={styles.barBox} aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 1"><rect width={top > 0 ? (first(row) / top) * 100 : 0} height="1" /></svg>}
                      <button
                        type="button" className={styles.value} data-value={row.value ?? ""} tabIndex={index === 0 ? 0 : -1} aria-pressed={mark === "in"}
                        title={`${words}\nclick: only this · Ctrl: add · Alt: exclude`} onClick={(event) => onClick(event, row.value)} onKeyDown={(event) => onKeyDown(event, row.value)}
                      >
                        {row.value === null || row.value === "" ? <em>{words}</em> : words}
                      </button>
                      <button type="button" className={styles.exclude} tabIndex={-1} title={mark === "out" ? "Include again" : "Exclude"} aria-label={`${mark === "out" ? "Include" : "Exclude"} ${words}`} onClick={() => onPick(column.name, row.value, "out", false)}><ExcludeIcon size={14} /></button>
                    </td>
                    {columnsShown.map((measure) => (
                      <td key={measure.key} className={styles.number} title={formatExact(row.numbers.get(measure.key))}>{(asTable ? formatExact : formatNumber)(row.numbers.get(measure.key))}</td>
                    ))}
                  </tr>
                );
              })}
            </tbody>
          </table>
          {shown.length === 0 && <p className={styles.dim}>No values in this range.</p>}
        </div>
      )}
    </section>
  );
}

/** Values that are filtered by but not among the leaders stay visible, so that they can be taken back. */
function withFiltered(rows: readonly Row[], filter: Filter | undefined): readonly Row[] {
  if (filter === undefined) return rows;
  const missing = filter.values.filter((value) => rows.every((row) => row.value !== value));
  return [...rows, ...missing.map((value) => ({ value, numbers: new Map<string, number>() }))];
}

function inOrderOf(before: readonly Row[], next: readonly Row[]): readonly Row[] {
  const kept = before.flatMap((row) => next.find((other) => other.value === row.value) ?? []);
  return [...kept, ...next.filter((row) => !kept.includes(row))];
}

/** True once the element came near the window; boards far below do not ask the server before. */
function useSeen(): [RefObject<HTMLElement | null>, boolean] {
  const box = useRef<HTMLElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (box.current === null) return;
    const observer = new IntersectionObserver((changes) => setSeen(changes.some((change) => change.isIntersecting)), { rootMargin: "200px" });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return [box, seen];
}
