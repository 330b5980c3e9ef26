// Colours and grammar of the editor.
import { HighlightStyle, LanguageSupport, StreamLanguage, syntaxHighlighting, type StringStream } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { ATOM_WORDS, KEYWORD_WORDS, TYPE_WORDS } from "./words";

const KEYWORDS = new Set(KEYWORD_WORDS);
const TYPES = new Set(TYPE_WORDS);
const ATOMS = new Set(ATOM_WORDS);

/** What a line begins inside of. */
type Inside = { inside: "comment" | "string" | "quoted" | undefined };

const ENDS = { comment: /^[\s\S]*?\*\//, string: /^(?:[^']|'')*'(?!')/, quoted: /^(?:[^"]|"")*"(?!")/ };
const STYLES = { comment: "comment", string: "string", quoted: "name" };

function rest(stream: StringStream, state: Inside): string | null {
  const { inside } = state;
  if (inside === undefined) return null;
  if (stream.match(ENDS[inside])) state.inside = undefined;
  else stream.skipToEnd();
  return STYLES[inside];
}

function token(stream: StringStream, state: Inside, functions: ReadonlySet<string>): string | null {
  if (state.inside !== undefined) return rest(stream, state);
  if (stream.eatSpace()) return null;
  if (stream.match("--")) {
    stream.skipToEnd();
    return "comment";
  }
  state.inside = stream.match("/*") ? "comment" : stream.match("'") ? "string" : stream.match('"') ? "quoted" : undefined;
  if (state.inside !== undefined) return rest(stream, state);
  if (stream.match(/^\d[\d.]*(?:[eE][+-]?\d+)?/)) return "number";
  if (stream.match(/^[\p{L}_$][\p{L}\p{N}_$]*/u)) {
    const word = stream.current().toLowerCase();
    if (KEYWORDS.has(word)) return "keyword";
    if (TYPES.has(word)) return "typeName";
    if (ATOMS.has(word)) return "number";
    return functions.has(word) ? "variableName.standard" : "name";
  }
  if (stream.match("?")) return "number";
  return stream.match(/^[*+\-%<>!=&|^/]+/) ? "operator" : (stream.next(), null);
}

/**
 * Colours for the words of our dialect. A tokenizer of our own instead of a grammar: the server parses and says what is wrong and
 * where, and the grammar with the dialects of ten other databases would be a seventh of this part of the page.
 */
export function sqlLanguage(functions: readonly string[]): LanguageSupport {
  const known = new Set(functions.map((name) => name.toLowerCase()));
  return new LanguageSupport(StreamLanguage.define<Inside>({
    name: "sql", startState: () => ({ inside: undefined }), copyState: (state) => ({ ...state }), token: (stream, state) => token(stream, state, known),
    languageData: { commentTokens: { line: "--", block: { open: "/*", close: "*/" } }, closeBrackets: { brackets: ["(", "[", "'", '"'] } },
  }));
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--sql-keyword)" },
  { tag: tags.typeName, color: "var(--sql-keyword)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--sql-string)" },
  { tag: tags.special(tags.name), color: "var(--text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--sql-number)" },
  { tag: tags.standard(tags.name), color: "var(--sql-function)" },
  { tag: tags.comment, color: "var(--dim)", fontStyle: "italic" },
  { tag: tags.operator, color: "var(--dim)" },
]);

const look = EditorView.theme({
  "&": { height: "100%", color: "var(--text)", backgroundColor: "var(--panel)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "20px", fontVariantLigatures: "none", overflow: "auto" },
  ".cm-content": { padding: "8px 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 12px 0 6px" },
  ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--dim)", border: "0", paddingLeft: "4px" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--raised) 55%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--sql-selection)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)", outline: "1px solid var(--accent)" },
  ".cm-placeholder": { color: "var(--dim)" },
  ".cm-error": { textDecoration: "underline wavy var(--bad) 1.5px", textUnderlineOffset: "4px", backgroundColor: "var(--bad-soft)" },
  ".cm-tooltip": { border: "1px solid var(--line)", borderRadius: "8px", backgroundColor: "var(--panel)", color: "var(--text)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12px", maxHeight: "280px", minWidth: "300px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { display: "flex", alignItems: "center", gap: "8px", padding: "3px 10px 3px 6px", lineHeight: "20px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-soft)", color: "var(--text)" },
  ".cm-completionLabel": { flex: "none" },
  ".cm-completionMatchedText": { textDecoration: "none", color: "var(--accent)", fontWeight: "600" },
  ".cm-completionDetail": { marginLeft: "auto", paddingLeft: "16px", color: "var(--dim)", fontStyle: "normal", overflow: "hidden", textOverflow: "ellipsis", maxWidth: "260px" },
  ".cm-tooltip.cm-completionInfo": { padding: "6px 10px", fontFamily: "var(--mono)", fontSize: "12px", whiteSpace: "pre-wrap" },
  ".cm-kind": { flex: "none", width: "20px", borderRadius: "4px", backgroundColor: "var(--raised)", color: "var(--dim)", fontSize: "10px", lineHeight: "16px", textAlign: "center" },
  ".cm-kind[data-kind=column]": { color: "var(--sql-string)" },
  ".cm-kind[data-kind=function]": { color: "var(--sql-function)" },
  ".cm-kind[data-kind=keyword]": { color: "var(--sql-keyword)" },
  ".cm-kind[data-kind=table], .cm-kind[data-kind=schema]": { color: "var(--sql-number)" },
});

export const editorLook: Extension = [look, syntaxHighlighting(colours)];
