// Pastes a Druid supervisor spec, sends it as it is, and follows it until its first row or its first trouble.
import { useEffect, useState } from "react";
import { asApiError, type ApiError } from "../../api/errors";
import { fetchSupervisorStatus, submitSupervisor, tableOfSpec, type SupervisorStatus } from "../../api/supervisors";
import { extentOf, type Table } from "../../api/tables";
import { navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { Dialog } from "../../kit/Dialog";
import { ErrorStrip } from "../../kit/Strip";
import { exploreHref } from "../../query/explore";
import { rangeOfNewest } from "../../query/range";
import { formatDuration } from "../../viz/format";
import styles from "./welcome.module.css";

const EXAMPLE = `{
  "type": "kafka",
  "spec": {
    "dataSchema": {
      "dataSource": "events",
      "timestampSpec": { "column": "time", "format": "auto" },
      "dimensionsSpec": { "useSchemaDiscovery": true },
      "granularitySpec": { "segmentGranularity": "DAY", "rollup": false }
    },
    "ioConfig": {
      "topic": "events",
      "inputFormat": { "type": "json" },
      "consumerProperties": { "bootstrap.servers": "127.0.0.1:9092" },
      "useEarliestOffset": true
    }
  }
}`;

type Running = { id: string; table: string; rowsBefore: number };
type Props = { tables: readonly Table[]; onClose: () => void };

export function SpecDialog({ tables, onClose }: Props) {
  const [text, setText] = useState("");
  const [error, setError] = useState<ApiError>();
  const [running, setRunning] = useState<Running>();
  const [status, setStatus] = useState<SupervisorStatus>();
  const [sending, setSending] = useState(false);

  const wrong = text.trim() === "" ? undefined : faultOf(text);
  const submit = () => {
    const table = tableOfSpec(text);
    setSending(true);
    setError(undefined);
    submitSupervisor(text).then(({ id }) => {
      const target = table ?? id;
      setRunning({ id, table: target, rowsBefore: tables.find((each) => each.name === target)?.rows ?? 0 });
    }, (failure: unknown) => setError(asApiError(failure))).finally(() => setSending(false));
  };

  const arrived = running === undefined ? undefined : tables.find((table) => table.name === running.table && table.rows > running.rowsBefore);
  const goal = arrived === undefined ? undefined : exploreHref({ table: arrived.name, range: rangeOfNewest(extentOf(arrived), Date.now()) });
  useEffect(() => {
    if (goal === undefined) return;
    onClose();
    navigate(goal);
  }, [goal]);

  const id = running?.id;
  useEffect(() => {
    if (id === undefined) return;
    const load = () => void fetchSupervisorStatus(id).then((next) => { setStatus(next); setError(undefined); }, (failure: unknown) => setError(asApiError(failure)));
    load();
    const timer = setInterval(load, 1_000);
    return () => clearInterval(timer);
  }, [id]);

  const payload = status?.payload;
  const newest = payload?.recentErrors?.at(-1);
  const trouble = payload?.cause ?? newest?.errorMessage ?? newest?.message;
  const pause = payload?.nextRetry == null ? undefined : Date.parse(payload.nextRetry) - Date.now();
  return (
    <Dialog title="Druid supervisor spec" open wide onClose={onClose}>
      {running === undefined ? (
        <>
          <label className={styles.dim} htmlFor="spec">A spec of type kafka, as it would be posted to <code>/druid/indexer/v1/supervisor</code></label>
          <textarea id="spec" className={styles.spec} spellCheck={false} autoFocus value={text} placeholder={EXAMPLE} onChange={(event) => setText(event.target.value)} />
          {wrong !== undefined && <p className={styles.wrong} role="status">{wrong}</p>}
          {error !== undefined && <ErrorStrip error={error} />}
          <div className={styles.dialogFoot}>
            <Button look="quiet" onPress={() => setText(EXAMPLE)}>Start from an example</Button>
            <Button look="primary" isDisabled={sending || text.trim() === "" || wrong !== undefined} onPress={submit}>{sending ? "Starting …" : "Start"}</Button>
          </div>
        </>
      ) : (
        <div role="status" className={styles.follow}>
          <p><strong>{running.id}</strong> is {(payload?.detailedState ?? payload?.state ?? "starting").toLowerCase().replaceAll("_", " ")}. Explore opens with the first row of {running.table}.</p>
          {trouble !== undefined && <p className={styles.wrong}>{trouble}{pause !== undefined && pause > 0 && `; next try in ${formatDuration(pause)}`}</p>}
          {error !== undefined && <ErrorStrip error={error} />}
          <div className={styles.dialogFoot}><Button onPress={() => setRunning(undefined)}>Change the spec</Button></div>
        </div>
      )}
    </Dialog>
  );
}

/** What keeps a text from being a spec at all; everything finer the server says better. */
function faultOf(text: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? undefined : "A spec is a JSON object.";
  } catch (error) {
    return `Not JSON yet: ${error instanceof Error ? error.message : String(error)}`;
  }
}
