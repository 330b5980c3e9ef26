// Words of the dialect: what is coloured as a keyword, what completion offers, what needs quotes as a name.

/** Offered by completion, the frequent ones first. */
export const KEYWORDS: readonly string[] = [
  "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "HAVING", "AS", "AND", "OR", "NOT", "IN", "IS NULL", "IS NOT NULL", "LIKE", "BETWEEN",
  "DISTINCT", "COUNT(*)", "CASE", "WHEN", "THEN", "ELSE", "END", "DESC", "ASC", "JOIN", "LEFT JOIN", "INNER JOIN", "FULL JOIN", "CROSS JOIN", "ON", "USING",
  "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "WITH", "OVER", "PARTITION BY", "FILTER", "INTERVAL", "CURRENT_TIMESTAMP", "TIMESTAMP", "DATE", "CAST", "EXTRACT",
  "OFFSET", "NULLS FIRST", "NULLS LAST", "EXISTS", "TRUE", "FALSE", "NULL", "VALUES", "GROUPING SETS", "ROLLUP", "CUBE", "EXPLAIN PLAN FOR",
  "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR", "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "INTEGER", "FLOAT",
];

const TYPES = new Set(["varchar", "bigint", "double", "boolean", "integer", "float", "char", "decimal", "numeric", "real", "smallint", "tinyint", "array", "any"]);
const MORE = "all any both by cross cube explain fetch first following for full grouping inner last leading left natural next nulls offset outer over partition plan preceding range recursive right rollup row rows some symmetric top trailing unbounded unnest window within";

function single(): string[] {
  return KEYWORDS.flatMap((keyword) => keyword.toLowerCase().replace("(*)", "").split(" "));
}

export const TYPE_WORDS: readonly string[] = [...TYPES];
export const ATOM_WORDS: readonly string[] = ["true", "false", "null"];
export const KEYWORD_WORDS: readonly string[] = [...new Set([...single(), ...MORE.split(" ")])].filter((word) => !TYPES.has(word) && !ATOM_WORDS.includes(word) && word !== "count");

const RESERVED = new Set([...KEYWORD_WORDS, ...ATOM_WORDS, "array", "any", "user", "table", "value", "end", "start"]);

/** A name as SQL takes it: bare where that is safe, in quotes otherwise. */
export function nameSql(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !RESERVED.has(name.toLowerCase()) ? name : `"${name.replaceAll('"', '""')}"`;
}
