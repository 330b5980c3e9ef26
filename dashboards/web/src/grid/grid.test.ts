// Results as the grid holds them: read from Arrow bytes in any pieces, sorted, moved over, copied.
import { bool, float64, int64, tableFromArrays, tableToIPC, timestamp, utf8 } from "@uwdata/flechette";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ArrowReader, readStream, type Chunk, type Exact, type Field } from "../api/arrow";
import { withoutLastLine } from "../api/sql";
import { barsOf, choose, linesOf } from "../sql/chart";
import { copyArea, shownTime, uniqueNames } from "./cells";
import { areaOf, moved, shownColumns, shownRows } from "./moves";
import { orderBy, Rows } from "./rows";

const TIMES = [1_772_445_600_000, 1_772_445_660_500, null];
const STREAM = tableToIPC(
  tableFromArrays(
    { t: TIMES, name: ["Zürich 🚋", "", null], n: [9_007_199_254_740_993n, -1n, null], x: [1.5, NaN, null], ok: [true, false, null] },
    { types: { t: timestamp(1), name: utf8(), n: int64(), x: float64(), ok: bool() } },
  ),
  { format: "stream" },
) as Uint8Array;

function rowsOf(fields: readonly Field[], table: readonly (readonly Exact[])[], limit?: number): Rows {
  const rows = new Rows(fields, limit);
  for (let at = 0; at < table.length; at += 2) {
    const part = table.slice(at, at + 2);
    rows.add({ rowCount: part.length, columns: fields.map((_, column) => ({ at: (row) => part[row]?.[column] ?? null })) });
  }
  return rows;
}

const text = (name: string): Field => ({ name, kind: "text" });
const whole = (name: string): Field => ({ name, kind: "integer" });
const time = (name: string): Field => ({ name, kind: "time" });

describe("an Arrow stream", () => {
  const values = (fields: readonly Field[], chunks: readonly Chunk[]) => {
    const rows = new Rows(fields);
    for (const chunk of chunks) rows.add(chunk);
    return Array.from({ length: rows.rowCount }, (_, row) => fields.map((_, column) => rows.cell(row, column)));
  };
  const EXPECTED = [[TIMES[0], "Zürich 🚋", 9_007_199_254_740_993n, 1.5, true], [TIMES[1], "", -1n, NaN, false], [null, null, null, null, null]];

  it("keeps types, nulls and every digit", () => {
    const { fields, chunks } = readStream([STREAM]);
    expect(fields.map((field) => field.kind)).toEqual(["time", "text", "integer", "number", "boolean"]);
    expect(values(fields, chunks)).toEqual(EXPECTED);
  });

  it("is the same in pieces of any size, and again from its kept messages", () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1, maxLength: 40 }), (sizes) => {
      const reader = new ArrowReader();
      const chunks: Chunk[] = [];
      for (let at = 0, turn = 0; at < STREAM.length; turn++) {
        const size = sizes[turn % sizes.length] as number;
        chunks.push(...reader.push(STREAM.subarray(at, at + size)));
        at += size;
      }
      expect(reader.ended).toBe(true);
      expect(values(reader.fields ?? [], chunks)).toEqual(EXPECTED);
      const again = readStream(reader.messages);
      expect(values(again.fields, again.chunks)).toEqual(EXPECTED);
    }));
  });

  it("shows when it was cut, and refuses what is none", () => {
    const reader = new ArrowReader();
    reader.push(STREAM.subarray(0, STREAM.length - 9));
    expect(reader.ended).toBe(false);
    expect(() => new ArrowReader().push(new TextEncoder().encode('{"error":"no arrow here"}'))).toThrow(/not an Arrow stream/);
  });
});

describe("rows", () => {
  const rows = rowsOf([text("a"), whole("n")], [["x", 3n], ["y", null], [null, 10n], ["x", 2n], ["z", -1n]]);

  it("stop at the limit and say that there were more", () => {
    const cut = rowsOf([text("a")], [["1"], ["2"], ["3"], ["4"]], 3);
    expect([cut.rowCount, cut.more, cut.cell(2, 0)]).toEqual([3, true, "3"]);
    const exact = rowsOf([text("a")], [["1"], ["2"]], 2);
    expect([exact.rowCount, exact.more]).toEqual([2, false]);
  });

  it("sort by numbers as numbers, stable, NULL last either way", () => {
    expect([...orderBy(rows, { column: 1, descending: false })]).toEqual([4, 3, 0, 2, 1]);
    expect([...orderBy(rows, { column: 1, descending: true })]).toEqual([2, 0, 3, 4, 1]);
    expect([...orderBy(rows, { column: 0, descending: false })]).toEqual([0, 3, 1, 4, 2]);
    const odd = rowsOf([{ name: "x", kind: "number" }], [[2], [NaN], [1], [null], [-Infinity]]);
    expect([...orderBy(odd, { column: 0, descending: false })]).toEqual([4, 2, 0, 1, 3]);
  });
});

describe("copying", () => {
  const fields = [text("a,b"), whole("n"), time("t"), text("a,b")];
  const rows = rowsOf(fields, [['say "hi"\tthere', 9_007_199_254_740_993n, 1_772_445_600_000, ""], [null, null, null, "line\nbreak"]]);
  const all = { top: 0, bottom: 1, left: 0, right: 3 };

  it("tells NULL from the empty text in CSV and keeps every digit", () => {
    expect(copyArea(rows, undefined, all, "csv", "UTC", true)).toBe('"a,b",n,t,"a,b"\n"say ""hi""\tthere",9007199254740993,2026-03-02T10:00:00.000Z,""\n,,,"line\nbreak"');
  });

  it("quotes tabs and lines for a spreadsheet", () => {
    expect(copyArea(rows, undefined, all, "tsv", "UTC", false)).toBe('"say ""hi""\tthere"\t9007199254740993\t2026-03-02T10:00:00.000Z\t\n\t\t\t"line\nbreak"');
  });

  it("writes JSON that reads back, with names that are all there", () => {
    const json = copyArea(rows, undefined, all, "json", "UTC", false);
    expect(json).toContain('"n": 9007199254740993');
    expect(JSON.parse(json)).toEqual([
      { "a,b": 'say "hi"\tthere', n: 9_007_199_254_740_992, t: "2026-03-02T10:00:00.000Z", "a,b_2": "" },
      { "a,b": null, n: null, t: null, "a,b_2": "line\nbreak" },
    ]);
    expect(uniqueNames(["a", "a", "a_2", "a"])).toEqual(["a", "a_2", "a_2_2", "a_3"]);
  });

  it("copies one cell bare, in the order that is shown, in the zone that is shown", () => {
    const cell = { top: 0, bottom: 0, left: 3, right: 3 };
    expect(copyArea(rows, Uint32Array.of(1, 0), cell, "tsv", "UTC", false)).toBe("line\nbreak");
    expect(copyArea(rows, undefined, { top: 0, bottom: 0, left: 2, right: 2 }, "tsv", "local", false)).toBe("2026-03-02T11:00:00.000+01:00");
    expect([shownTime(1_772_445_600_000, "UTC"), shownTime(1_772_445_600_500, "local"), shownTime(1e17, "UTC")]).toEqual(["2026-03-02 10:00:00", "2026-03-02 11:00:00.500", "100000000000000000"]);
  });

  it("makes ten thousand cells in no time", () => {
    const wide = rowsOf([whole("a"), whole("b")], Array.from({ length: 5_000 }, (_, row) => [BigInt(row), BigInt(-row)]));
    const lines = copyArea(wide, undefined, { top: 0, bottom: 4_999, left: 0, right: 1 }, "tsv", "UTC", false).split("\n");
    expect([lines.length, lines[4_999]]).toEqual([5_000, "4999\t-4999"]);
  });
});

describe("moving", () => {
  const extent = { rows: 100, columns: 4, page: 10 };

  it("stays inside and reaches the header", () => {
    expect(moved({ row: 0, column: 0 }, "ArrowUp", false, extent)).toEqual({ row: -1, column: 0 });
    expect(moved({ row: -1, column: 0 }, "ArrowUp", false, extent)).toEqual({ row: -1, column: 0 });
    expect(moved({ row: 95, column: 3 }, "PageDown", false, extent)).toEqual({ row: 99, column: 3 });
    expect(moved({ row: 5, column: 1 }, "End", true, extent)).toEqual({ row: 99, column: 3 });
    expect(moved({ row: 5, column: 1 }, "Home", false, extent)).toEqual({ row: 5, column: 0 });
    expect(moved({ row: -1, column: 2 }, "ArrowDown", true, { ...extent, rows: 0 })).toEqual({ row: -1, column: 2 });
    expect(moved({ row: 5, column: 1 }, "x", false, extent)).toBeUndefined();
  });

  it("selects rectangles, and whole columns from the header", () => {
    expect(areaOf({ anchor: { row: 7, column: 3 }, active: { row: 2, column: 1 } }, extent)).toEqual({ top: 2, bottom: 7, left: 1, right: 3 });
    expect(areaOf({ anchor: { row: -1, column: 2 }, active: { row: -1, column: 2 } }, extent)).toEqual({ top: 0, bottom: 99, left: 2, right: 2 });
    expect(areaOf({ anchor: { row: 50, column: 0 }, active: { row: 50, column: 0 } }, { rows: 3, columns: 1 })).toEqual({ top: 2, bottom: 2, left: 0, right: 0 });
    expect(areaOf({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } }, { rows: 0, columns: 1 })).toBeUndefined();
  });

  it("draws what is in sight", () => {
    expect(shownRows(2_600, 260, 26, 100_000, 2)).toEqual([98, 112]);
    expect(shownRows(0, 260, 26, 3, 2)).toEqual([0, 2]);
    expect(shownColumns(150, 100, [0, 100, 200, 300, 400])).toEqual([1, 2]);
    expect(shownColumns(0, 1_000, [0, 100])).toEqual([0, 0]);
  });
});

describe("the chart of a result", () => {
  const rows = rowsOf([time("t"), text("c"), whole("n"), whole("m")], [[10, "a", 1n, 5n], [10, "b", 7n, 6n], [20, "a", 3n, null], [20, null, 1n, 2n]]);

  it("splits by the text column when times repeat, and otherwise draws each number", () => {
    expect(choose(rows, {})).toEqual({ kind: "lines", x: 0, ys: [2], split: 1 });
    expect(choose(rows, { split: null, ys: [3, 2] })).toEqual({ kind: "lines", x: 0, ys: [3, 2], split: undefined });
    expect(choose(rows, { x: 1 })).toEqual({ kind: "bars", x: 1, ys: [2] });
    expect(choose(rows, { x: 3, ys: [9] })).toMatchObject({ kind: "lines", x: 0, ys: [2] });
    const single = rowsOf([time("t"), text("c"), whole("n")], [[10, "a", 1n], [20, "a", 1n]]);
    expect(choose(single, {})).toEqual({ kind: "lines", x: 0, ys: [2], split: undefined });
  });

  it("says why there is none", () => {
    expect(choose(rowsOf([text("a")], [["x"]]), {})).toMatchObject({ kind: "none", why: expect.stringMatching(/numbers/) });
    expect(choose(rowsOf([whole("a")], [[1n]]), {})).toMatchObject({ kind: "none", why: expect.stringMatching(/time column or a text/) });
    expect(choose(rowsOf([time("t"), whole("a")], []), {})).toMatchObject({ kind: "none", why: expect.stringMatching(/no rows/) });
  });

  it("makes lines with gaps, the largest first, and sums rows that meet", () => {
    const split = linesOf(rows, { kind: "lines", x: 0, ys: [2], split: 1 });
    expect([...split.t]).toEqual([10, 20]);
    expect(split.lines.map((line) => [line.name, [...line.values]])).toEqual([["b", [7, NaN]], ["a", [1, 3]], ["null", [NaN, 1]]]);
    const sums = linesOf(rows, { kind: "lines", x: 0, ys: [2, 3], split: undefined });
    expect(sums.lines.map((line) => [line.name, [...line.values]])).toEqual([["n", [8, 4]], ["m", [11, 2]]]);
    expect(barsOf(rows, { kind: "bars", x: 1, ys: [3] }, Uint32Array.of(3, 2, 1, 0))).toEqual([{ label: "null", value: 2 }, { label: "a", value: NaN }, { label: "b", value: 6 }, { label: "a", value: 5 }]);
  });
});

describe("an export", () => {
  const through = async (...pieces: string[]) => {
    const source = new ReadableStream<Uint8Array<ArrayBuffer>>({ start(controller) { for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece)); controller.close(); } });
    return new Response(source.pipeThrough(withoutLastLine(() => undefined))).text();
  };

  it("leaves out the empty line at the end, wherever the pieces part", async () => {
    expect(await through("a,b\n1,2\n\n")).toBe("a,b\n1,2\n");
    expect(await through("a,b\n1,2", "\n", "\n")).toBe("a,b\n1,2\n");
  });

  it("fails when the end is missing", async () => {
    await expect(through("a,b\n1,")).rejects.toThrow(/cut short/);
  });
});
