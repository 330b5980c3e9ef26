// Welcome: the ways data gets in. Whichever is taken, the page moves to Explore by itself when the first rows are there.
import { useEffect, useRef, useState, type DragEvent } from "react";
import type { Capabilities } from "../../api/capabilities";
import { DEMO_TABLE, RATE_DEFAULT, startDemo } from "../../api/demo";
import { asApiError, type ApiError } from "../../api/errors";
import { useTables } from "../../api/hooks";
import { pushFile, tableNameOf, type Pushed } from "../../api/push";
import { extentOf, type Table } from "../../api/tables";
import { Page } from "../../app/Frame";
import { navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { CopyButton } from "../../kit/CopyButton";
import { StreamIcon, TerminalIcon, TopicIcon } from "../../kit/icons";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import { exploreHref } from "../../query/explore";
import { rangeOfNewest } from "../../query/range";
import { formatNumber } from "../../viz/format";
import { SpecDialog } from "./SpecDialog";
import styles from "./welcome.module.css";

/** What the page waits for: rows of this table, or of any new one. */
type Awaited = { table: string | undefined; rowsBefore: ReadonlyMap<string, number> };

export function WelcomePage({ capabilities }: { capabilities: Capabilities | undefined }) {
  const { tables } = useTables();
  const [awaited, setAwaited] = useState<Awaited>();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ card: "demo" | "file"; error: ApiError }>();
  const [pasting, setPasting] = useState(false);
  const [over, setOver] = useState(false);
  const [pushed, setPushed] = useState<Pushed>();
  const first = useRef<HTMLDivElement>(null);
  const features = capabilities?.features ?? {};

  const started = useRef<ReadonlyMap<string, number>>(undefined);
  if (started.current === undefined && tables !== undefined) started.current = rowCounts(tables);

  const arrived = tables?.find((table) => {
    if (table.rows === 0) return false;
    if (awaited !== undefined) return (awaited.table === undefined || awaited.table === table.name) && table.rows > (awaited.rowsBefore.get(table.name) ?? 0);
    // Rows that someone else sends count only while there is nothing else to look at.
    return started.current?.size === 0;
  });
  // The demo writes its history first: its newest row is old for a moment only.
  const isDemo = arrived?.name === DEMO_TABLE && features.demo === true;
  const goal = arrived === undefined ? undefined : exploreHref(isDemo ? { table: arrived.name } : { table: arrived.name, range: rangeOfNewest(extentOf(arrived), Date.now()) });
  useEffect(() => {
    if (goal !== undefined && !pasting) navigate(goal);
  }, [goal, pasting]);

  const ready = capabilities !== undefined;
  useEffect(() => {
    if (ready) first.current?.querySelector("button")?.focus();
  }, [ready]);

  const wait = (table: string | undefined) => setAwaited({ table, rowsBefore: rowCounts(tables ?? []) });

  const demo = () => {
    setBusy(true);
    setFailure(undefined);
    startDemo(RATE_DEFAULT).then((state) => setAwaited({ table: state.table, rowsBefore: new Map() }), (error: unknown) => {
      setBusy(false);
      setFailure({ card: "demo", error: asApiError(error) });
    });
  };

  const load = (files: FileList | null) => {
    const file = files?.[0];
    if (file === undefined) return;
    const table = tableNameOf(file.name);
    setFailure(undefined);
    setPushed(undefined);
    setBusy(true);
    wait(table);
    pushFile(table, file).then(setPushed, (error: unknown) => {
      setAwaited(undefined);
      setFailure({ card: "file", error: asApiError(error) });
    }).finally(() => setBusy(false));
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    if (features.push === true) load(event.dataTransfer.files);
  };

  const curl = `curl -H 'Content-Type: application/json' ${location.origin}/api/v1/push/events -d "{\\"time\\":$(date +%s)000,\\"city\\":\\"Bern\\",\\"value\\":42}"`;
  const none = tables !== undefined && tables.length === 0;

  return (
    <Page title={none ? "Welcome" : "Add data"} name={none ? "Welcome" : "Add data"}>
      <div className={styles.page} data-over={over || undefined} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={drop}>
        <p className={styles.lead}>{capabilities === undefined ? "Freshet" : `Freshet ${capabilities.version}`} is running.{none && " No data yet; pick a way in."}</p>
        {!ready ? <Skeleton height={200} /> : (
          <div className={styles.cards}>
            {features.demo === true && (
              <section className={styles.card} aria-labelledby="demo" ref={first}>
                <StreamIcon size={22} />
                <h2 id="demo">Demo stream</h2>
                <p>A web shop’s events, {RATE_DEFAULT} a second, with a quarter of an hour of history. No setup; stop or remove it any time.</p>
                {failure?.card === "demo" && <ErrorStrip error={failure.error} />}
                <div className={styles.foot}>
                  <Button look="primary" isDisabled={busy} onPress={demo}>{busy && awaited === undefined ? "Starting …" : awaited !== undefined && busy ? "Waiting for the first rows …" : "Start demo stream"}</Button>
                </div>
              </section>
            )}
            {features.push === true && (
              <section className={styles.card} aria-labelledby="push">
                <TerminalIcon size={22} />
                <h2 id="push">HTTP push</h2>
                <p>Any program that speaks HTTP. One line to try; the table is made from what it sends.</p>
                <pre className={styles.code} tabIndex={0}>{curl}</pre>
                <div className={styles.foot}>
                  <CopyButton text={curl} what="the command" label="Copy" onCopy={() => wait(undefined)} />
                  {awaited !== undefined && !busy && <span className={styles.dim} role="status">Waiting for the first row …</span>}
                </div>
              </section>
            )}
            {features.kafka === true && (
              <section className={styles.card} aria-labelledby="kafka">
                <TopicIcon size={22} />
                <h2 id="kafka">Kafka topic</h2>
                <p>Coming from Druid? A supervisor spec of type kafka works as it is.</p>
                <div className={styles.foot}>
                  <Button onPress={() => setPasting(true)}>Paste a Druid supervisor spec</Button>
                </div>
              </section>
            )}
          </div>
        )}
        {features.push === true && (
          <label className={styles.drop}>
            <input type="file" accept=".json,.ndjson,.jsonl,application/json,application/x-ndjson" className="visually-hidden" onChange={(event) => { load(event.target.files); event.target.value = ""; }} />
            <span>{busy && awaited?.table !== undefined ? `Loading into ${awaited.table} …` : "Drop a .json or .ndjson file here to load it once, or choose one."}</span>
          </label>
        )}
        {failure?.card === "file" && <ErrorStrip error={failure.error} what="The file" />}
        {pushed !== undefined && pushed.rejected > 0 && (
          <p className={styles.dim} role="status">{formatNumber(pushed.accepted)} rows loaded, {formatNumber(pushed.rejected)} rejected. Row {pushed.errors[0]?.row}: {pushed.errors[0]?.reason}</p>
        )}
        {capabilities !== undefined && (
          <p className={styles.facts}>
            <span>SQL on <code>POST /druid/v2/sql</code></span>
            <span>listening on <code>{capabilities.listen}</code></span>
            {capabilities.durable && <span>data in <code>{capabilities.dataDir}</code></span>}
            {capabilities.notices.map((notice) => <span key={notice} className={styles.notice}>{notice}</span>)}
          </p>
        )}
      </div>
      {pasting && <SpecDialog tables={tables ?? []} onClose={() => setPasting(false)} />}
    </Page>
  );
}

function rowCounts(tables: readonly Table[]): ReadonlyMap<string, number> {
  return new Map(tables.map((table) => [table.name, table.rows]));
}
