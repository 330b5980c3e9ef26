import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { offsetOf, parameterCount, placeOf, statementAt, statements, tokens, unquote, withoutPlace } from "./text";

const at = (text: string) => {
  const position = text.indexOf("|");
  const clean = text.replace("|", "");
  const found = statementAt(clean, position);
  return found === undefined ? undefined : clean.slice(found.from, found.to);
};

describe("the text of a query", () => {
  it("knows strings, names, comments and parameters", () => {
    expect(tokens(`SELECT "a ""?""", 'it''s ?', 1.5e3 -- ?\nFROM t /* ; ? */ WHERE x=?`).map((token) => `${token.kind} ${token.text}`)).toEqual([
      "word SELECT", 'quoted "a ""?"""', "symbol ,", "string 'it''s ?'", "symbol ,", "number 1.5e3", "comment -- ?", "word FROM", "word t", "comment /* ; ? */", "word WHERE", "word x", "symbol =", "parameter ?",
    ]);
    expect(parameterCount("SELECT ?, '?', \"?\" -- ?\n FROM t WHERE a = ? /* ? */ AND b > ?")).toBe(3);
  });

  it("covers every character that is no space, whatever the text", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
      let end = 0;
      for (const token of tokens(text)) {
        expect(text.slice(end, token.from).trim()).toBe("");
        expect(token.to).toBeGreaterThan(token.from);
        end = token.to;
      }
      expect(text.slice(end).trim()).toBe("");
    }));
  });

  it("parts statements at semicolons outside of strings and comments", () => {
    const text = "SELECT ';' -- ;\n;\n\n-- about b\nSELECT 2;;\nSELECT 3";
    expect(statements(text).map((each) => text.slice(each.from, each.to))).toEqual(["SELECT ';'", "SELECT 2", "SELECT 3"]);
    expect(statements(" -- nothing\n ; ")).toEqual([]);
  });

  it("finds the statement at the cursor", () => {
    expect(at("SEL|ECT 1; SELECT 2")).toBe("SELECT 1");
    expect(at("SELECT 1;| SELECT 2")).toBe("SELECT 1");
    expect(at("SELECT 1; |SELECT 2")).toBe("SELECT 2");
    expect(at("SELECT 1;  | -- done\nSELECT 2")).toBe("SELECT 1");
    expect(at("SELECT 1;\n|\nSELECT 2")).toBe("SELECT 2");
    expect(at("SELECT 1;\nSELECT 2;\n\n|")).toBe("SELECT 2");
    expect(at("|-- why\nSELECT 1")).toBe("SELECT 1");
    expect(at("  |  ")).toBeUndefined();
  });

  it("counts lines and characters as the server does", () => {
    const text = "SELECT '🚋', x\nFROM t";
    expect(text.slice(offsetOf(text, 1, 13))).toBe("x\nFROM t");
    expect(text.slice(offsetOf(text, 2, 6))).toBe("t");
    expect(placeOf(text, text.indexOf("x"))).toEqual({ line: 1, column: 13 });
    expect(offsetOf(text, 9, 1)).toBe(text.length);
    expect(offsetOf(text, 2, 99)).toBe(text.length);
  });

  it("leaves the place out of a message, and quotes out of a name", () => {
    expect(withoutPlace("Column 'contry' not found in any table (line [1], column [8])")).toBe("Column 'contry' not found in any table");
    expect(withoutPlace("Received an unexpected token [x] (line [1], column [31]), acceptable options: [the end]")).toBe("Received an unexpected token [x], acceptable options: [the end]");
    expect(unquote('"a ""b"""')).toBe('a "b"');
    expect(unquote('"open')).toBe("open");
  });
});
