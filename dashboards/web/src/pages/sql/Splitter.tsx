import { useRef, type KeyboardEvent } from "react";
import styles from "./sql.module.css";

type Props = { value: number; onChange: (value: number) => void };

const LEAST = 80;
const MOST = 900;

/** The edge between editor and result: drag it, or use the arrows. */
export function Splitter({ value, onChange }: Props) {
  const began = useRef<{ y: number; value: number }>(undefined);
  const set = (next: number) => onChange(Math.min(MOST, Math.max(LEAST, Math.round(next))));
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowUp: -16, ArrowDown: 16, PageUp: -80, PageDown: 80 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    set(value + step);
  };
  return (
    <div
      className={styles.splitter} role="separator" aria-orientation="horizontal" aria-label="Height of the editor" aria-valuenow={value} aria-valuemin={LEAST} aria-valuemax={MOST} tabIndex={0} onKeyDown={onKeyDown}
      onPointerDown={(event) => { began.current = { y: event.clientY, value }; event.currentTarget.setPointerCapture(event.pointerId); event.preventDefault(); }}
      onPointerMove={(event) => { if (began.current !== undefined) set(began.current.value + event.clientY - began.current.y); }}
      onPointerUp={() => (began.current = undefined)}
    />
  );
}
