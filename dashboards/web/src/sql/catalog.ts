// What can be named in SQL: tables with their columns, functions with their signatures. From the server's INFORMATION_SCHEMA.
import { sqlRows } from "../api/sql";

export type CatalogColumn = { name: string; type: string };
export type CatalogTable = { schema: string; name: string; columns: readonly CatalogColumn[] };
/** `signature` has a line for each form. */
export type CatalogFunction = { name: string; signature: string; aggregate: boolean };
export type Catalog = { tables: readonly CatalogTable[]; functions: readonly CatalogFunction[] };

export const NO_CATALOG: Catalog = { tables: [], functions: [] };

/** The schema whose tables need no prefix. */
export const OWN_SCHEMA = "druid";

type ColumnRow = { TABLE_SCHEMA: string; TABLE_NAME: string; COLUMN_NAME: string; DATA_TYPE: string };
type RoutineRow = { ROUTINE_NAME: string; IS_AGGREGATOR: string; SIGNATURES: string | null };

/** Schemas of users before those of the server itself. */
function rank(schema: string): number {
  return schema === OWN_SCHEMA ? 0 : schema === "sys" ? 1 : 2;
}

export function tablesOf(rows: readonly ColumnRow[]): CatalogTable[] {
  const found = new Map<string, { schema: string; name: string; columns: CatalogColumn[] }>();
  for (const row of rows) {
    const key = `${row.TABLE_SCHEMA}\u0000${row.TABLE_NAME}`;
    const table = found.get(key) ?? { schema: row.TABLE_SCHEMA, name: row.TABLE_NAME, columns: [] };
    table.columns.push({ name: row.COLUMN_NAME, type: row.DATA_TYPE });
    found.set(key, table);
  }
  return [...found.values()].sort((a, b) => rank(a.schema) - rank(b.schema) || (a.schema < b.schema ? -1 : a.schema > b.schema ? 1 : a.name < b.name ? -1 : 1));
}

export function functionsOf(rows: readonly RoutineRow[]): CatalogFunction[] {
  return rows.map((row) => ({ name: row.ROUTINE_NAME, aggregate: row.IS_AGGREGATOR === "YES", signature: row.SIGNATURES ?? `${row.ROUTINE_NAME}(…)` }));
}

let functions: Promise<CatalogFunction[]> | undefined;

/** Functions are asked for once: they change with the server only. */
export async function fetchCatalog(): Promise<Catalog> {
  functions ??= sqlRows<RoutineRow>("SELECT ROUTINE_NAME, IS_AGGREGATOR, SIGNATURES FROM INFORMATION_SCHEMA.ROUTINES ORDER BY ROUTINE_NAME").then(functionsOf);
  functions.catch(() => (functions = undefined));
  const [columns, known] = await Promise.all([
    sqlRows<ColumnRow>("SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"),
    functions,
  ]);
  return { tables: tablesOf(columns), functions: known };
}
