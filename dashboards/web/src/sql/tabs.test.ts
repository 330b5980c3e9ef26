import { describe, expect, it } from "vitest";
import { addToHistory, HISTORY_MAX, searchWords } from "./history";
import { parseShare, shareHref } from "./share";
import type { HistoryEntry } from "./store";
import { afterClosing, bind, fitParameters, freeName, newTab, readTab, type ParameterInput, type Tab } from "./tabs";

const tab = (id: string, name: string): Tab => newTab([], id, { name });

describe("tabs", () => {
  it("take the first free name and the last place", () => {
    const tabs = [tab("a", "Query 1"), { ...tab("b", "Query 3"), order: 7 }];
    expect(freeName(tabs)).toBe("Query 2");
    expect(newTab(tabs, "c")).toMatchObject({ name: "Query 2", order: 8, limit: 10_000, zone: "local", view: "table" });
  });

  it("leave their place to the neighbour when they close", () => {
    const tabs = [tab("a", "A"), tab("b", "B"), tab("c", "C")];
    expect([afterClosing(tabs, "a"), afterClosing(tabs, "b"), afterClosing(tabs, "c"), afterClosing([tab("a", "A")], "a")]).toEqual(["b", "c", "b", undefined]);
  });

  it("come back from storage as they were, and survive a record that is not theirs", () => {
    const kept: Tab = { ...tab("a", "slow p99"), text: "SELECT ?", cursor: 3, parameters: [{ type: "BIGINT", text: "7", isNull: false }], limit: 100, zone: "UTC", view: "chart", chart: { x: 1, split: null }, order: 4 };
    expect(readTab(structuredClone(kept))).toEqual(kept);
    expect(readTab({ id: "b", text: "SELECT 1", cursor: 99, limit: 17, view: "profile", parameters: [{ type: "BLOB", text: "" }], chart: null })).toMatchObject({ name: "Query 1", cursor: 8, limit: 10_000, view: "table", parameters: [], chart: {} });
    for (const broken of [undefined, null, 7, {}, { id: 1, text: "" }, { id: "a" }]) expect(readTab(broken)).toBeUndefined();
  });
});

describe("parameters", () => {
  const input = (type: ParameterInput["type"], text: string): ParameterInput => ({ type, text, isNull: false });

  it("follow the number of question marks and keep what was typed", () => {
    expect(fitParameters([input("BIGINT", "1"), input("DATE", "x")], 1)).toEqual([input("BIGINT", "1")]);
    expect(fitParameters([input("BIGINT", "1")], 2)).toEqual([input("BIGINT", "1"), input("VARCHAR", "")]);
  });

  it("are bound exactly, or say what is wrong", () => {
    expect(bind(input("BIGINT", " 9007199254740993 "))).toEqual({ type: "BIGINT", value: "9007199254740993" });
    expect(bind(input("BIGINT", "-9223372036854775808"))).toEqual({ type: "BIGINT", value: "-9223372036854775808" });
    expect(bind(input("BIGINT", "9223372036854775808"))).toEqual({ wrong: "it does not fit into 64 bits" });
    expect(bind(input("BIGINT", "1.5"))).toHaveProperty("wrong");
    expect(bind(input("VARCHAR", " a "))).toEqual({ type: "VARCHAR", value: " a " });
    expect(bind(input("DOUBLE", "1e3"))).toEqual({ type: "DOUBLE", value: "1e3" });
    expect(bind(input("DOUBLE", ""))).toHaveProperty("wrong");
    expect(bind(input("BOOLEAN", "TRUE"))).toEqual({ type: "BOOLEAN", value: true });
    expect(bind(input("TIMESTAMP", "2026-03-02 10:00:00.5"))).toEqual({ type: "TIMESTAMP", value: "2026-03-02 10:00:00.5" });
    expect(bind(input("TIMESTAMP", "yesterday"))).toHaveProperty("wrong");
    expect(bind(input("DATE", "2026-03-02T00:00"))).toHaveProperty("wrong");
    expect(bind({ type: "DATE", text: "what", isNull: true })).toEqual({ type: "DATE", value: null });
  });
});

describe("links", () => {
  it("carry any text there and back", () => {
    for (const text of ["SELECT 1", "SELECT '東京 🗼; a=b&c#d%25' -- +\nFROM \"t\"", ""]) {
      const href = shareHref({ text, zone: "UTC" });
      expect(parseShare(new URL(href, "http://x").search)).toEqual({ text, zone: "UTC" });
    }
    expect(parseShare("?tz=UTC")).toBeUndefined();
    expect(shareHref({ text: "SELECT 1", zone: "local" })).toBe("/sql?q=SELECT+1");
  });
});

describe("history", () => {
  const entry = (id: number, sql: string): HistoryEntry => ({ id, sql, at: id, elapsedMs: 1, rows: 1, outcome: "done", message: "" });

  it("is newest first, holds a repeated statement once, and has an end", () => {
    const first = addToHistory([entry(1, "a")], entry(2, "b"));
    expect(first.list.map((each) => each.id)).toEqual([2, 1]);
    const again = addToHistory(first.list, entry(3, "b"));
    expect([again.list.map((each) => each.id), again.gone.map((each) => each.id)]).toEqual([[3, 1], [2]]);
    const full = Array.from({ length: HISTORY_MAX }, (_, index) => entry(index, `q${index}`));
    const over = addToHistory(full, entry(1_000, "new"));
    expect([over.list.length, over.gone.map((each) => each.id)]).toEqual([HISTORY_MAX, [HISTORY_MAX - 1]]);
  });

  it("is searched by words in any order", () => {
    const list = ["SELECT country FROM demo", "SELECT 1", "select Demo.x"];
    expect(searchWords(list, "demo SELECT", (sql) => sql)).toEqual([list[0], list[2]]);
    expect(searchWords(list, "  ", (sql) => sql)).toEqual(list);
  });
});
