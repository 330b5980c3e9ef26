// Nothing was run yet: how to, and queries over tables that are there.
import { Notice } from "../../kit/Strip";
import { OWN_SCHEMA, type Catalog } from "../../sql/catalog";
import { nameSql } from "../../sql/words";
import styles from "./sql.module.css";

type Example = { title: string; sql: string };

/** Over the first table and columns it really has. */
export function examplesOf(catalog: Catalog): Example[] {
  const table = catalog.tables.find((each) => each.schema === OWN_SCHEMA);
  if (table === undefined) return [];
  const name = nameSql(table.name);
  const text = table.columns.find((column) => column.type === "VARCHAR");
  const number = table.columns.find((column) => /BIGINT|DOUBLE|FLOAT/.test(column.type));
  const timed = table.columns.some((column) => column.name === "__time");
  const recent = timed ? "\nWHERE __time > CURRENT_TIMESTAMP - INTERVAL '15' MINUTE" : "";
  const found: Example[] = [];
  if (timed) found.push({ title: `${table.name} by minute`, sql: `SELECT TIME_FLOOR(__time, 'PT1M') AS t, COUNT(*) AS n${number === undefined ? "" : `, AVG(${nameSql(number.name)}) AS ${nameSql(`avg_${number.name}`)}`}\nFROM ${name}${recent}\nGROUP BY 1\nORDER BY 1` });
  if (text !== undefined) found.push({ title: `Leaders of ${text.name}`, sql: `SELECT ${nameSql(text.name)}, COUNT(*) AS n\nFROM ${name}${recent}\nGROUP BY 1\nORDER BY 2 DESC\nLIMIT 20` });
  found.push({ title: `Newest rows of ${table.name}`, sql: `SELECT *\nFROM ${name}${timed ? "\nORDER BY __time DESC" : ""}\nLIMIT 100` });
  return found;
}

export function Examples({ catalog, onExample }: { catalog: Catalog; onExample: (sql: string) => void }) {
  const examples = examplesOf(catalog);
  return (
    <Notice title="Run with Ctrl+Enter">
      {examples.length === 0 ? "Rows appear here." : "Or begin with one of these:"}
      <span className={styles.examples}>
        {examples.map(({ title, sql }) => (
          <button key={title} type="button" className={styles.example} onClick={() => onExample(sql)}>
            <strong>{title}</strong>
            <code>{sql}</code>
          </button>
        ))}
      </span>
    </Notice>
  );
}
