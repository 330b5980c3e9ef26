// Explore state → SQL. Pure, so that golden tests can hold it. Values are always bound as parameters and identifiers quoted; the
// server replaces `${time}` and `${bucket}`, also with bound values. Only `readable` writes values into the text, for people to copy.
import { isNumeric, type Measure } from "./measures";
import type { Filter } from "./filters";
import { period } from "./buckets";
import type { Span, Zone } from "./range";
import type { Column } from "../api/tables";

export type Parameter = { type: "VARCHAR" | "BIGINT" | "DOUBLE"; value: string | number };
export type Query = { sql: string; params: Parameter[] };

export const LEADERS_MAX = 12;

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function aggregateSql(measure: Measure): string {
  if (measure.column === undefined) return "COUNT(*)";
  const column = quote(measure.column);
  return measure.aggregate === "distinct" ? `COUNT(DISTINCT ${column})` : `${measure.aggregate.toUpperCase()}(${column})`;
}

function parameter(value: string, column: Column | undefined): Parameter {
  if (column !== undefined && isNumeric(column) && value.trim() !== "" && Number.isFinite(Number(value))) {
    const whole = column.type.toUpperCase() === "LONG" && Number.isSafeInteger(Number(value));
    return { type: whole ? "BIGINT" : "DOUBLE", value: Number(value) };
  }
  return { type: "VARCHAR", value };
}

function condition(filter: Filter, columns: readonly Column[], params: Parameter[]): string {
  const name = quote(filter.column);
  const column = columns.find((candidate) => candidate.name === filter.column);
  const values = filter.values.filter((value) => value !== null);
  const hasNull = values.length < filter.values.length;
  for (const value of values) params.push(parameter(value, column));
  const marks = values.map(() => "?").join(", ");
  if (filter.mode === "in") {
    const list = values.length === 0 ? "" : values.length === 1 ? `${name} = ?` : `${name} IN (${marks})`;
    if (!hasNull) return list;
    return list === "" ? `${name} IS NULL` : `(${list} OR ${name} IS NULL)`;
  }
  // A row without a value is not one of the excluded values, whatever three-valued logic says.
  const list = values.length === 0 ? "" : values.length === 1 ? `${name} <> ?` : `${name} NOT IN (${marks})`;
  if (hasNull) return list === "" ? `${name} IS NOT NULL` : `(${list} AND ${name} IS NOT NULL)`;
  return `(${list} OR ${name} IS NULL)`;
}

function where(filters: readonly Filter[], columns: readonly Column[], params: Parameter[]): string {
  return ["${time}", ...filters.map((filter) => condition(filter, columns, params))].join(" AND ");
}

function select(measures: readonly Measure[]): string {
  return measures.map((measure, index) => `${aggregateSql(measure)} AS "m${index}"`).join(", ");
}

export function seriesQuery(table: string, measures: readonly Measure[], filters: readonly Filter[], columns: readonly Column[]): Query {
  const params: Parameter[] = [];
  const sql = `SELECT \${bucket} AS "t", ${select(measures)} FROM ${quote(table)} WHERE ${where(filters, columns, params)} GROUP BY 1`;
  return { sql, params };
}

/** The numbers beside the charts; asked for on their own, because an average of averages is not the average. */
export function totalsQuery(table: string, measures: readonly Measure[], filters: readonly Filter[], columns: readonly Column[]): Query {
  const params: Parameter[] = [];
  const sql = `SELECT COUNT(*) AS "rows", ${select(measures)} FROM ${quote(table)} WHERE ${where(filters, columns, params)}`;
  return { sql, params };
}

/** The leaders of one column. Its own filter is left out, so that the values beside the chosen one can still be seen and chosen. */
export function leadersQuery(table: string, dimension: string, measures: readonly Measure[], filters: readonly Filter[], columns: readonly Column[]): Query {
  const params: Parameter[] = [];
  const others = filters.filter((filter) => filter.column !== dimension);
  const sql = `SELECT ${quote(dimension)} AS "v", ${select(measures)} FROM ${quote(table)} WHERE ${where(others, columns, params)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ${LEADERS_MAX}`;
  return { sql, params };
}

function literal(parameter: Parameter): string {
  return typeof parameter.value === "number" ? String(parameter.value) : `'${parameter.value.replaceAll("'", "''")}'`;
}

function instant(at: number): string {
  return `TIMESTAMP '${new Date(at).toISOString().replace("T", " ").replace("Z", "")}'`;
}

/** The query with everything written out, to copy and run anywhere. */
export function readable(query: Query, span: Span, bucketMs: number | undefined, zone: Zone): string {
  let next = 0;
  const time = `"__time" >= ${instant(span.from)} AND "__time" < ${instant(span.to)}`;
  const calendar = bucketMs !== undefined && bucketMs >= 86_400_000 && zone === "local";
  const named = calendar ? `, NULL, '${Intl.DateTimeFormat().resolvedOptions().timeZone}'` : "";
  const bucket = bucketMs === undefined ? "" : `TIME_FLOOR("__time", '${period(bucketMs)}'${named})`;
  // One pass over the text: a quoted name or a marker at a time, so that a `?` inside a name is not taken for a parameter.
  const text = query.sql.replace(/"(?:[^"]|"")*"|\$\{time\}|\$\{bucket\}|\?/g, (part) => {
    if (part === "?") {
      const bound = query.params[next++];
      return bound === undefined ? "?" : literal(bound);
    }
    if (part === "${time}") return time;
    return part === "${bucket}" ? bucket : part;
  });
  const lines = text.replace(/ (FROM|WHERE|GROUP BY|ORDER BY) (?=(?:[^"']|"[^"]*"|'[^']*')*$)/g, "\n$1 ");
  return bucketMs === undefined ? lines : `${lines}\nORDER BY 1`;
}
