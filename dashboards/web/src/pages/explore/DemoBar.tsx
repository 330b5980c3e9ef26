// The demo's own controls, above its table.
import { useEffect, useState } from "react";
import { fetchDemo, RATE_DEFAULT, RATE_MAX, startDemo, stopDemo, type Demo } from "../../api/demo";
import { asApiError, type ApiError } from "../../api/errors";
import { live } from "../../api/live";
import { navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { Dialog } from "../../kit/Dialog";
import { RateSlider } from "../../kit/RateSlider";
import { ErrorStrip } from "../../kit/Strip";
import { formatNumber } from "../../viz/format";
import styles from "./explore.module.css";

const REFRESH_MS = 2_000;

export function DemoBar({ table }: { table: string }) {
  const [demo, setDemo] = useState<Demo>();
  const [error, setError] = useState<ApiError>();
  const [asking, setAsking] = useState(false);

  useEffect(() => {
    const abort = new AbortController();
    const load = () => {
      if (!document.hidden && live.status.kind === "live") fetchDemo(abort.signal).then(setDemo, () => undefined);
    };
    load();
    const timer = setInterval(load, REFRESH_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, []);

  if (demo === undefined || demo.table !== table || (!demo.running && demo.sent === 0)) return null;
  const attempt = (deed: Promise<Demo | undefined>) => deed.then((next) => { setError(undefined); if (next !== undefined) setDemo(next); }, (failure: unknown) => setError(asApiError(failure)));
  const remove = () => {
    setAsking(false);
    void stopDemo(true).then(() => navigate("/"), (failure: unknown) => setError(asApiError(failure)));
  };
  return (
    <>
      <div className={styles.demo} role="group" aria-label="Demo stream">
        <span className={styles.demoName}><i className={styles.pulse} data-running={demo.running || undefined} />Demo stream {demo.running ? "" : "stopped"}</span>
        {demo.running && <RateSlider label="Events" value={demo.rate} max={RATE_MAX} onChange={(rate) => void attempt(startDemo(rate))} />}
        <span className={styles.dim}>{formatNumber(demo.sent)} sent{demo.rejected > 0 && `, ${formatNumber(demo.rejected)} rejected on purpose`}</span>
        <span className={styles.demoTools}>
          {demo.running
            ? <Button onPress={() => void attempt(stopDemo(false).then(() => fetchDemo()))}>Stop</Button>
            : <Button onPress={() => void attempt(startDemo(demo.rate > 0 ? demo.rate : RATE_DEFAULT))}>Start</Button>}
          <Button look="quiet" onPress={() => setAsking(true)}>Remove table</Button>
        </span>
      </div>
      {error !== undefined && <div className={styles.error}><ErrorStrip error={error} what="The demo stream" /></div>}
      <Dialog title={`Remove the table “${table}”?`} open={asking} onClose={() => setAsking(false)}>
        <p>The demo stream stops and its rows are gone. It can be started again from “Add data”.</p>
        <div className={styles.sqlFoot}>
          <Button onPress={() => setAsking(false)}>Keep it</Button>
          <Button look="danger" onPress={remove}>Remove</Button>
        </div>
      </Dialog>
    </>
  );
}
