import { Link } from "../../app/router";
import { CopyButton } from "../../kit/CopyButton";
import { Dialog } from "../../kit/Dialog";
import type { Span, Zone } from "../../query/range";
import { readable, type Query } from "../../query/sql";
import { handOff } from "../../sql/handoff";
import { shareHref } from "../../sql/share";
import styles from "./explore.module.css";

export type ShownSql = { title: string; query: Query; span: Span; bucketMs: number | undefined; zone: Zone };

export function SqlDialog({ title, query, span, bucketMs, zone, onClose }: ShownSql & { onClose: () => void }) {
  const text = readable(query, span, bucketMs, zone);
  return (
    <Dialog title={title} open wide onClose={onClose}>
      <pre className={styles.sql} tabIndex={0}>{text}</pre>
      <div className={styles.sqlFoot}>
        <span className={styles.dim}>Runs on POST /druid/v2/sql and with <code>freshet sql</code>.</span>
        <Link href={shareHref({ text, zone })} onClick={() => handOff(text)}>Open in SQL</Link>
        <CopyButton text={text} what="the SQL" label="Copy" />
      </div>
    </Dialog>
  );
}
