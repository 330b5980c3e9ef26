import { Button } from "../../kit/Button";
import { CloseIcon } from "../../kit/icons";
import type { Filter, Value } from "../../query/filters";
import styles from "./explore.module.css";

type Props = { filters: readonly Filter[]; onChange: (filters: Filter[]) => void };

const VALUES_SHOWN = 3;

export function wordOf(value: Value): string {
  return value === null ? "no value" : value === "" ? "empty text" : value;
}

/** The filters in words; each can be taken away, or turned around by a click on its verb. */
export function FilterBar({ filters, onChange }: Props) {
  if (filters.length === 0) return <p className={styles.dim}>Click a value below to filter.</p>;
  const without = (column: string) => filters.filter((filter) => filter.column !== column);
  const turned = (column: string) => filters.map((filter): Filter => (filter.column === column ? { ...filter, mode: filter.mode === "in" ? "out" : "in" } : filter));
  return (
    <ul className={styles.chips} aria-label="Filters">
      {filters.map((filter) => {
        const words = filter.values.map(wordOf);
        const more = words.length - VALUES_SHOWN;
        return (
          <li key={filter.column} className={styles.chip} data-mode={filter.mode}>
            <span className={styles.dim}>{filter.column}</span>
            <button type="button" className={styles.verb} title="Turn around" onClick={() => onChange(turned(filter.column))}>{filter.mode === "in" ? "is" : "is not"}</button>
            <span className={styles.chipValue} title={words.join(", ")}>{words.slice(0, VALUES_SHOWN).join(", ")}{more > 0 && ` and ${more} more`}</span>
            <button type="button" className={styles.chipClose} aria-label={`Remove the filter on ${filter.column}`} onClick={() => onChange(without(filter.column))}><CloseIcon size={12} /></button>
          </li>
        );
      })}
      {filters.length > 1 && <li><Button look="quiet" onPress={() => onChange([])}>Clear all</Button></li>}
    </ul>
  );
}
