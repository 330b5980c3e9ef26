// Horizontal bars with their labels and numbers: text first, so that it reads without the picture.
import { formatExact, formatNumber } from "./format";
import styles from "./Bars.module.css";

type Props = { bars: readonly { label: string; value: number }[]; label: string };

export function Bars({ bars, label }: Props) {
  const top = Math.max(1e-300, ...bars.map((bar) => Math.abs(bar.value) || 0));
  return (
    <ol className={styles.bars} aria-label={label}>
      {bars.map((bar, index) => (
        <li key={index} className={styles.bar}>
          <span className={styles.label} title={bar.label}>{bar.label}</span>
          <svg className={styles.track} viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect data-negative={bar.value < 0 || undefined} width={((Math.abs(bar.value) || 0) / top) * 100} height="1" /></svg>
          <span className={styles.value} title={formatExact(bar.value)}>{formatNumber(bar.value)}</span>
        </li>
      ))}
    </ol>
  );
}
