// SQL text as the editor needs it: tokens, statements, parameters, places. Not a parser; the server has that.

export type TokenKind = "word" | "quoted" | "string" | "number" | "parameter" | "semicolon" | "comment" | "symbol";
export type Token = { kind: TokenKind; from: number; to: number; text: string };

const PATTERN = /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<string>'(?:[^']|'')*(?:'|$))|(?<quoted>"(?:[^"]|"")*(?:"|$))|(?<word>[\p{L}_$][\p{L}\p{N}_$]*)|(?<number>\d[\d.]*(?:[eE][+-]?\d+)?)|(?<parameter>\?)|(?<semicolon>;)|(?<symbol>[^\s])/gu;

export function tokens(text: string): Token[] {
  return Array.from(text.matchAll(PATTERN), (match) => {
    const kind = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined)?.[0] as TokenKind;
    return { kind, from: match.index, to: match.index + match[0].length, text: match[0] };
  });
}

/** Half-open; from the first to behind the last token that is no comment. `end` is behind its semicolon. */
export type Statement = { from: number; to: number; end: number };

export function statements(text: string): Statement[] {
  const found: Statement[] = [];
  let open: Statement | undefined;
  for (const token of tokens(text)) {
    if (token.kind === "comment") continue;
    if (token.kind === "semicolon") {
      if (open !== undefined) open.end = token.to;
      open = undefined;
      continue;
    }
    if (open === undefined) {
      open = { from: token.from, to: token.to, end: token.to };
      found.push(open);
    }
    open.to = token.to;
    open.end = token.to;
  }
  return found;
}

/** The statement at the cursor: the one around it, on its line, or else the next one; behind the last one, the last. */
export function statementAt(text: string, position: number): Statement | undefined {
  const all = statements(text);
  const inside = all.find((statement) => position >= statement.from && position <= statement.end);
  if (inside !== undefined) return inside;
  const next = all.find((statement) => statement.from > position);
  const before = all.findLast((statement) => statement.end < position);
  if (before !== undefined && !text.slice(before.end, position).includes("\n")) return before;
  return next ?? before;
}

export function parameterCount(text: string): number {
  return tokens(text).filter((token) => token.kind === "parameter").length;
}

/** Offset of a line and column, both from 1; columns count characters as the server does, not UTF-16 units. */
export function offsetOf(text: string, line: number, column: number): number {
  let start = 0;
  for (let at = 1; at < line; at++) {
    const end = text.indexOf("\n", start);
    if (end < 0) return text.length;
    start = end + 1;
  }
  const end = text.indexOf("\n", start);
  const characters = [...text.slice(start, end < 0 ? text.length : end)];
  return start + characters.slice(0, Math.max(0, column - 1)).join("").length;
}

/** Line and column of an offset, both from 1. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  return { line, column: [...before.slice(before.lastIndexOf("\n") + 1)].length + 1 };
}

/** The words of a message without its `(line [1], column [8])`: the page shows the place in the text itself. */
export function withoutPlace(message: string): string {
  return message.replace(/\s*\((?:at )?line \[\d+\], column \[\d+\]\)/gi, "");
}

export function unquote(name: string): string {
  return name.startsWith('"') ? name.slice(1, name.endsWith('"') && name.length > 1 ? -1 : undefined).replaceAll('""', '"') : name;
}
