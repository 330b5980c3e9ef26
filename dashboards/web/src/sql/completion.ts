// What to offer at the cursor. Pure: text, place and catalog in, suggestions out.
import { OWN_SCHEMA, type Catalog, type CatalogTable } from "./catalog";
import { statementAt, tokens, unquote, type Token } from "./text";
import { KEYWORDS, nameSql } from "./words";

export type SuggestionKind = "column" | "table" | "schema" | "function" | "keyword";
export type Suggestion = {
  label: string;
  kind: SuggestionKind;
  /** Type of a column, arguments of a function, schema of a table. */
  detail: string;
  /** What is written, when that is not the label; the cursor ends `back` characters before its end. */
  apply: string;
  back: number;
  /** Higher comes first. */
  rank: number;
  /** More than fits beside the label: all forms of a function. */
  info?: string;
};
export type Suggestions = { from: number; options: Suggestion[] };

/** A table as this statement calls it. */
type Named = { alias: string | undefined; name: string; table: CatalogTable | undefined };

const RANK: Record<SuggestionKind, number> = { column: 30, table: 20, schema: 0, function: 10, keyword: 5 };

function suggestion(label: string, kind: SuggestionKind, detail: string, apply = label, back = 0): Suggestion {
  return { label, kind, detail, apply, back, rank: RANK[kind] };
}

/** Undefined inside a string, a number or a comment, where nothing can be meant. */
export function suggest(text: string, position: number, catalog: Catalog): Suggestions | undefined {
  const all = tokens(text);
  const at = all.findIndex((token) => token.from < position && position <= token.to);
  const under = all[at];
  if (under !== undefined && ["string", "comment", "number"].includes(under.kind) && !(under.kind === "string" && position === under.to && under.text.length > 1 && under.text.endsWith("'"))) return undefined;
  const typing = under !== undefined && (under.kind === "word" || under.kind === "quoted") ? under : undefined;
  const from = typing?.from ?? position;
  const before = all.filter((token) => token.to <= from && token.kind !== "comment");
  const options = optionsAt(text, position, before, catalog);
  return { from, options };
}

function optionsAt(text: string, position: number, before: readonly Token[], catalog: Catalog): Suggestion[] {
  const last = before.at(-1);
  const statement = statementAt(text, position);
  const inside = statement === undefined ? [] : tokens(text).filter((token) => token.from >= statement.from && token.to <= statement.end && token.kind !== "comment");
  const named = namedTables(inside, catalog);
  if (last?.text === ".") return afterDot(before, named, catalog);
  if (expectsTable(before)) return [...tableOptions(inside, catalog), ...schemaOptions(catalog)];
  return [...columnOptions(named, catalog), ...functionOptions(catalog), ...KEYWORDS.map((word) => suggestion(word, "keyword", "")), ...aliasOptions(named), ...(named.length === 0 ? tableOptions(inside, catalog) : [])];
}

function afterDot(before: readonly Token[], named: readonly Named[], catalog: Catalog): Suggestion[] {
  const owner = unquote(before.at(-2)?.text ?? "");
  const known = named.find((each) => each.alias === owner) ?? named.find((each) => each.name === owner);
  if (known?.table !== undefined) return known.table.columns.map((column) => suggestion(column.name, "column", column.type, nameSql(column.name)));
  const schema = catalog.tables.filter((table) => table.schema.toLowerCase() === owner.toLowerCase());
  if (schema.length > 0) return schema.map((table) => suggestion(table.name, "table", table.schema, nameSql(table.name)));
  const table = catalog.tables.find((each) => each.name === owner);
  return (table?.columns ?? []).map((column) => suggestion(column.name, "column", column.type, nameSql(column.name)));
}

/** Behind FROM and JOIN, and behind a comma in the list of FROM. */
function expectsTable(before: readonly Token[]): boolean {
  const last = before.at(-1);
  if (last === undefined) return false;
  if (last.kind === "word" && /^(from|join)$/i.test(last.text)) return true;
  if (last.text !== ",") return false;
  let depth = 0;
  for (let at = before.length - 2; at >= 0; at--) {
    const token = before[at] as Token;
    if (token.text === ")") depth++;
    else if (token.text === "(") depth--;
    if (depth < 0) return false;
    if (depth === 0 && token.kind === "word") {
      if (/^from$/i.test(token.text)) return true;
      if (/^(select|where|by|having|on|using|limit|with|values)$/i.test(token.text)) return false;
    }
  }
  return false;
}

const NO_ALIAS = /^(where|group|order|limit|having|join|left|right|inner|full|cross|natural|on|using|union|intersect|except|offset|fetch|window|as|tablesample)$/i;

/** Tables behind FROM and JOIN, with their aliases. */
function namedTables(inside: readonly Token[], catalog: Catalog): Named[] {
  const found: Named[] = [];
  for (let at = 0; at < inside.length; at++) {
    if (!expectsTable(inside.slice(Math.max(0, at - 60), at))) continue;
    const first = inside[at];
    if (first === undefined || (first.kind !== "word" && first.kind !== "quoted")) continue;
    let name = first;
    let schema: string | undefined;
    const second = inside[at + 2];
    if (inside[at + 1]?.text === "." && second !== undefined) {
      schema = unquote(first.text);
      name = second;
      at += 2;
    }
    let next = inside[at + 1];
    if (next?.kind === "word" && /^as$/i.test(next.text)) next = inside[at + 2];
    const alias = next !== undefined && (next.kind === "quoted" || (next.kind === "word" && !NO_ALIAS.test(next.text))) ? unquote(next.text) : undefined;
    const plain = unquote(name.text);
    const table = catalog.tables.find((each) => each.name === plain && (schema === undefined ? each.schema === OWN_SCHEMA : each.schema.toLowerCase() === schema.toLowerCase()));
    found.push({ alias, name: plain, table });
  }
  return found;
}

function columnOptions(named: readonly Named[], catalog: Catalog): Suggestion[] {
  const from = named.flatMap((each) => (each.table === undefined ? [] : [each.table]));
  // Before there is a FROM, the columns of all own tables may be meant.
  const tables = from.length > 0 ? from : named.length > 0 ? [] : catalog.tables.filter((table) => table.schema === OWN_SCHEMA);
  const columns = new Map<string, Suggestion>();
  for (const table of tables) {
    for (const column of table.columns) {
      if (!columns.has(column.name)) columns.set(column.name, suggestion(column.name, "column", tables.length > 1 ? `${column.type} · ${table.name}` : column.type, nameSql(column.name)));
    }
  }
  return [...columns.values()];
}

function tableOptions(inside: readonly Token[], catalog: Catalog): Suggestion[] {
  const own = catalog.tables.filter((table) => table.schema === OWN_SCHEMA).map((table) => suggestion(table.name, "table", "table", nameSql(table.name)));
  return [...ctes(inside).map((name) => suggestion(name, "table", "WITH", nameSql(name))), ...own];
}

/** Names that WITH gives: `WITH a AS (..), b AS (..)`. */
function ctes(inside: readonly Token[]): string[] {
  if (!inside.some((token) => /^with$/i.test(token.text))) return [];
  return inside.flatMap((token, at) => {
    const before = inside[at - 1]?.text ?? "";
    const named = (token.kind === "word" || token.kind === "quoted") && /^as$/i.test(inside[at + 1]?.text ?? "") && inside[at + 2]?.text === "(";
    return named && /^(with|recursive|,)$/i.test(before) ? [unquote(token.text)] : [];
  });
}

function schemaOptions(catalog: Catalog): Suggestion[] {
  const schemas = [...new Set(catalog.tables.map((table) => table.schema))].filter((schema) => schema !== OWN_SCHEMA);
  return schemas.map((schema) => suggestion(schema, "schema", "schema", `${nameSql(schema)}.`));
}

function aliasOptions(named: readonly Named[]): Suggestion[] {
  return named.map((each) => suggestion(each.alias ?? each.name, "table", each.alias === undefined ? "table" : each.name, nameSql(each.alias ?? each.name)));
}

function functionOptions(catalog: Catalog): Suggestion[] {
  return catalog.functions.map((each) => {
    const forms = each.signature.split("\n");
    const first = forms[0] ?? "";
    const bare = !first.includes("(");
    const empty = forms.length === 1 && first.endsWith("()");
    const offered = suggestion(each.name, "function", bare ? "" : first.slice(first.indexOf("(")), bare ? each.name : `${each.name}()`, bare || empty ? 0 : 1);
    return forms.length > 1 || first.length > 44 ? { ...offered, info: each.signature } : offered;
  });
}
