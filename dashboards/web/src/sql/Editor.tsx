// The editor. CodeMirror keeps the text while it is typed; the tab gets it with each change.
import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, closeCompletion, completionKeymap, type Completion, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, toggleComment } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { Compartment, EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
import { Decoration, drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers, placeholder, type DecorationSet } from "@codemirror/view";
import { useEffect, useImperativeHandle, useRef, type Ref } from "react";
import type { Catalog } from "./catalog";
import { suggest, type Suggestion } from "./completion";
import { editorLook, sqlLanguage } from "./language";

export type Mark = { from: number; to: number };

export type EditorHandle = {
  /** Writes at the cursor, in place of what is selected. */
  insert(text: string): void;
  replace(mark: Mark, text: string): void;
  select(from: number, to?: number): void;
  selection(): Mark;
  focus(): void;
};

type Props = {
  /** Changes when another text is to be shown. */
  id: string;
  text: string;
  cursor: number;
  catalog: Catalog;
  /** Where the server found a mistake. */
  mark: Mark | undefined;
  describedBy: string;
  onChange: (text: string, cursor: number) => void;
  onRun: () => void;
  handle: Ref<EditorHandle>;
};

const setMark = StateEffect.define<Mark | undefined>();
const markField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let next = marks.map(transaction.changes);
    // What is corrected is no mistake any more, or one that the server has to find again.
    if (transaction.docChanged) next = next.update({ filter: (from, to) => !transaction.changes.touchesRange(from, to) });
    for (const effect of transaction.effects) {
      if (!effect.is(setMark)) continue;
      const { value } = effect;
      const length = transaction.newDoc.length;
      const to = Math.min(length, value?.to ?? 0);
      const from = Math.min(value?.from ?? 0, Math.max(0, to - 1));
      next = value === undefined || to <= from ? Decoration.none : Decoration.set(Decoration.mark({ class: "cm-error" }).range(from, to));
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const KIND_LETTERS: Record<Suggestion["kind"], string> = { column: "C", function: "ƒ", keyword: "K", table: "T", schema: "S" };

function completion(option: Suggestion): Completion {
  return {
    label: option.label, detail: option.detail, type: option.kind, boost: option.rank, ...(option.info === undefined ? {} : { info: option.info }),
    apply: (view, _, from, to) => view.dispatch({
      changes: { from, to, insert: option.apply }, selection: { anchor: from + option.apply.length - option.back }, userEvent: "input.complete", scrollIntoView: true,
    }),
  };
}

function completions(context: CompletionContext, catalog: Catalog): CompletionResult | null {
  const found = suggest(context.state.doc.toString(), context.pos, catalog);
  if (found === undefined) return null;
  const typed = context.pos - found.from;
  const dot = context.state.sliceDoc(found.from - 1, found.from) === ".";
  if (typed === 0 && !dot && !context.explicit) return null;
  return { from: found.from, options: found.options.map(completion), validFor: /^"?[\p{L}\p{N}_$]*$/u };
}

/**
 * Typing over a selection is done here: the browser would give the new text the colours of the old one as inline styles, which the
 * policy forbids.
 */
function replaceSelected(event: InputEvent, view: EditorView): boolean {
  const { data, inputType } = event;
  const selection = view.contentDOM.ownerDocument.getSelection();
  // The selection of the document, which can be ahead of the editor's.
  const range = event.getTargetRanges()[0] ?? (selection !== null && selection.rangeCount > 0 ? selection.getRangeAt(0) : undefined);
  if (inputType !== "insertText" || data === null || range === undefined || range.collapsed || view.composing || !view.contentDOM.contains(range.startContainer)) return false;
  const from = view.posAtDOM(range.startContainer, range.startOffset);
  const to = view.posAtDOM(range.endContainer, range.endOffset);
  event.preventDefault();
  const insert = () => view.state.update({ changes: { from, to, insert: data }, selection: { anchor: from + data.length }, userEvent: "input.type", scrollIntoView: true });
  if (!view.state.facet(EditorView.inputHandler).some((handler) => handler(view, from, to, data, insert))) view.dispatch(insert());
  return true;
}

/** React Aria and this editor write style sheets of their own; the policy lets them through by the nonce of the response. */
function nonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? "";
}

export function Editor(props: Props) {
  const { id, text, cursor, catalog, mark, handle } = props;
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const states = useRef(new Map<string, EditorState>());
  const shown = useRef<string>(undefined);
  const language = useRef(new Compartment());
  const latest = useRef(props);
  latest.current = props;

  const make = (doc: string, at: number): EditorState => EditorState.create({
    doc, selection: { anchor: Math.min(at, doc.length) },
    extensions: [
      EditorView.cspNonce.of(nonce()),
      lineNumbers(), history(), drawSelection(), bracketMatching(), closeBrackets(), highlightActiveLine(), highlightActiveLineGutter(), markField,
      EditorState.allowMultipleSelections.of(true), EditorView.lineWrapping,
      placeholder("SELECT … — Ctrl+Space completes, Ctrl+Enter runs"),
      autocompletion({
        override: [(context) => completions(context, latest.current.catalog)], icons: false, maxRenderedOptions: 80, interactionDelay: 0,
        addToOptions: [{ position: 10, render: (option) => {
          const kind = document.createElement("span");
          kind.className = "cm-kind";
          kind.dataset.kind = option.type ?? "";
          kind.textContent = KIND_LETTERS[option.type as Suggestion["kind"]] ?? "";
          kind.setAttribute("aria-hidden", "true");
          return kind;
        } }],
      }),
      language.current.of(sqlLanguage(latest.current.catalog.functions.map((each) => each.name))),
      editorLook,
      Prec.highest(keymap.of([
        { key: "Mod-Enter", run: (editor) => { closeCompletion(editor); latest.current.onRun(); return true; } },
        { key: "Mod-/", run: toggleComment },
      ])),
      keymap.of([{ key: "Tab", run: acceptCompletion }, ...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
      EditorView.contentAttributes.of({ "aria-label": "SQL editor", "aria-describedby": latest.current.describedBy, spellcheck: "false", autocapitalize: "off", autocorrect: "off" }),
      EditorView.domEventHandlers({ beforeinput: replaceSelected }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged || update.selectionSet) latest.current.onChange(update.state.doc.toString(), update.state.selection.main.head);
      }),
    ],
  });

  useEffect(() => {
    if (box.current === null) return;
    const made = new EditorView({ parent: box.current, state: make("", 0) });
    view.current = made;
    return () => {
      made.destroy();
      view.current = undefined;
      shown.current = undefined;
    };
  }, []);

  // Another tab: its text with its own undo history. The same tab with another text: that was changed from outside.
  useEffect(() => {
    const editor = view.current;
    if (editor === undefined) return;
    if (shown.current !== id) {
      if (shown.current !== undefined) states.current.set(shown.current, editor.state);
      const known = states.current.get(id);
      editor.setState(known !== undefined && known.doc.toString() === text ? known : make(text, cursor));
      editor.dispatch({ effects: language.current.reconfigure(sqlLanguage(catalog.functions.map((each) => each.name))) });
      shown.current = id;
    } else if (editor.state.doc.toString() !== text) {
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text }, selection: { anchor: Math.min(cursor, text.length) } });
    }
  }, [id, text]);

  const functions = catalog.functions;
  useEffect(() => {
    view.current?.dispatch({ effects: language.current.reconfigure(sqlLanguage(functions.map((each) => each.name))) });
  }, [functions]);

  useEffect(() => {
    view.current?.dispatch({ effects: setMark.of(mark) });
  }, [id, mark?.from, mark?.to]);

  useImperativeHandle(handle, () => ({
    insert(words) {
      const editor = view.current;
      if (editor === undefined) return;
      editor.dispatch(editor.state.replaceSelection(words), { scrollIntoView: true });
      editor.focus();
    },
    replace({ from, to }, words) {
      view.current?.dispatch({ changes: { from, to, insert: words }, selection: { anchor: from + words.length }, scrollIntoView: true });
      view.current?.focus();
    },
    select(from, to = from) {
      const length = view.current?.state.doc.length ?? 0;
      view.current?.dispatch({ selection: { anchor: Math.min(from, length), head: Math.min(to, length) }, scrollIntoView: true });
      view.current?.focus();
    },
    selection() {
      const range = view.current?.state.selection.main;
      return { from: range?.from ?? 0, to: range?.to ?? 0 };
    },
    focus: () => view.current?.focus(),
  }), []);

  return <div ref={box} style={{ height: "100%" }} data-testid="sql-editor" />;
}
