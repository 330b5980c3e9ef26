// The SQL page: tabs of queries, each with its text, parameters, result and settings. All of it is in `sql/workspace`.
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore, type KeyboardEvent } from "react";
import type { ApiError } from "../../api/errors";
import { asApiError } from "../../api/errors";
import { useTables } from "../../api/hooks";
import { Page } from "../../app/Frame";
import { useKeys } from "../../app/keys";
import { navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { PanelIcon, PauseIcon, PlayIcon, StopIcon } from "../../kit/icons";
import { Menu } from "../../kit/Menu";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import { zoneName } from "../../viz/format";
import { Editor, type EditorHandle, type Mark } from "../../sql/Editor";
import { fetchCatalog, NO_CATALOG, type Catalog, type CatalogTable } from "../../sql/catalog";
import { takeHandoff } from "../../sql/handoff";
import { offsetOf, parameterCount, statementAt, statements, withoutPlace } from "../../sql/text";
import { parseShare } from "../../sql/share";
import { bind, fitParameters, LIMITS, ROWS_MAX, type Asked, type Tab } from "../../sql/tabs";
import type { Bound } from "../../api/sql";
import { nameSql } from "../../sql/words";
import { workspace } from "../../sql/workspace";
import { Parameters } from "./Parameters";
import { ResultPane } from "./ResultPane";
import { Splitter } from "./Splitter";
import { TabStrip } from "./TabStrip";
import styles from "./sql.module.css";

/** On a phone it stays away until it is asked for. */
const Side = lazy(() => import("./Side"));

type Props = { path: string; search: string };

export default function SqlPage({ path, search }: Props) {
  const state = useSyncExternalStore(workspace.subscribe, workspace.snapshot);
  const id = /^\/sql\/([^/]+)$/.exec(path)?.[1];
  const { catalog, error } = useCatalog();
  const runNext = useRef<string>(undefined);

  useEffect(() => void workspace.load(), []);
  // The address names a tab; one that names none, an unknown one or a text leads to one that does.
  useEffect(() => {
    if (!state.loaded) return;
    const shared = parseShare(search);
    if (shared !== undefined) {
      const tab = workspace.openText(shared.text, { zone: shared.zone });
      if (takeHandoff() === shared.text) runNext.current = tab;
      navigate(`/sql/${tab}`, { replace: true });
    } else if (id === undefined || workspace.tab(id) === undefined) {
      navigate(`/sql/${workspace.lastTab() ?? workspace.open()}`, { replace: true });
    } else workspace.shown(id);
  }, [state.loaded, id, search]);

  const tab = id === undefined ? undefined : state.tabs.find((each) => each.id === id);
  if (tab === undefined) return <Page title="SQL" name="SQL"><Skeleton height={420} /></Page>;
  return <Workbench key={tab.id} tab={tab} tabs={state.tabs} catalog={catalog} catalogError={error} runNow={() => { const wanted = runNext.current === tab.id; if (wanted) runNext.current = undefined; return wanted; }} />;
}

/** The schema, again whenever a table or a column of it comes or goes. */
function useCatalog(): { catalog: Catalog; error: ApiError | undefined } {
  const { tables } = useTables();
  const [catalog, setCatalog] = useState<Catalog>(NO_CATALOG);
  const [error, setError] = useState<ApiError>();
  const names = tables?.map((table) => table.name).join("\u0000");
  useEffect(() => {
    let over = false;
    const load = () => fetchCatalog().then((next) => { if (!over) { setCatalog(next); setError(undefined); } }, (failure: unknown) => { if (!over) setError(asApiError(failure)); });
    void load();
    const timer = setInterval(() => { if (!document.hidden) void load(); }, 30_000);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [names]);
  return { catalog, error };
}

type WorkbenchProps = { tab: Tab; tabs: readonly Tab[]; catalog: Catalog; catalogError: ApiError | undefined; runNow: () => boolean };

const EDITOR_HEIGHT = "freshet.sql.editor";
const SIDE = "freshet.sql.side";

function Workbench({ tab, tabs, catalog, catalogError, runNow }: WorkbenchProps) {
  const editor = useRef<EditorHandle>(null);
  const [mark, setMark] = useState<Mark>();
  const [side, setSide] = useState(() => stored(SIDE, matchMedia("(min-width: 900px)").matches ? 1 : 0) === 1);
  const [height, setHeight] = useState(() => stored(EDITOR_HEIGHT, 220));
  const run = workspace.runOf(tab.id);
  useSyncExternalStore(run.subscribe, run.snapshot);
  const { state } = run;
  const running = state.kind === "running";

  const count = useMemo(() => parameterCount(statementText(tab)), [tab.text, tab.cursor]);
  const inputs = fitParameters(tab.parameters, count);
  const [asked, setAsked] = useState(false);
  const all = useMemo(() => statements(tab.text), [tab.text]);
  const current = statementAt(tab.text, tab.cursor);

  const start = useCallback((given?: { text: string; from: number }) => {
    const now = workspace.tab(tab.id);
    if (now === undefined) return;
    const selection = editor.current?.selection() ?? { from: now.cursor, to: now.cursor };
    const chosen = given ?? chosenText(now, selection);
    if (chosen === undefined || chosen.text.trim() === "") return;
    setAsked(true);
    const bound = fitParameters(now.parameters, parameterCount(chosen.text)).map(bind);
    if (bound.some((value) => "wrong" in value)) return;
    setMark(undefined);
    const rowsMax = now.limit;
    const ask: Asked = {
      sql: chosen.text, parameters: bound as Bound[], timeZone: zoneName(now.zone), from: chosen.from, rowsMax,
      // One more than is shown tells whether there is more.
      limit: (rowsMax === 0 ? ROWS_MAX : rowsMax) + 1,
    };
    if (now.view === "plan") workspace.change(now.id, { view: "table" });
    void workspace.runOf(now.id).run(ask);
  }, [tab.id]);

  useEffect(() => {
    if (runNow()) start();
  }, [start]);

  // Nobody looks at a result whose tab is left: the server need not follow it.
  useEffect(() => () => run.unfollow(), [run]);

  // The server's place of a mistake → a mark in the text.
  const failure = state.kind === "failed" ? state.error : undefined;
  useEffect(() => {
    const place = failure?.place;
    const last = run.lastAsked;
    if (place === undefined || last === undefined || workspace.tab(tab.id)?.text.slice(last.from, last.from + last.sql.length) !== last.sql) return;
    const from = last.from + offsetOf(last.sql, place.line, place.column);
    const to = last.from + offsetOf(last.sql, place.endLine, place.endColumn) + 1;
    setMark({ from, to: Math.max(to, from + 1) });
  }, [failure]);

  const cancel = () => void run.cancel();
  const follow = () => (run.following === undefined ? void run.follow() : run.unfollow());
  const canFollow = run.result !== undefined && !running;

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && running && !event.defaultPrevented) {
      event.preventDefault();
      cancel();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
      event.preventDefault();
      start();
    }
  };
  useKeys({ ".": () => { if (canFollow) follow(); }, "/": () => { setSide(true); requestAnimationFrame(() => document.getElementById("sql-filter")?.focus()); } });

  const openText = (text: string, go: boolean) => {
    const id = workspace.openText(text, { zone: tab.zone });
    if (go) void runIn(id, text);
    navigate(`/sql/${id}`);
  };
  const preview = (table: CatalogTable) => openText(previewSql(table), true);

  const toggleSide = () => {
    remember(SIDE, side ? 0 : 1);
    setSide(!side);
  };

  const tools = (
    <>
      <Button look="quiet" icon={<PanelIcon />} aria-pressed={side} aria-label="Schema, history and saved queries" onPress={toggleSide}>Schema</Button>
      <Menu label="Rows" selected={[String(tab.limit)]} items={LIMITS.map((limit) => ({ id: String(limit), label: limitWords(limit) }))} onAction={(id) => workspace.change(tab.id, { limit: Number(id) })}>
        <Button aria-label={`Limit: ${limitWords(tab.limit)}`}>{limitWords(tab.limit)}</Button>
      </Menu>
      <Button aria-label={`Time zone ${zoneName(tab.zone)}; switch`} onPress={() => workspace.change(tab.id, { zone: tab.zone === "UTC" ? "local" : "UTC" })}>{tab.zone === "UTC" ? "UTC" : "Local"}</Button>
      <Button icon={run.following === undefined ? <PlayIcon /> : <PauseIcon />} aria-pressed={run.following !== undefined} isDisabled={!canFollow} onPress={follow}>{run.following === undefined ? "Keep live" : "Live"}</Button>
      {running
        ? <Button look="danger" icon={<StopIcon />} isDisabled={state.cancelling} onPress={cancel}>Cancel <kbd className={styles.key}>Esc</kbd></Button>
        : <Button look="primary" icon={<PlayIcon />} isDisabled={tab.text.trim() === ""} onPress={() => start()}>Run <kbd className={styles.key}>Ctrl ↵</kbd></Button>}
    </>
  );

  return (
    <Page title="SQL" name={`${tab.name} · SQL`} tools={tools} fill>
      <div className={styles.workbench} data-side={side || undefined} onKeyDown={onKeyDown}>
        {side && (
          <Suspense fallback={<div className={styles.side} />}>
            <Side
              catalog={catalog} error={catalogError} text={tab.text} onInsert={(text) => editor.current?.insert(text)} onPreview={preview}
              onOpen={(text) => openText(text, false)} onClose={toggleSide}
            />
          </Suspense>
        )}
        <div className={styles.bench}>
          <TabStrip tabs={tabs} current={tab.id} />
          <div className={styles.editor} style={{ height }}>
            <Editor
              id={tab.id} text={tab.text} cursor={tab.cursor} catalog={catalog} mark={mark} describedBy="sql-problem" handle={editor}
              onChange={(text, cursor) => workspace.change(tab.id, { text, cursor })} onRun={() => start()}
            />
            {all.length > 1 && current !== undefined && <p className={styles.which}>runs statement {all.findIndex((each) => each.from === current.from) + 1} of {all.length}</p>}
          </div>
          {count > 0 && <Parameters inputs={inputs} showWrong={asked} onChange={(parameters) => workspace.change(tab.id, { parameters })} onRun={() => start()} />}
          <Splitter value={height} onChange={(next) => { setHeight(next); remember(EDITOR_HEIGHT, next); }} />
          {failure !== undefined && (
            <Problem
              error={failure} mark={mark} text={tab.text} onGo={() => { if (mark !== undefined) editor.current?.select(mark.from); }}
              onFix={(words) => { if (mark !== undefined) editor.current?.replace(mark, words); setMark(undefined); }} onRetry={() => start()}
            />
          )}
          <ResultPane tab={tab} run={run} catalog={catalog} onExample={(sql) => { workspace.change(tab.id, { text: sql, cursor: sql.length }); start({ text: sql, from: 0 }); }} planOf={() => chosenText(tab, editor.current?.selection() ?? { from: tab.cursor, to: tab.cursor })} />
        </div>
      </div>
    </Page>
  );
}

function statementText(tab: Pick<Tab, "text" | "cursor">): string {
  const statement = statementAt(tab.text, tab.cursor);
  return statement === undefined ? "" : tab.text.slice(statement.from, statement.to);
}

/** What is selected, or else the statement at the cursor. */
function chosenText(tab: Tab, selection: Mark): { text: string; from: number } | undefined {
  const selected = tab.text.slice(selection.from, selection.to);
  if (selected.trim() !== "") {
    const lead = selected.length - selected.trimStart().length;
    return { text: selected.trim().replace(/;+\s*$/, ""), from: selection.from + lead };
  }
  const statement = statementAt(tab.text, selection.to);
  return statement === undefined ? undefined : { text: tab.text.slice(statement.from, statement.to), from: statement.from };
}

async function runIn(id: string, sql: string): Promise<void> {
  const tab = workspace.tab(id);
  if (tab === undefined) return;
  await workspace.runOf(id).run({ sql, parameters: [], timeZone: zoneName(tab.zone), from: 0, rowsMax: tab.limit, limit: (tab.limit === 0 ? ROWS_MAX : tab.limit) + 1 });
}

export function previewSql(table: CatalogTable): string {
  const name = table.schema === "druid" ? nameSql(table.name) : `${nameSql(table.schema)}.${nameSql(table.name)}`;
  const timed = table.columns.some((column) => column.name === "__time");
  return `SELECT *\nFROM ${name}${timed ? "\nORDER BY __time DESC" : ""}\nLIMIT 100`;
}

function limitWords(limit: number): string {
  return limit === 0 ? "No limit" : `${limit.toLocaleString("en")} rows`;
}

type ProblemProps = { error: ApiError; mark: Mark | undefined; text: string; onGo: () => void; onFix: (words: string) => void; onRetry: () => void };

function Problem({ error, mark, text, onGo, onFix, onRetry }: ProblemProps) {
  const meant = /^did you mean (?:"((?:[^"]|"")+)"|([A-Za-z_][\w$]*))\?/.exec(error.hint ?? "");
  const word = meant?.[1]?.replaceAll('""', '"') ?? meant?.[2];
  const line = mark === undefined ? undefined : text.slice(0, mark.from).split("\n").length;
  return (
    <div className={styles.problem} id="sql-problem">
      <ErrorStrip error={error.with(withoutPlace(error.message))} onRetry={mark === undefined ? onRetry : undefined}>
        {mark !== undefined && <Button onPress={onGo}>Go to line {line}</Button>}
        {word !== undefined && mark !== undefined && <Button look="primary" onPress={() => onFix(meant?.[1] === undefined ? word : nameSql(word))}>Use {word}</Button>}
      </ErrorStrip>
    </div>
  );
}

function stored(key: string, otherwise: number): number {
  try {
    const value = Number(localStorage.getItem(key) ?? otherwise);
    return Number.isFinite(value) ? value : otherwise;
  } catch {
    return otherwise;
  }
}

function remember(key: string, value: number): void {
  try {
    localStorage.setItem(key, String(value));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
