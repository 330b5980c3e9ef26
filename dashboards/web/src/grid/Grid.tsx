// The result grid: only the cells in sight are in the document, whatever the number of rows and columns. One element has the focus;
// `aria-activedescendant` names the active cell, the arrows move it, Shift selects. The header is row -1.
import { useEffect, useImperativeHandle, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent, type Ref } from "react";
import { flushSync } from "react-dom";
import type { Exact, Field } from "../api/arrow";
import { copyText } from "../kit/CopyButton";
import type { Zone } from "../query/range";
import { zoneName } from "../viz/format";
import { copyArea, exactText, shownText, type Area, type CopyFormat } from "./cells";
import { areaOf, moved, shownColumns, shownRows, type Place, type Selection } from "./moves";
import type { Rows, Sort } from "./rows";
import styles from "./grid.module.css";

export type GridHandle = { copy(what: "cell" | "row" | "selection", format: CopyFormat): Promise<{ rows: number; columns: number } | undefined>; focus(): void };

type Props = {
  rows: Rows;
  /** Changes when rows were added to the same result. */
  version: number;
  order: Uint32Array | undefined;
  sort: Sort | undefined;
  zone: Zone;
  label: string;
  onSort: (column: number) => void;
  onOpen: (field: Field, value: Exact) => void;
  onCopied: (message: string) => void;
  handle: Ref<GridHandle>;
};

const ROW = 26;
const HEAD = 30;
const OVER = 8;
const CHARACTER = 7.3;
const WIDTH_MIN = 56;
const WIDTH_MAX = 360;
/** Rows looked at for the first width of a column. */
const SAMPLE = 60;

const KIND_WORDS: Record<Field["kind"], string> = { time: "time", integer: "int", number: "num", boolean: "bool", text: "text" };

export function Grid({ rows, version, order, sort, zone, label, onSort, onOpen, onCopied, handle }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [scroll, setScroll] = useState({ top: 0, left: 0, width: 800, height: 400 });
  const [selection, setSelection] = useState<Selection>({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } });
  const [chosen, setChosen] = useState<ReadonlyMap<number, number>>(new Map());
  const { fields, rowCount } = rows;
  const shape = fields.map((field) => `${field.name}\u0000${field.kind}`).join("\u0001");
  const sampled = rowCount >= SAMPLE;

  // Rows that replace others (a live result) widen a column and never narrow it: nothing should jump under the eye.
  const widest = useRef<{ shape: string; widths: number[] }>({ shape: "", widths: [] });
  const measured = useMemo(() => {
    const before = widest.current.shape === shape + zone ? widest.current.widths : [];
    const widths = fields.map((field, column) => Math.max(before[column] ?? 0, fit(rows, field, column, zone)));
    widest.current = { shape: shape + zone, widths };
    return widths;
  }, [rows, shape, zone, sampled, rowCount === 0]);
  useEffect(() => {
    setChosen(new Map());
    setSelection({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } });
    box.current?.scrollTo(0, 0);
  }, [shape]);

  const gutter = Math.max(44, String(rowCount).length * 8 + 20);
  const starts = useMemo(() => {
    const all = [0];
    measured.forEach((width, column) => all.push((all[column] as number) + (chosen.get(column) ?? width)));
    return all;
  }, [measured, chosen]);
  const total = starts[starts.length - 1] as number;

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const read = () => setScroll({ top: element.scrollTop, left: element.scrollLeft, width: element.clientWidth, height: element.clientHeight });
    // Drawn before the browser paints the new position, so that a fling shows no empty frame.
    const onScroll = () => flushSync(read);
    read();
    element.addEventListener("scroll", onScroll, { passive: true });
    const sizes = new ResizeObserver(read);
    sizes.observe(element);
    return () => {
      element.removeEventListener("scroll", onScroll);
      sizes.disconnect();
    };
  }, []);

  const extent = { rows: rowCount, columns: fields.length, page: Math.max(1, Math.floor((scroll.height - HEAD) / ROW) - 1) };
  const area = areaOf(selection, extent);
  const [firstRow, lastRow] = shownRows(scroll.top, scroll.height - HEAD, ROW, rowCount, OVER);
  const [firstColumn, lastColumn] = shownColumns(scroll.left, scroll.width - gutter, starts);
  const { active } = selection;
  const place = (row: number) => order?.[row] ?? row;
  const visible = active.column >= firstColumn && active.column <= lastColumn && (active.row === -1 || (active.row >= firstRow && active.row <= lastRow));

  const reveal = ({ row, column }: Place) => {
    const element = box.current;
    if (element === null) return;
    const left = starts[column] as number;
    const right = starts[column + 1] as number;
    if (left < element.scrollLeft) element.scrollLeft = left;
    else if (right > element.scrollLeft + element.clientWidth - gutter) element.scrollLeft = Math.min(left, right - element.clientWidth + gutter);
    if (row < 0) return;
    const top = row * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight - HEAD) element.scrollTop = top + ROW - element.clientHeight + HEAD;
  };

  const go = (next: Place, extend: boolean) => {
    setSelection((before) => ({ anchor: extend ? before.anchor : next, active: next }));
    reveal(next);
  };

  const copy = async (what: "cell" | "row" | "selection", format: CopyFormat) => {
    if (area === undefined) return undefined;
    const row = Math.max(0, active.row);
    const wanted: Area = what === "cell" ? { top: row, bottom: row, left: active.column, right: active.column }
      : what === "row" ? { top: area.top, bottom: area.bottom, left: 0, right: fields.length - 1 } : area;
    const text = copyArea(rows, order, wanted, format, zone, format === "csv" && what !== "cell");
    return (await copyText(text)) ? { rows: wanted.bottom - wanted.top + 1, columns: wanted.right - wanted.left + 1 } : undefined;
  };
  useImperativeHandle(handle, () => ({ copy, focus: () => box.current?.focus() }));

  const resize = (column: number, width: number) => setChosen((before) => new Map(before).set(column, Math.max(WIDTH_MIN, Math.round(width))));
  const widthOf = (column: number) => (starts[column + 1] as number) - (starts[column] as number);

  const open = ({ row, column }: Place) => {
    const field = fields[column];
    if (field !== undefined && row >= 0 && row < rowCount) onOpen(field, rows.cell(place(row), column));
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const control = event.ctrlKey || event.metaKey;
    if (event.altKey && event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) resize(active.column, widthOf(active.column) + (event.key === "ArrowLeft" ? -16 : 16));
    else if (event.altKey) return;
    else if (control && event.key.toLowerCase() === "a") setSelection({ anchor: { row: 0, column: 0 }, active: { row: Math.max(0, rowCount - 1), column: fields.length - 1 } });
    else if (control && event.key.toLowerCase() === "c") {
      // Text that was selected elsewhere on the page is not what the person sees selected here.
      void copy("selection", "tsv").then((done) => { if (done !== undefined) onCopied(copiedWords(done)); });
    } else if (event.key === "Enter" || event.key === " ") {
      if (active.row === -1) onSort(active.column);
      else open(active);
    } else {
      const next = moved(active, event.key, control, extent);
      if (next === undefined) return;
      go(next, event.shiftKey);
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const cellAt = (target: Element | null): Place | undefined => {
    const cell = target?.closest<HTMLElement>("[data-row]");
    return cell === null || cell === undefined || !box.current?.contains(cell) ? undefined : { row: Number(cell.dataset.row), column: Number(cell.dataset.column) };
  };
  const onPointerDown = (event: PointerEvent<HTMLDivElement>) => {
    const at = cellAt(event.target as Element);
    if (at === undefined || event.button !== 0) return;
    // On a touch screen a drag is a scroll.
    if (event.pointerType !== "mouse" && event.type === "pointerdown") {
      setSelection({ anchor: at.column < 0 ? { row: at.row, column: 0 } : at, active: at.column < 0 ? { row: at.row, column: fields.length - 1 } : at });
      return;
    }
    box.current?.focus({ preventScroll: true });
    if (at.column < 0) {
      setSelection((before) => ({ anchor: { row: event.shiftKey ? before.anchor.row : at.row, column: 0 }, active: { row: at.row, column: fields.length - 1 } }));
    } else if (at.row >= 0) go(at, event.shiftKey);
  };
  const onPointerMove = (event: PointerEvent<HTMLDivElement>) => {
    if (event.buttons !== 1 || event.pointerType !== "mouse") return;
    const at = cellAt(document.elementFromPoint(event.clientX, event.clientY));
    if (at === undefined || at.row < 0) return;
    const next = at.column < 0 ? { row: at.row, column: fields.length - 1 } : at;
    setSelection((before) => (before.active.row === next.row && before.active.column === next.column ? before : { ...before, active: next }));
  };

  const columns = Array.from({ length: fields.length === 0 ? 0 : lastColumn - firstColumn + 1 }, (_, index) => firstColumn + index);
  const before = starts[firstColumn] ?? 0;
  const inArea = (row: number, column: number) => area !== undefined && row >= area.top && row <= area.bottom && column >= area.left && column <= area.right;

  return (
    <div
      ref={box} className={styles.grid} role="grid" tabIndex={0} aria-label={label} aria-rowcount={rowCount + 1} aria-colcount={fields.length + 1} aria-multiselectable="true"
      aria-activedescendant={visible ? `cell-${active.row}-${active.column}` : undefined} data-version={version} data-testid="grid"
      onKeyDown={onKeyDown} onPointerDown={onPointerDown} onPointerMove={onPointerMove} onDoubleClick={(event) => { const at = cellAt(event.target as Element); if (at !== undefined && at.column >= 0) open(at); }}
    >
      <div role="rowgroup" className={styles.head} style={{ width: total + gutter }}>
        <div role="row" aria-rowindex={1} className={styles.headRow}>
          <div role="columnheader" aria-colindex={1} className={styles.corner} style={{ width: gutter }}><span className="visually-hidden">Row</span></div>
          <div role="presentation" className={styles.space} style={{ width: before }} />
          {columns.map((column) => {
            const field = fields[column] as Field;
            const sorted = sort?.column === column ? (sort.descending ? "descending" : "ascending") : undefined;
            return (
              <div
                key={column} id={`cell--1-${column}`} role="columnheader" aria-colindex={column + 2} aria-sort={sorted ?? "none"} className={styles.headCell} data-kind={field.kind}
                data-active={active.row === -1 && active.column === column ? true : undefined} style={{ width: widthOf(column) }}
                title={`${field.name}\n${field.kind === "time" ? `times in ${zoneName(zone)}` : field.kind}; click sorts the fetched rows`}
                onClick={() => { setSelection({ anchor: { row: -1, column }, active: { row: -1, column } }); onSort(column); }}
              >
                <span className={styles.headName}>{field.name}</span>
                <span className={styles.kind}>{sorted === undefined ? KIND_WORDS[field.kind] : sorted === "ascending" ? "▲" : "▼"}</span>
                <Handle width={widthOf(column)} onResize={(width) => resize(column, width)} onFit={() => resize(column, fit(rows, field, column, zone, 2_000, 900))} />
              </div>
            );
          })}
        </div>
      </div>
      <div role="rowgroup" className={styles.body} style={{ height: rowCount * ROW, width: total + gutter }}>
        {Array.from({ length: Math.max(0, lastRow - firstRow + 1) }, (_, index) => firstRow + index).map((row) => (
          <div key={row} role="row" aria-rowindex={row + 2} className={styles.row} style={{ top: row * ROW, width: total + gutter }} data-odd={row % 2 === 1 || undefined}>
            <div role="rowheader" aria-colindex={1} className={styles.number} data-row={row} data-column={-1} style={{ width: gutter }} data-active={active.row === row || undefined}>{row + 1}</div>
            <div role="presentation" className={styles.space} style={{ width: before }} />
            {columns.map((column) => {
              const field = fields[column] as Field;
              const value = rows.cell(place(row), column);
              return (
                <div
                  key={column} id={`cell-${row}-${column}`} role="gridcell" aria-colindex={column + 2} aria-selected={inArea(row, column)} className={styles.cell} data-row={row} data-column={column}
                  data-kind={field.kind} data-none={value === null || value === "" || undefined} data-active={active.row === row && active.column === column ? true : undefined} style={{ width: widthOf(column) }}
                  title={field.kind === "time" && value !== null ? exactText(value, field, zone) : undefined}
                >
                  {cellWords(value, field, zone)}
                </div>
              );
            })}
          </div>
        ))}
      </div>
    </div>
  );
}

/** NULL and the empty text are two things, and neither is the word for it. */
function cellWords(value: Exact, field: Field, zone: Zone): string {
  if (value === null) return "null";
  if (value === "") return "empty text";
  const text = shownText(value, field, zone);
  // A cell shows the beginning; a line break in it would hide the rest.
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

export function copiedWords({ rows, columns }: { rows: number; columns: number }): string {
  return rows === 1 && columns === 1 ? "Copied the cell." : `Copied ${rows.toLocaleString("en")} ${rows === 1 ? "row" : "rows"} × ${columns} ${columns === 1 ? "column" : "columns"}.`;
}

function fit(rows: Rows, field: Field, column: number, zone: Zone, sample = SAMPLE, most = WIDTH_MAX): number {
  let longest = field.name.length + KIND_WORDS[field.kind].length + 2;
  for (let row = 0; row < Math.min(sample, rows.rowCount); row++) longest = Math.max(longest, cellWords(rows.cell(row, column), field, zone).length);
  return Math.round(Math.min(most, Math.max(WIDTH_MIN, longest * CHARACTER + 24)));
}

/** The right edge of a header: drag for the width, double click for the width of what is in it. Keys: Alt Shift and arrows. */
function Handle({ width, onResize, onFit }: { width: number; onResize: (width: number) => void; onFit: () => void }) {
  const began = useRef<{ x: number; width: number }>(undefined);
  return (
    <div
      className={styles.handle} aria-hidden="true" data-testid="resize"
      onPointerDown={(event) => { began.current = { x: event.clientX, width }; event.currentTarget.setPointerCapture(event.pointerId); event.stopPropagation(); event.preventDefault(); }}
      onPointerMove={(event) => { if (began.current !== undefined) onResize(began.current.width + event.clientX - began.current.x); }}
      onPointerUp={() => (began.current = undefined)}
      onClick={(event) => event.stopPropagation()}
      onDoubleClick={(event) => { event.stopPropagation(); onFit(); }}
    />
  );
}
