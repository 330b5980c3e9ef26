// Below the editor: what the query gave, as a grid, a chart, or how the server plans to find it.
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import type { Exact, Field } from "../../api/arrow";
import { asApiError, type ApiError } from "../../api/errors";
import type { ExportFormat } from "../../api/sql";
import { BASE } from "../../app/router";
import { copiedWords, Grid, type GridHandle } from "../../grid/Grid";
import { orderBy, type Sort } from "../../grid/rows";
import { Button } from "../../kit/Button";
import { CopyButton, copyText } from "../../kit/CopyButton";
import { CopyIcon, DownloadIcon, LinkIcon } from "../../kit/icons";
import { Dialog } from "../../kit/Dialog";
import { Menu } from "../../kit/Menu";
import { ErrorStrip, Notice, Skeleton } from "../../kit/Strip";
import type { Catalog } from "../../sql/catalog";
import { exportResult, EXPORTS } from "../../sql/export";
import type { TabRun } from "../../sql/run";
import { shareHref } from "../../sql/share";
import { LIMITS, type ResultView, type Tab } from "../../sql/tabs";
import { workspace } from "../../sql/workspace";
import { formatBytes, formatDuration, zoneName } from "../../viz/format";
import { exactText } from "../../grid/cells";
import { Choices } from "./Choices";
import { Examples } from "./Examples";
import styles from "./sql.module.css";

const ChartView = lazy(() => import("./ChartView"));
const PlanView = lazy(() => import("./PlanView"));

type Props = { tab: Tab; run: TabRun; catalog: Catalog; onExample: (sql: string) => void; planOf: () => { text: string; from: number } | undefined };

const COPIES = [
  { id: "cell-tsv", label: "Cell" },
  { id: "selection-tsv", label: "Selection, for a spreadsheet", hint: "Ctrl C" },
  { id: "selection-csv", label: "Selection, CSV with names" },
  { id: "selection-json", label: "Selection, JSON" },
  { id: "row-tsv", label: "Rows, for a spreadsheet" },
  { id: "row-csv", label: "Rows, CSV with names" },
  { id: "row-json", label: "Rows, JSON" },
];

export function ResultPane({ tab, run, catalog, onExample, planOf }: Props) {
  const grid = useRef<GridHandle>(null);
  const [sort, setSort] = useState<Sort>();
  const [opened, setOpened] = useState<{ field: Field; value: Exact }>();
  const [said, setSaid] = useState("");
  const { state, result, following } = run;
  const rows = result?.rows;
  const shape = rows?.fields.map((field) => field.name).join("\u0000");
  useEffect(() => setSort(undefined), [shape]);
  useEffect(() => {
    if (said === "") return;
    const timer = setTimeout(() => setSaid(""), 4_000);
    return () => clearTimeout(timer);
  }, [said]);

  const settled = state.kind !== "running";
  const order = useMemo(() => (rows === undefined || sort === undefined ? undefined : orderBy(rows, sort)), [rows, sort, settled ? rows?.rowCount : -1]);
  const onSort = (column: number) => setSort((before) => (before?.column !== column ? { column, descending: false } : before.descending ? undefined : { column, descending: true }));
  const copy = async (id: string) => {
    const [what, format] = id.split("-") as ["cell" | "row" | "selection", "tsv" | "csv" | "json"];
    const done = await grid.current?.copy(what, format);
    setSaid(done === undefined ? "Nothing was copied." : copiedWords(done));
  };
  const share = () => void copyText(location.origin + BASE + shareHref(tab)).then((done) => setSaid(done ? "Copied a link to this query." : "The link could not be copied."));
  const { view } = tab;
  const stale = state.kind === "failed" || (state.kind === "running" && run.result?.asked !== run.lastAsked);

  return (
    <section className={styles.result} aria-label="Result">
      <div className={styles.resultBar}>
        <Choices<ResultView> label="Result as" choices={[["table", "Table"], ["chart", "Chart"], ["plan", "Plan"]]} value={view} panel="sql-result" onChange={(next) => workspace.change(tab.id, { view: next })} />
        <Status run={run} said={said} />
        <div className={styles.resultTools}>
          {view === "table" && rows !== undefined && rows.rowCount > 0 && (
            <Menu label="Copy" items={COPIES} onAction={(id) => void copy(id)}><Button look="quiet" icon={<CopyIcon />}>Copy</Button></Menu>
          )}
          {result !== undefined && <Export run={run} tab={tab} onSaid={setSaid} />}
          <Button look="quiet" icon={<LinkIcon />} isDisabled={tab.text.trim() === ""} onPress={share}>Link</Button>
        </div>
      </div>
      {following?.error !== undefined && <div className={styles.problem}><ErrorStrip error={following.error} what="Kept live" /></div>}
      <Notes run={run} sort={sort} sorted={sort === undefined ? undefined : rows?.fields[sort.column]?.name} onUnsort={() => setSort(undefined)} />
      <div id="sql-result" role="tabpanel" aria-label={view} className={styles.panel} data-view={view} data-stale={stale || undefined}>
        <Suspense fallback={<Skeleton height={260} />}>
        {view === "plan" ? <PlanView tab={tab} planOf={planOf} />
          : rows === undefined ? (state.kind === "running" ? <div className={styles.waiting}><Skeleton height={260} /></div> : state.kind === "idle" || state.kind === "cancelled" ? <Examples catalog={catalog} onExample={onExample} /> : null)
            : view === "chart" ? <ChartView tab={tab} rows={rows} version={run.version} order={order} />
              : rows.fields.length === 0 || (rows.rowCount === 0 && settled) ? <Notice title="The query gave no rows.">{rows.fields.length > 0 && `It has the columns ${rows.fields.map((field) => field.name).slice(0, 12).join(", ")}${rows.fields.length > 12 ? ", …" : ""}. A wider range of time or fewer conditions may find some.`}</Notice>
                : (
                  <Grid
                    rows={rows} version={run.version} order={order} sort={sort} zone={tab.zone} label="Rows of the result. Arrow keys move, Shift selects, Enter opens a cell or sorts by a header, Ctrl C copies."
                    onSort={onSort} onOpen={(field, value) => setOpened({ field, value })} onCopied={setSaid} handle={grid}
                  />
                )}
        </Suspense>
      </div>
      {opened !== undefined && <CellDialog field={opened.field} value={opened.value} tab={tab} onClose={() => { setOpened(undefined); requestAnimationFrame(() => grid.current?.focus()); }} />}
    </section>
  );
}

/** How it goes, in one line. */
function Status({ run, said }: { run: TabRun; said: string }) {
  const { state, result, following } = run;
  const [, tick] = useState(0);
  const counting = state.kind === "running" || following !== undefined;
  useEffect(() => {
    if (!counting) return;
    const timer = setInterval(() => tick((count) => count + 1), 100);
    return () => clearInterval(timer);
  }, [counting]);
  const count = (rows: number) => `${rows.toLocaleString("en")} ${rows === 1 ? "row" : "rows"}`;
  let words = "";
  if (state.kind === "running") {
    const came = state.rows === 0 ? "no rows yet" : `${count(state.rows)} · ${formatBytes(state.bytes)}`;
    words = `${state.cancelling ? "cancelling" : "running"} ${((Date.now() - state.since) / 1_000).toFixed(1)} s · ${came}`;
  } else if (state.kind === "cancelled") words = `cancelled after ${formatDuration(state.afterMs)}${state.rows > 0 ? ` · ${count(state.rows)} had come` : ""}`;
  else if (state.kind === "failed") words = result === undefined ? "failed" : result.asked === run.lastAsked ? `failed · below are the ${count(result.rows.rowCount)} that had come` : "failed · below is the last good result";
  else if (result !== undefined) {
    const { rows } = result;
    words = `${rows.more ? `first ${count(rows.rowCount)}` : count(rows.rowCount)} · ${formatDuration(result.elapsedMs)} · ${formatBytes(result.bytes)}`;
    if (following !== undefined) words = `${count(rows.rowCount)} · ${following.updates === 0 ? "live, waiting for a change" : `live, changed ${ago(Date.now() - following.at)}`}`;
  }
  const id = state.kind === "done" && following === undefined ? result?.id : undefined;
  return (
    <div className={styles.status} data-state={following === undefined ? state.kind : "live"} data-testid="sql-status">
      {state.kind === "running" && <span className={styles.spinner} aria-hidden="true" />}
      {following !== undefined && <span className={styles.liveDot} aria-hidden="true" />}
      <span className={styles.statusWords} data-testid="sql-words">{words}</span>
      {id !== undefined && <span className={styles.queryId}>id {id.slice(0, 6)}<CopyButton text={id} what="the query id" /></span>}
      <span className="visually-hidden" role="status">{said !== "" ? said : state.kind === "running" ? "running" : following === undefined ? words : "live"}</span>
      {said !== "" && <span className={styles.said} aria-hidden="true">{said}</span>}
    </div>
  );
}

function ago(ms: number): string {
  return ms < 1_000 ? "just now" : `${formatDuration(Math.floor(ms / 1_000) * 1_000).replace(".0", "")} ago`;
}

type NotesProps = { run: TabRun; sort: Sort | undefined; sorted: string | undefined; onUnsort: () => void };

/** What a reader of the rows must know: that there are more, that this page ordered them. */
function Notes({ run, sort, sorted, onUnsort }: NotesProps) {
  const { result, state } = run;
  if (result === undefined || state.kind === "running") return null;
  const { rows } = result;
  if (!rows.more && sort === undefined) return null;
  const most = LIMITS.every((limit) => limit === 0 || limit <= rows.rowCount);
  return (
    <p className={styles.notes}>
      {rows.more && <span>There are more rows than these {rows.rowCount.toLocaleString("en")}{most ? "" : ": raise the limit"}; Export has all of them.</span>}
      {sort !== undefined && <span>Sorted here by <strong>{sorted}</strong> {sort.descending ? "▼" : "▲"}{rows.more ? ", among the fetched rows only" : ""}. <button type="button" className={styles.textButton} onClick={onUnsort}>As the server sent them</button></span>}
    </p>
  );
}

function Export({ run, tab, onSaid }: { run: TabRun; tab: Tab; onSaid: (words: string) => void }) {
  const [bytes, setBytes] = useState<number>();
  const [error, setError] = useState<ApiError>();
  const abort = useRef<AbortController>(undefined);
  const asked = run.result?.asked;
  const start = (format: ExportFormat) => {
    if (asked === undefined) return;
    abort.current = new AbortController();
    setBytes(0);
    const { signal } = abort.current;
    exportResult(asked, format, tab.name, signal, setBytes).then(
      (total) => { if (total !== undefined) onSaid(`Exported ${formatBytes(total)}.`); },
      (failure: unknown) => { if (signal.aborted) onSaid("The export was cancelled."); else setError(asApiError(failure)); },
    ).finally(() => setBytes(undefined));
  };
  return (
    <>
      {bytes === undefined
        ? <Menu label="Export all rows" items={EXPORTS.map(({ format, label }) => ({ id: format, label, hint: "all rows" }))} onAction={(id) => start(id as ExportFormat)}><Button look="quiet" icon={<DownloadIcon />}>Export</Button></Menu>
        : <Button look="quiet" onPress={() => abort.current?.abort()}>{formatBytes(bytes)} · stop</Button>}
      <Dialog title="The export failed" open={error !== undefined} onClose={() => setError(undefined)}>{error !== undefined && <ErrorStrip error={error} />}</Dialog>
    </>
  );
}

/** The whole value; JSON with its structure. */
function CellDialog({ field, value, tab, onClose }: { field: Field; value: Exact; tab: Tab; onClose: () => void }) {
  const text = exactText(value, field, tab.zone);
  let shown = value === null ? "null" : value === "" ? "empty text" : text;
  if (field.kind === "text" && /^\s*[[{]/.test(text)) {
    try {
      shown = JSON.stringify(JSON.parse(text), undefined, 2);
    } catch {
      // It only begins like JSON.
    }
  }
  return (
    <Dialog title={field.name} open wide onClose={onClose}>
      <pre className={styles.value} tabIndex={0}>{shown}</pre>
      <div className={styles.sideFoot}>
        <span className={styles.hint}>{field.kind === "time" ? `${zoneName(tab.zone)}; ${String(value)} ms since 1970` : field.kind}{typeof value === "string" && `, ${[...value].length.toLocaleString("en")} characters`}</span>
        <CopyButton text={text} what="the value" label="Copy" />
      </div>
    </Dialog>
  );
}
