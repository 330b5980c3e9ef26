// Explore: measures over time above, leaders of each column below, all live, all in the address.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Features } from "../../api/capabilities";
import { asApiError, type ApiError } from "../../api/errors";
import { useLiveQuery, useSocketStatus, useTables } from "../../api/hooks";
import { live, type QuerySpec } from "../../api/live";
import { extentOf, fetchColumns, type Column, type Table } from "../../api/tables";
import { Page } from "../../app/Frame";
import { useKeys } from "../../app/keys";
import { isZoomed, Link, navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { ChevronIcon, PauseIcon, PlayIcon } from "../../kit/icons";
import { ChoiceMenu, Menu } from "../../kit/Menu";
import { RangePicker } from "../../kit/RangePicker";
import { ErrorStrip, Notice, Skeleton } from "../../kit/Strip";
import { bucketFor, refreshFor } from "../../query/buckets";
import { exploreHref, parseExplore, type ExploreState } from "../../query/explore";
import { toggle, type Value } from "../../query/filters";
import { defaultMeasures, dimensionsOf, EVENTS, isNumeric, MEASURES_MAX, measuresOf } from "../../query/measures";
import { absolute, endsNow, parseBound, rangeOfNewest, resolve, shift, spanOf, type Span, type TimeRange } from "../../query/range";
import { seriesQuery, totalsQuery } from "../../query/sql";
import { zoneName } from "../../viz/format";
import { Series } from "../../viz/series";
import { Charts } from "./Charts";
import { DemoBar } from "./DemoBar";
import { EmptyRange } from "./EmptyRange";
import { FilterBar } from "./FilterBar";
import { Leaderboard } from "./Leaderboard";
import { SqlDialog, type ShownSql } from "./SqlDialog";
import styles from "./explore.module.css";

type Props = { table: string; search: string; features: Partial<Features> };

const COLUMNS_REFRESH_MS = 10_000;

export function ExplorePage({ table, search, features }: Props) {
  const state = useMemo(() => parseExplore(table, search), [table, search]);
  const { tables } = useTables();
  const known = tables?.find((candidate) => candidate.name === table);
  const gone = tables !== undefined && known === undefined;
  const { columns, error } = useColumns(table, known !== undefined);

  const go = useCallback((change: Partial<ExploreState>, how?: { zoom?: boolean; replace?: boolean }) => navigate(exploreHref({ ...state, ...change }), how), [state]);

  const title = (
    <Menu label="Tables" placement="bottom start" selected={[table]} items={(tables ?? []).map((each) => ({ id: each.name, label: each.name }))} onAction={(id) => navigate(exploreHref({ table: id, range: rangeOfNewest(extentOf(tables?.find((each) => each.name === id)), Date.now()), zone: state.zone }))}>
      <Button look="quiet" aria-label={`Table ${table}, choose another`}><span className={styles.tableName}>{table}</span><ChevronIcon size={12} /></Button>
    </Menu>
  );
  const tools = (
    <>
      <RangePicker range={state.range} zone={state.zone} now={() => live.serverNow()} onChange={(range) => go({ range })} />
      <Button aria-label={`Time zone ${zoneName(state.zone)}; switch`} onPress={() => go({ zone: state.zone === "UTC" ? "local" : "UTC" }, { replace: true })}>{state.zone === "UTC" ? "UTC" : "Local"}</Button>
      <Button icon={state.live ? <PauseIcon /> : <PlayIcon />} aria-pressed={state.live} onPress={() => go({ live: !state.live }, { replace: true })}>{state.live ? "Live" : "Paused"}</Button>
    </>
  );

  return (
    <Page title={title} name={table} badge tools={tools}>
      {gone ? (
        <Notice title={`There is no table “${table}”.`} action={<Link href="/welcome">Add data</Link>}>
          It appears here by itself when its first row arrives.
        </Notice>
      ) : error !== undefined && columns === undefined ? (
        <ErrorStrip error={error} what="The columns of this table" />
      ) : columns === undefined || known === undefined ? (
        <><Skeleton height={320} /><div className={styles.gap} /><Skeleton height={280} /></>
      ) : (
        <Explore state={state} table={known} columns={columns} features={features} go={go} />
      )}
    </Page>
  );
}

type ExploreProps = { state: ExploreState; table: Table; columns: readonly Column[]; features: Partial<Features>; go: (change: Partial<ExploreState>, how?: { zoom?: boolean; replace?: boolean }) => void };

function Explore({ state, table, columns, features, go }: ExploreProps) {
  const { asTable } = state;
  const turn = () => go({ asTable: !asTable }, { replace: true });
  const [shownSql, setShownSql] = useState<ShownSql>();
  const [totals, setTotals] = useState<{ rows: number; values: ReadonlyMap<string, number> }>();
  const [box, width] = useWidth();
  const series = useRef<Series>(undefined);
  series.current ??= new Series();
  const status = useSocketStatus();

  const offered = useMemo(() => measuresOf(columns), [columns]);
  const measures = useMemo(() => {
    const keys = state.measures.length > 0 ? state.measures : defaultMeasures(columns);
    const chosen = keys.flatMap((key) => offered.find((measure) => measure.key === key) ?? []);
    return chosen.length > 0 ? chosen : [EVENTS];
  }, [state.measures, columns, offered]);
  const dimensions = useMemo(() => dimensionsOf(columns), [columns]);
  const filters = useMemo(() => state.filters.filter((filter) => columns.some((column) => column.name === filter.column)), [state.filters, columns]);

  const extent = extentOf(table);
  const range = resolve(state.range, extent, live.serverNow());
  const rangeKey = `${range.from}/${range.to}`;
  const length = useMemo(() => {
    const span = spanOf(range, live.serverNow());
    return span.to - span.from;
  }, [rangeKey]);
  const bucketMs = bucketFor(length, width);
  const follows = state.live && endsNow(range);
  const cut = useMemo(
    () => ({ bucketMs, zone: state.zone, follows, slides: follows && /^now-/.test(range.from), keys: measures.map((measure) => measure.key), empty: measures.map((measure) => measure.empty) }),
    [bucketMs, state.zone, follows, rangeKey, measures],
  );

  const refreshMs = refreshFor(length);
  const base = { kind: "query" as const, table: table.name, range, refreshMs, timeZone: zoneName(state.zone) };
  const forSeries = seriesQuery(table.name, measures, filters, columns);
  const forTotals = totalsQuery(table.name, measures, filters, columns);
  const seriesState = useLiveQuery({ ...base, ...forSeries, bucketMs }, !state.live, (frame) => series.current?.apply(frame, cut));
  const totalsState = useLiveQuery({ ...base, ...forTotals, refreshMs: Math.max(1_000, base.refreshMs) }, !state.live, ({ batch }) => {
    const cell = (name: string) => {
      const value = batch.column(name)?.[0];
      return typeof value === "number" ? value : NaN;
    };
    setTotals({ rows: cell("rows"), values: new Map(measures.map((measure, index) => [measure.key, cell(`m${index}`)])) });
  });

  const view = useCallback((): Span => {
    if (follows) return spanOf(range, live.serverNow());
    // A paused picture stands where its data was read.
    const read = series.current?.range;
    return /now/.test(rangeKey) && read !== undefined ? read : spanOf(range, live.serverNow());
  }, [follows, rangeKey]);

  // A frame is sent when something changed: without one, nothing had changed by the server's last sign of life, less two ticks.
  const known = useCallback(() => Math.max(series.current?.range?.to ?? 0, live.watermark - 2 * refreshMs - 1_000), [refreshMs]);

  const zoom = useCallback((span: Span) => go({ range: absolute(span) }, { zoom: true }), [go]);
  const back = useCallback(() => {
    if (isZoomed()) {
      history.back();
      return;
    }
    const now = view();
    const half = (now.to - now.from) / 2;
    go({ range: follows ? wider(range, now) : absolute({ from: now.from - half, to: now.to + half }) });
  }, [go, view, follows, rangeKey]);
  const move = (direction: -1 | 1) => go({ range: shift(view(), direction) });
  useKeys({
    ".": () => go({ live: !state.live }, { replace: true }),
    t: turn,
    z: back,
    "[": () => move(-1),
    "]": () => move(1),
  });

  const onPick = (column: string, value: Value, mode: "in" | "out", add: boolean) => go({ filters: toggle(state.filters, column, value, mode, add) });
  const error: ApiError | undefined = seriesState.kind === "failed" ? seriesState.error : seriesState.kind === "shown" ? seriesState.error : undefined;
  const empty = seriesState.kind === "shown" && !seriesState.stale && totalsState.kind === "shown" && !totalsState.stale && totals?.rows === 0;
  const numbers = columns.filter((column) => column.role !== "time" && isNumeric(column));

  return (
    <>
      {features.demo === true && <DemoBar table={table.name} />}
      <div className={styles.bar}>
        <ChoiceMenu
          label="Measures" selected={measures.map((measure) => measure.key)} most={MEASURES_MAX} onChange={(keys) => go({ measures: keys }, { replace: true })}
          sections={[
            { title: "Rows", items: [{ id: EVENTS.key, label: EVENTS.label }] },
            ...numbers.map((column) => ({ title: column.name, items: offered.filter((measure) => measure.column === column.name).map((measure) => ({ id: measure.key, label: measure.label })) })),
            { title: "Distinct values", items: offered.filter((measure) => measure.aggregate === "distinct").map((measure) => ({ id: measure.key, label: measure.label })) },
          ]}
        >
          <Button>{measures.length === 1 ? "1 measure" : `${measures.length} measures`}<ChevronIcon size={12} /></Button>
        </ChoiceMenu>
        <FilterBar filters={filters} onChange={(next) => go({ filters: next })} />
      </div>
      {error !== undefined && status.kind === "live" && <div className={styles.error}><ErrorStrip error={error} what="The charts" /></div>}
      <div ref={box} className={styles.panel} data-stale={seriesState.kind === "shown" && seriesState.stale ? true : undefined}>
        {empty ? (
          <EmptyRange
            range={range} zone={state.zone} newest={extent.maxTime} filtered={filters.length > 0}
            onJump={() => go({ range: rangeOfNewest(extent, live.serverNow()), live: true })}
            onRemoveFilter={() => go({ filters: filters.slice(0, -1) })}
          />
        ) : seriesState.kind === "waiting" ? (
          <Skeleton height={measures.length * 96 + 40} />
        ) : (
          <Charts
            series={series.current} measures={measures} totals={totals?.values} zone={state.zone} view={view} gliding={follows} known={known} asTable={asTable} bucketMs={bucketMs}
            onZoom={zoom} onBack={back} onTable={turn} onSql={() => setShownSql({ title: "Measures over time", query: forSeries, span: view(), bucketMs, zone: state.zone })}
          />
        )}
      </div>
      {!empty && (
        <div className={styles.boards} data-table={asTable || undefined}>
          {dimensions.map((column) => (
            <Leaderboard
              key={column.name} base={base as Omit<QuerySpec, "sql" | "params">} column={column} columns={columns} measures={measures} filters={filters} once={!state.live} asTable={asTable}
              onPick={onPick} onTable={turn} onSql={(query) => setShownSql({ title: `Leaders of ${column.name}`, query, span: view(), bucketMs: undefined, zone: state.zone })}
            />
          ))}
        </div>
      )}
      {shownSql !== undefined && <SqlDialog {...shownSql} onClose={() => setShownSql(undefined)} />}
    </>
  );
}

/** Twice the length of a range that ends now, still ending now. */
function wider(range: TimeRange, span: Span): TimeRange {
  if (parseBound(range.from, 0) === undefined) return range;
  const seconds = Math.round(((span.to - span.from) * 2) / 1_000);
  return { from: seconds % 60 === 0 ? `now-${seconds / 60}m` : `now-${seconds}s`, to: "now" };
}

/** Columns can grow while rows arrive, and a table can be made anew by another source. */
function useColumns(table: string, exists: boolean): { columns: readonly Column[] | undefined; error: ApiError | undefined } {
  const [columns, setColumns] = useState<readonly Column[]>();
  const [error, setError] = useState<ApiError>();
  useEffect(() => {
    if (!exists) {
      setColumns(undefined);
      return;
    }
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = () => {
      const again = (pause: number) => {
        if (!abort.signal.aborted) timer = setTimeout(load, pause);
      };
      if (document.hidden || live.status.kind !== "live") {
        again(1_000);
        return;
      }
      fetchColumns(table, abort.signal).then((next) => {
        setError(undefined);
        setColumns((before) => (before !== undefined && sameColumns(before, next) ? before : next));
        again(COLUMNS_REFRESH_MS);
      }, (failure: unknown) => {
        if (!abort.signal.aborted) setError(asApiError(failure));
        again(2_000);
      });
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [table, exists]);
  return { columns, error };
}

function sameColumns(a: readonly Column[], b: readonly Column[]): boolean {
  const shape = (columns: readonly Column[]) => columns.map((column) => [column.name, column.type, column.role].join("\n")).join("\n\n");
  return shape(a) === shape(b);
}

/** Width of an element in steps of 100 px, so that a drag of the window does not ask for new buckets at each pixel. */
function useWidth(): [(element: HTMLDivElement | null) => void, number] {
  const [width, setWidth] = useState(900);
  const observer = useRef<ResizeObserver>(undefined);
  const attach = useCallback((element: HTMLDivElement | null) => {
    observer.current?.disconnect();
    if (element === null) return;
    const measure = () => setWidth(Math.max(200, Math.round((element.clientWidth - 230) / 100) * 100));
    observer.current = new ResizeObserver(measure);
    observer.current.observe(element);
    measure();
  }, []);
  return [attach, width];
}
