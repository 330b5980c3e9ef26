// The answer of EXPLAIN PLAN FOR → a tree of steps. The server writes one line a step, indented by two spaces a level.

export type PlanStep = { name: string; details: readonly { key: string; value: string }[]; children: PlanStep[] };

/** Splits `a=1, b=[x, y]` at the commas that stand outside of brackets and quotes. */
export function splitDetails(text: string): { key: string; value: string }[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === "'") quoted = !quoted;
    if (quoted) continue;
    if ("[({".includes(character)) depth++;
    else if ("])}".includes(character)) depth--;
    // A comma begins a new detail only where a name and `=` follow.
    else if (character === "," && depth === 0 && /^,\s*[a-z_]+=/i.test(text.slice(at))) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((part) => part.trim()).filter((part) => part !== "").map((part) => {
    const match = /^([a-z_]+)=(?!=)(.*)$/is.exec(part);
    return match === null ? { key: "", value: part } : { key: match[1] as string, value: (match[2] as string).trim() };
  });
}

export function planTree(lines: readonly string[]): PlanStep[] {
  const roots: PlanStep[] = [];
  const open: { depth: number; step: PlanStep }[] = [];
  for (const line of lines) {
    const text = line.trimStart();
    if (text === "") continue;
    const depth = line.length - text.length;
    const colon = text.indexOf(":");
    const name = colon < 0 ? text : text.slice(0, colon);
    const step: PlanStep = { name, details: colon < 0 ? [] : splitDetails(text.slice(colon + 1)), children: [] };
    while ((open.at(-1)?.depth ?? -1) >= depth) open.pop();
    (open.at(-1)?.step.children ?? roots).push(step);
    open.push({ depth, step });
  }
  return roots;
}

export type Plan = { steps: PlanStep[]; raw: string; tables: string[] };

/** Undefined where the server's plan has no lines; then only its text can be shown. */
export function readPlan(row: { PLAN?: string; RESOURCES?: string }): Plan {
  const raw = row.PLAN ?? "";
  const parsed = parse(raw);
  const queries = Array.isArray(parsed) ? parsed : [];
  const lines = queries.flatMap((entry: { query?: { plan?: unknown } }) => (Array.isArray(entry.query?.plan) ? entry.query.plan.map(String) : []));
  const resources = parse(row.RESOURCES ?? "");
  const tables = (Array.isArray(resources) ? resources : []).filter((each: { type?: unknown }) => each.type === "DATASOURCE").map((each: { name?: unknown }) => String(each.name));
  return { steps: planTree(lines), raw: parsed === undefined ? raw : JSON.stringify(parsed, undefined, 2), tables };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

const KEYS: Record<string, string> = { gby: "group by", aggr: "aggregates", expr: "", on: "on", lim: "limit" };

/** A detail without the planner's notation: places of columns, types of literals, brackets around the whole. Raw has all of it. */
export function detailWords({ key, value }: { key: string; value: string }): { key: string; value: string } | undefined {
  if (value === "" || value === "[]" || (key === "preserve_partitioning" && value === "[false]")) return undefined;
  const words = value
    .replace(/^\[(.*)\]$/s, "$1")
    .replace(/\b(?:LargeUtf8|Utf8View|Utf8)\("((?:[^"\\]|\\.)*)"\)/g, "'$1'")
    .replace(/\b(?:U?Int(?:8|16|32|64)|Float(?:32|64)|Boolean)\(([^()]*)\)/g, "$1")
    .replace(/'[^']*'|(?<=[\w)"])@\d+\b/g, (part) => (part.startsWith("'") ? part : ""))
    .replace(/\b([A-Za-z_]\w*) as \1\b(?!\()/g, "$1");
  return { key: KEYS[key] ?? key.replaceAll("_", " "), value: words };
}

const WORDS: Record<string, string> = {
  FragmentExec: "Read rows", FilterExec: "Filter", AggregateExec: "Aggregate", ProjectionExec: "Compute columns", SortExec: "Sort", SortPreservingMergeExec: "Merge sorted",
  CoalescePartitionsExec: "Gather", RepartitionExec: "Spread over threads", CoalesceBatchesExec: "Join batches", HashJoinExec: "Hash join", CrossJoinExec: "Cross join", NestedLoopJoinExec: "Loop join",
  GlobalLimitExec: "Limit", LocalLimitExec: "Limit", UnionExec: "Union", WindowAggExec: "Window", BoundedWindowAggExec: "Window", EmptyExec: "No rows", PlaceholderRowExec: "One row", DataSourceExec: "Read values",
  CooperativeExec: "Yield",
};

/** What a step does, in a word or two; the server's own name where we have none. */
export function stepWords(name: string): string {
  return WORDS[name] ?? name.replace(/Exec$/, "");
}
