// Beside the editor: the schema, what was run, what was saved.
import { useMemo, useState, useSyncExternalStore, type ReactNode } from "react";
import type { ApiError } from "../../api/errors";
import { useTables } from "../../api/hooks";
import { Button } from "../../kit/Button";
import { ChevronIcon, CloseIcon, PlayIcon } from "../../kit/icons";
import { Dialog } from "../../kit/Dialog";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import { OWN_SCHEMA, type Catalog, type CatalogTable } from "../../sql/catalog";
import { searchWords } from "../../sql/history";
import { nameSql } from "../../sql/words";
import { workspace } from "../../sql/workspace";
import { formatDuration, formatInstant, formatNumber, formatRate } from "../../viz/format";
import { Choices } from "./Choices";
import styles from "./sql.module.css";

type Props = {
  catalog: Catalog;
  error: ApiError | undefined;
  text: string;
  onInsert: (text: string) => void;
  onPreview: (table: CatalogTable) => void;
  onOpen: (text: string) => void;
  onClose: () => void;
};

type Part = "schema" | "history" | "saved";

export default function Side({ catalog, error, text, onInsert, onPreview, onOpen, onClose }: Props) {
  const [part, setPart] = useState<Part>("schema");
  const [search, setSearch] = useState("");
  return (
    <aside className={styles.side} aria-label="Schema, history and saved queries">
      <div className={styles.sideHead}>
        <Choices label="Beside the editor" choices={[["schema", "Schema"], ["history", "History"], ["saved", "Saved"]]} value={part} panel="sql-side" onChange={setPart} />
        <span className={styles.sideClose}><Button look="quiet" icon={<CloseIcon />} title="Close" onPress={onClose} /></span>
      </div>
      <input id="sql-filter" type="search" className={styles.filter} placeholder={part === "schema" ? "Find a table or column" : part === "history" ? "Search the history" : "Search saved queries"} aria-label={`Filter ${part}`} value={search} onChange={(event) => setSearch(event.target.value)} />
      <div id="sql-side" className={styles.sideBody} role="tabpanel" aria-label={part} tabIndex={0}>
        {part === "schema" && <Schema catalog={catalog} error={error} search={search} onInsert={onInsert} onPreview={onPreview} />}
        {part === "history" && <History search={search} onOpen={onOpen} />}
        {part === "saved" && <Saved search={search} text={text} onOpen={onOpen} />}
      </div>
    </aside>
  );
}

/** Icons by letter, so that types are told apart at a glance. */
function typeWord(type: string): string {
  return ({ VARCHAR: "text", BIGINT: "int", DOUBLE: "num", FLOAT: "num", TIMESTAMP: "time", BOOLEAN: "bool" } as Record<string, string>)[type] ?? type.toLowerCase();
}

function Schema({ catalog, error, search, onInsert, onPreview }: { catalog: Catalog; error: ApiError | undefined; search: string; onInsert: (text: string) => void; onPreview: (table: CatalogTable) => void }) {
  const { tables: alive } = useTables();
  const [turned, setTurned] = useState<ReadonlySet<string>>(new Set());
  const word = search.trim().toLowerCase();
  const shown = useMemo(() => catalog.tables.flatMap((table) => {
    if (word === "" || fullName(table).toLowerCase().includes(word)) return [{ table, columns: table.columns, found: false }];
    const columns = table.columns.filter((column) => column.name.toLowerCase().includes(word));
    return columns.length === 0 ? [] : [{ table, columns, found: true }];
  }), [catalog, word]);
  const own = catalog.tables.filter((table) => table.schema === OWN_SCHEMA).length;
  if (catalog.tables.length === 0) return error === undefined ? <Skeleton height={200} /> : <ErrorStrip error={error} what="The schema" />;
  if (shown.length === 0) return <p className={styles.hint}>Nothing is called that.</p>;
  return (
    <ul className={styles.schema}>
      {own === 0 && word === "" && <li className={styles.hint}>No table yet. It appears here with its first row.</li>}
      {shown.map(({ table, columns, found }, index) => {
        const key = fullName(table);
        const first = table.schema !== OWN_SCHEMA && shown[index - 1]?.table.schema !== table.schema;
        // A single table is open at once, and so is one that holds what is searched.
        const open = found || turned.has(key) !== (own === 1 && table.schema === OWN_SCHEMA);
        const state = table.schema === OWN_SCHEMA ? alive?.find((each) => each.name === table.name) : undefined;
        const turn = (what: string) => setTurned((before) => { const next = new Set(before); if (!next.delete(what)) next.add(what); return next; });
        const toggle = () => turn(key);
        // System tables are many and seldom wanted: folded, they are one stop on the way to the editor.
        const fold = `schema ${table.schema}`;
        const unfolded = table.schema === OWN_SCHEMA || word !== "" || turned.has(fold);
        if (!unfolded && !first) return null;
        return (
          <li key={key}>
            {first && (
              <h2 className={styles.schemaName}>
                <button type="button" className={styles.caret} aria-expanded={unfolded} aria-label={`Tables of ${table.schema}`} onClick={() => turn(fold)}><ChevronIcon size={12} /></button>
                {table.schema}
              </h2>
            )}
            {unfolded && <div className={styles.tableRow}>
              <button type="button" className={styles.caret} aria-expanded={open} aria-label={`Columns of ${key}`} onClick={toggle}><ChevronIcon size={12} /></button>
              <button type="button" className={styles.tableName} title={`Insert ${key}`} onClick={() => onInsert(sqlName(table))}>{table.name}</button>
              {state !== undefined && <span className={styles.rate} title={`${state.rows.toLocaleString("en")} rows`}>{state.rowsPerSecond > 0 ? formatRate(state.rowsPerSecond) : `${formatNumber(state.rows)} rows`}</span>}
              <button type="button" className={styles.preview} aria-label={`Preview ${key}`} title="Preview the newest 100 rows" onClick={() => onPreview(table)}><PlayIcon size={12} /></button>
            </div>}
            {unfolded && open && (
              <ul className={styles.columns}>
                {columns.map((column) => (
                  <li key={column.name}>
                    <button type="button" className={styles.column} title={`Insert ${column.name} (${column.type})`} onClick={() => onInsert(nameSql(column.name))}><span className={styles.columnName}>{column.name}</span><span className={styles.type}>{typeWord(column.type)}</span></button>
                  </li>
                ))}
              </ul>
            )}
          </li>
        );
      })}
    </ul>
  );
}

function fullName(table: CatalogTable): string {
  return table.schema === OWN_SCHEMA ? table.name : `${table.schema}.${table.name}`;
}

function sqlName(table: CatalogTable): string {
  return table.schema === OWN_SCHEMA ? nameSql(table.name) : `${nameSql(table.schema)}.${nameSql(table.name)}`;
}

function History({ search, onOpen }: { search: string; onOpen: (text: string) => void }) {
  const { history } = useSyncExternalStore(workspace.subscribe, workspace.snapshot);
  const found = useMemo(() => searchWords(history, search, (entry) => entry.sql).slice(0, 200), [history, search]);
  if (history.length === 0) return <p className={styles.hint}>What you run is listed here, in this browser only.</p>;
  return (
    <>
      <ul className={styles.entries}>
        {found.map((entry) => (
          <Entry
            key={entry.id} sql={entry.sql} onOpen={onOpen} outcome={entry.outcome}
            note={`${formatInstant(entry.at, "local")} · ${entry.outcome === "done" ? `${formatNumber(entry.rows)} ${entry.rows === 1 ? "row" : "rows"} · ${formatDuration(entry.elapsedMs)}` : entry.outcome === "failed" ? "failed" : `cancelled after ${formatDuration(entry.elapsedMs)}`}`}
          />
        ))}
      </ul>
      {found.length === 0 ? <p className={styles.hint}>Nothing in the history has these words.</p> : <div className={styles.sideFoot}><Button look="quiet" onPress={() => workspace.clearHistory()}>Clear history</Button></div>}
    </>
  );
}

type EntryProps = { sql: string; note: ReactNode; outcome?: string; /** What can be done besides opening it. */ deed?: ReactNode; onOpen: (text: string) => void; children?: ReactNode };

function Entry({ sql, note, outcome, deed, onOpen, children }: EntryProps) {
  return (
    <li className={styles.entry} data-outcome={outcome}>
      <button type="button" className={styles.entryButton} title={sql} onClick={() => onOpen(sql)}>
        {children}
        <code className={styles.entrySql}>{sql.replace(/\s+/g, " ").slice(0, 160)}</code>
        <span className={styles.entryNote}>{note}</span>
      </button>
      {deed}
    </li>
  );
}

function Saved({ search, text, onOpen }: { search: string; text: string; onOpen: (text: string) => void }) {
  const { saved } = useSyncExternalStore(workspace.subscribe, workspace.snapshot);
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const found = searchWords(saved, search, (query) => `${query.name} ${query.sql}`);
  const taken = saved.some((query) => query.name === name.trim());
  const save = () => {
    if (name.trim() === "") return;
    workspace.saveQuery(name.trim(), text);
    setNaming(false);
    setName("");
  };
  return (
    <>
      <div className={styles.sideFoot}><Button isDisabled={text.trim() === ""} onPress={() => setNaming(true)}>Save this query</Button></div>
      {saved.length === 0 && <p className={styles.hint}>Queries you save are kept in this browser.</p>}
      <ul className={styles.entries}>
        {found.map((query) => (
          <Entry
            key={query.id} sql={query.sql} onOpen={onOpen} note={formatInstant(query.at, "local")}
            deed={<Button look="quiet" icon={<CloseIcon size={12} />} title={`Delete ${query.name}`} onPress={() => workspace.forgetQuery(query.id)} />}
          >
            <span className={styles.savedName}>{query.name}</span>
          </Entry>
        ))}
      </ul>
      <Dialog title="Save this query" open={naming} onClose={() => setNaming(false)}>
        <form className={styles.saveForm} onSubmit={(event) => { event.preventDefault(); save(); }}>
          <label className={styles.saveLabel}>Name<input autoFocus value={name} onChange={(event) => setName(event.target.value)} /></label>
          {taken && <p className={styles.hint}>There is one of this name; it gets the new text.</p>}
          <div className={styles.sideFoot}><Button type="submit" look="primary" isDisabled={name.trim() === ""}>{taken ? "Replace" : "Save"}</Button></div>
        </form>
      </Dialog>
    </>
  );
}
