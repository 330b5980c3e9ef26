import { useEffect, useState } from "react";
import { fetchDeadLetters, type DeadLetters } from "../../api/deadletters";
import { asApiError, type ApiError } from "../../api/errors";
import { Dialog } from "../../kit/Dialog";
import { ErrorStrip, Skeleton } from "../../kit/Strip";
import { formatInstant, formatNumber } from "../../viz/format";
import styles from "./home.module.css";

/** The records a table refused: why, where they came from, and what they looked like. */
export function RejectedDialog({ table, onClose }: { table: string; onClose: () => void }) {
  const [letters, setLetters] = useState<DeadLetters>();
  const [error, setError] = useState<ApiError>();
  useEffect(() => {
    fetchDeadLetters(table).then(setLetters, (failure: unknown) => setError(asApiError(failure)));
  }, [table]);
  return (
    <Dialog title={`Rejected by ${table}`} open wide onClose={onClose}>
      {error !== undefined && <ErrorStrip error={error} />}
      {letters === undefined ? error === undefined && <Skeleton height={160} /> : (
        <>
          <p className={styles.dim}>{formatNumber(letters.total)} rejected since the start; the newest {formatNumber(letters.letters.length)} of {formatNumber(letters.kept)} kept.</p>
          <ul className={styles.letters}>
            {letters.letters.map((letter, index) => (
              <li key={index} className={styles.letter}>
                <p><strong>{letter.reason}</strong></p>
                {letter.hint != null && <p className={styles.dim}>{letter.hint}</p>}
                <p className={styles.dim}>{formatInstant(Date.parse(letter.at), "local", true)} · {letter.source} · {letter.position}</p>
                <pre className={styles.raw} tabIndex={0}>{letter.raw}</pre>
              </li>
            ))}
          </ul>
        </>
      )}
    </Dialog>
  );
}
