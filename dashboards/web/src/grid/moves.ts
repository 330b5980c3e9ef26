// Where the keys lead in a grid. Row -1 is the header, so that sorting and widths can be reached without a mouse.
import type { Area } from "./cells";

export type Place = { row: number; column: number };
export type Selection = { /** Where the selection began. */ anchor: Place; /** Where it ends; the active cell. */ active: Place };
export type Extent = { rows: number; columns: number; page: number };

const HEADER = -1;

/** The next place for a key, or undefined for a key that moves nothing. */
export function moved(at: Place, key: string, control: boolean, extent: Extent): Place | undefined {
  const lastRow = Math.max(HEADER, extent.rows - 1);
  const lastColumn = Math.max(0, extent.columns - 1);
  const to = (row: number, column: number): Place => ({ row: Math.min(lastRow, Math.max(HEADER, row)), column: Math.min(lastColumn, Math.max(0, column)) });
  switch (key) {
    case "ArrowUp": return control ? to(Math.min(0, lastRow), at.column) : to(at.row - 1, at.column);
    case "ArrowDown": return control ? to(lastRow, at.column) : to(at.row + 1, at.column);
    case "ArrowLeft": return control ? to(at.row, 0) : to(at.row, at.column - 1);
    case "ArrowRight": return control ? to(at.row, lastColumn) : to(at.row, at.column + 1);
    case "Home": return control ? to(0, 0) : to(at.row, 0);
    case "End": return control ? to(lastRow, lastColumn) : to(at.row, lastColumn);
    case "PageUp": return to(Math.max(0, at.row - extent.page), at.column);
    case "PageDown": return to(at.row + extent.page, at.column);
    default: return undefined;
  }
}

/** The cells of a selection; from the header down it is the whole column. */
export function areaOf(selection: Selection, extent: Pick<Extent, "rows" | "columns">): Area | undefined {
  const { anchor, active } = selection;
  if (extent.rows === 0 || extent.columns === 0) return undefined;
  const header = anchor.row === HEADER && active.row === HEADER;
  const top = header ? 0 : Math.max(0, Math.min(anchor.row, active.row));
  const bottom = header ? extent.rows - 1 : Math.max(anchor.row, active.row);
  return {
    top: Math.min(top, extent.rows - 1), bottom: Math.min(bottom, extent.rows - 1),
    left: Math.min(anchor.column, active.column, extent.columns - 1), right: Math.min(Math.max(anchor.column, active.column), extent.columns - 1),
  };
}

/** The first and last index that a window over equal steps shows, with some beyond its edges. */
export function shownRows(scroll: number, height: number, step: number, count: number, over: number): [number, number] {
  const first = Math.max(0, Math.floor(scroll / step) - over);
  return [first, Math.min(count - 1, Math.ceil((scroll + height) / step) + over)];
}

/** The same over steps of different size: `starts` has one entry more than there are columns. */
export function shownColumns(scroll: number, width: number, starts: readonly number[]): [number, number] {
  const count = starts.length - 1;
  let first = 0;
  while (first < count - 1 && (starts[first + 1] as number) <= scroll) first++;
  let last = first;
  while (last < count - 1 && (starts[last + 1] as number) < scroll + width) last++;
  return [first, last];
}
