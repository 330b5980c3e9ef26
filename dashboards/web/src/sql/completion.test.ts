import { describe, expect, it } from "vitest";
import { functionsOf, tablesOf, type Catalog } from "./catalog";
import { suggest } from "./completion";
import { nameSql } from "./words";

const column = (schema: string, table: string, name: string, type: string) => ({ TABLE_SCHEMA: schema, TABLE_NAME: table, COLUMN_NAME: name, DATA_TYPE: type });

const CATALOG: Catalog = {
  tables: tablesOf([
    column("sys", "segments", "segment_id", "VARCHAR"),
    column("druid", "demo", "__time", "TIMESTAMP"), column("druid", "demo", "country", "VARCHAR"), column("druid", "demo", "Odd name", "BIGINT"),
    column("druid", "orders", "price", "DOUBLE"), column("druid", "orders", "country", "VARCHAR"),
  ]),
  functions: functionsOf([
    { ROUTINE_NAME: "COUNT", IS_AGGREGATOR: "YES", SIGNATURES: "COUNT(*)\nCOUNT([DISTINCT] x)" }, { ROUTINE_NAME: "TIME_FLOOR", IS_AGGREGATOR: "NO", SIGNATURES: "TIME_FLOOR(timestamp, period [, origin [, timezone]])" },
    { ROUTINE_NAME: "ODD", IS_AGGREGATOR: "NO", SIGNATURES: null },
    { ROUTINE_NAME: "CURRENT_TIMESTAMP", IS_AGGREGATOR: "NO", SIGNATURES: "CURRENT_TIMESTAMP" }, { ROUTINE_NAME: "UUID", IS_AGGREGATOR: "NO", SIGNATURES: "UUID()" },
  ]),
};

function offered(text: string): { from: number; of: (kind: string) => string[]; labels: string[] } | undefined {
  const position = text.indexOf("|");
  const found = suggest(text.replace("|", ""), position, CATALOG);
  return found === undefined ? undefined : { from: found.from, labels: found.options.map((option) => option.label), of: (kind) => found.options.filter((option) => option.kind === kind).map((option) => option.label) };
}

describe("completion", () => {
  it("offers the columns of the tables of this statement, also before FROM", () => {
    expect(offered("SELECT c| FROM demo")?.of("column")).toEqual(["__time", "country", "Odd name"]);
    expect(offered("SELECT 1 FROM orders; SELECT c| FROM demo")?.of("column")).toEqual(["__time", "country", "Odd name"]);
    expect(offered("SELECT | FROM demo JOIN orders ON 1 = 1")?.of("column")).toEqual(["__time", "country", "Odd name", "price"]);
    expect(offered("SELECT |")?.of("column")).toEqual(["__time", "country", "Odd name", "price"]);
  });

  it("offers tables and schemas behind FROM, JOIN and the comma between them", () => {
    for (const text of ["SELECT * FROM |", "SELECT * FROM de|", "SELECT * FROM demo JOIN |", "SELECT * FROM demo d, |"]) {
      expect(offered(text)?.of("table"), text).toEqual(["demo", "orders"]);
      expect(offered(text)?.of("schema"), text).toEqual(["sys"]);
      expect(offered(text)?.of("column"), text).toEqual([]);
    }
    expect(offered("SELECT a, | FROM demo")?.of("column")).toContain("country");
    expect(offered("WITH top AS (SELECT 1) SELECT * FROM |")?.of("table")).toEqual(["top", "demo", "orders"]);
  });

  it("follows aliases, tables and schemas over a dot", () => {
    expect(offered("SELECT o.| FROM demo d JOIN orders AS o ON d.country = o.country")?.labels).toEqual(["price", "country"]);
    expect(offered("SELECT demo.co| FROM demo")?.labels).toEqual(["__time", "country", "Odd name"]);
    expect(offered("SELECT * FROM sys.|")?.labels).toEqual(["segments"]);
    expect(offered("SELECT segments.| FROM sys.segments")?.labels).toEqual(["segment_id"]);
    expect(offered("SELECT nobody.| FROM demo")?.labels).toEqual([]);
  });

  it("is silent where nothing can be meant", () => {
    expect(offered("SELECT 'co|' FROM demo")).toBeUndefined();
    expect(offered("SELECT 1 -- co|\nFROM demo")).toBeUndefined();
    expect(offered("SELECT 12| FROM demo")).toBeUndefined();
    expect(offered("SELECT 'a'| FROM demo")).toBeDefined();
  });

  it("replaces the word that is being typed, quotes included", () => {
    expect(offered("SELECT coun| FROM demo")?.from).toBe(7);
    expect(offered('SELECT "Odd | FROM demo')?.from).toBe(7);
    expect(offered("SELECT d.c| FROM demo d")?.from).toBe(9);
  });

  it("writes names as SQL needs them, and calls with the cursor inside", () => {
    const option = (text: string, label: string) => suggest(text, text.length, CATALOG)?.options.find((each) => each.label === label);
    expect(option("SELECT ", "Odd name")).toMatchObject({ apply: '"Odd name"', detail: "BIGINT · demo" });
    expect(option("SELECT ", "COUNT")).toMatchObject({ apply: "COUNT()", back: 1, detail: "(*)", info: "COUNT(*)\nCOUNT([DISTINCT] x)" });
    expect(option("SELECT ", "TIME_FLOOR")?.detail).toBe("(timestamp, period [, origin [, timezone]])");
    expect(option("SELECT ", "ODD")).toMatchObject({ apply: "ODD()", back: 1, detail: "(…)" });
    expect(option("SELECT ", "UUID")).toMatchObject({ apply: "UUID()", back: 0 });
    expect(suggest("SELECT ", 7, CATALOG)?.options.find((each) => each.label === "CURRENT_TIMESTAMP" && each.kind === "function")).toMatchObject({ apply: "CURRENT_TIMESTAMP", back: 0 });
    expect([nameSql("country"), nameSql("order"), nameSql('a"b'), nameSql("2x")]).toEqual(["country", '"order"', '"a""b"', '"2x"']);
  });
});
