import styles from "./Sparkline.module.css";

type Props = { points: readonly number[]; label: string };

const WIDTH = 100;
const HEIGHT = 24;
/** As many points as the line has room for; a young one grows from the right. */
const POINTS = 60;

export function Sparkline({ points, label }: Props) {
  const shown = points.slice(-POINTS);
  const top = Math.max(1e-9, ...shown);
  const at = shown.map((value, index) => {
    const x = WIDTH - (shown.length - 1 - index) * (WIDTH / (POINTS - 1));
    return `${x.toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`;
  });
  return (
    <svg className={styles.spark} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      {shown.length > 1 && <polyline points={at.join(" ")} />}
    </svg>
  );
}
