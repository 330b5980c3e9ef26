import type { KeyboardEvent } from "react";
import styles from "./sql.module.css";

type Props<T extends string> = { label: string; choices: readonly (readonly [T, string])[]; value: T; /** Id of what they switch. */ panel: string; onChange: (value: T) => void };

/** Tabs of one panel; the arrows switch, one of them is in the order of Tab. */
export function Choices<T extends string>({ label, choices, value, panel, onChange }: Props<T>) {
  const onKeyDown = (event: KeyboardEvent<HTMLElement>) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = (choices.findIndex(([id]) => id === value) + step + choices.length) % choices.length;
    onChange((choices[at] as readonly [T, string])[0]);
    (event.currentTarget.parentElement?.children[at] as HTMLElement | undefined)?.focus();
  };
  return (
    <div role="tablist" aria-label={label} className={styles.choices}>
      {choices.map(([id, words]) => (
        <button key={id} type="button" role="tab" aria-selected={id === value} aria-controls={panel} tabIndex={id === value ? 0 : -1} className={styles.choice} onClick={() => onChange(id)} onKeyDown={onKeyDown}>{words}</button>
      ))}
    </div>
  );
}
