import type { ReactNode } from "react";
import type { ApiError } from "../api/errors";
import { Button } from "./Button";
import { CopyButton } from "./CopyButton";
import { WarnIcon } from "./icons";
import styles from "./kit.module.css";

type Props = { error: ApiError; what?: string; onRetry?: (() => void) | undefined; /** More to do about it. */ children?: ReactNode };

/** What went wrong, in the server's words, with what to do about it. */
export function ErrorStrip({ error, what, onRetry, children }: Props) {
  const details = [what, error.message, error.at, error.hint, error.requestId].filter((part) => part !== undefined).join("\n");
  return (
    <div className={styles.strip} role="alert">
      <WarnIcon />
      <div className={styles.stripText}>
        <p>{what !== undefined && <strong>{what}: </strong>}{error.message}</p>
        {error.at !== undefined && <p className={styles.stripDim}>at {error.at}</p>}
        {error.hint !== undefined && <p className={styles.stripDim}>{error.hint}</p>}
      </div>
      {children}
      {onRetry !== undefined && <Button onPress={onRetry}>Retry</Button>}
      <CopyButton text={details} what="the error" />
    </div>
  );
}

export function Notice({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className={styles.notice} role="status">
      <p className={styles.noticeTitle}>{title}</p>
      {children !== undefined && <p className={styles.stripDim}>{children}</p>}
      {action}
    </div>
  );
}

export function Skeleton({ height }: { height: number }) {
  return <svg className={styles.skeleton} width="100%" height={height} aria-hidden="true"><rect width="100%" height="100%" rx="6" /></svg>;
}
