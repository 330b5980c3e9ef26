import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exploreHref, parseExplore, type ExploreState } from "./explore";
import { decodeFilters, encodeFilters, toggle, type Filter } from "./filters";

const text = fc.oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.constantFrom("", "~", "a,b;c:d%e", "日本セール 🎏", "%2C", "München", "x&y=z#?", "+ +", "\u0000"));
const filter: fc.Arbitrary<Filter> = fc.record({
  column: text.filter((name) => name !== ""),
  mode: fc.constantFrom("in" as const, "out" as const),
  values: fc.array(fc.option(text, { nil: null }), { minLength: 1, maxLength: 5 }),
});

function roundTrip(state: ExploreState): ExploreState {
  const url = new URL(`http://host/ui${exploreHref(state)}`);
  const path = /^\/ui\/explore\/([^/]+)$/.exec(url.pathname);
  return parseExplore(decodeURIComponent((path as RegExpExecArray)[1] as string), url.search);
}

describe("the address", () => {
  it("holds any filter, whatever characters are in it", () => {
    fc.assert(fc.property(fc.array(filter, { maxLength: 4 }), (filters) => {
      expect(decodeFilters(encodeFilters(filters))).toEqual(filters);
    }));
  });

  it("brings a whole state back", () => {
    fc.assert(fc.property(
      fc.record({
        table: text.filter((name) => name !== "" && !/^\.{1,2}$/.test(name)),
        range: fc.constantFrom({ from: "now-15m", to: "now" }, { from: "all", to: "now" }, { from: "2015-09-12T00:00:00.000Z", to: "2015-09-13T00:00:00.000Z" }, { from: "0", to: "5000" }),
        measures: fc.uniqueArray(text.filter((key) => key !== ""), { maxLength: 6 }),
        filters: fc.array(filter, { maxLength: 3 }),
        live: fc.boolean(),
        asTable: fc.boolean(),
        zone: fc.constantFrom("local" as const, "UTC" as const),
      }),
      (state) => {
        expect(roundTrip(state)).toEqual(state);
      },
    ));
  });

  it("stays readable", () => {
    expect(exploreHref({ table: "demo" })).toBe("/explore/demo");
    expect(encodeFilters([{ column: "country", mode: "in", values: ["DE", "US"] }, { column: "status", mode: "out", values: [null] }])).toBe("country:in:DE,US;status:out:~");
  });

  it("falls back where it cannot be read", () => {
    const state = parseExplore("demo", "?from=yesterday&to=now&f=nonsense;a:near:1;b:in:x&m=%E0%A4%A&tz=Mars");
    expect(state.range).toEqual({ from: "now-15m", to: "now" });
    expect(state.filters).toEqual([{ column: "b", mode: "in", values: ["x"] }]);
    expect(state.zone).toBe("local");
    expect(parseExplore("demo", "?from=now&to=now-15m").range).toEqual({ from: "now-15m", to: "now" });
  });
});

describe("a click on a value", () => {
  const de: Filter = { column: "country", mode: "in", values: ["DE"] };
  it("keeps only it, and a second one lets go", () => {
    expect(toggle([], "country", "DE", "in", false)).toEqual([de]);
    expect(toggle([de], "country", "US", "in", false)).toEqual([{ ...de, values: ["US"] }]);
    expect(toggle([de], "country", "DE", "in", false)).toEqual([]);
  });
  it("collects with Ctrl and excludes with Alt", () => {
    expect(toggle([de], "country", "US", "in", true)).toEqual([{ ...de, values: ["DE", "US"] }]);
    expect(toggle([{ ...de, values: ["DE", "US"] }], "country", "DE", "in", true)).toEqual([{ ...de, values: ["US"] }]);
    expect(toggle([de], "country", null, "out", false)).toEqual([{ column: "country", mode: "out", values: [null] }]);
    expect(toggle([{ column: "country", mode: "out", values: ["DE"] }], "country", "US", "out", false)).toEqual([{ column: "country", mode: "out", values: ["DE", "US"] }]);
  });
  it("keeps the other filters and their order", () => {
    const page: Filter = { column: "page", mode: "in", values: ["/"] };
    expect(toggle([de, page], "country", "US", "in", false)).toEqual([{ ...de, values: ["US"] }, page]);
  });
});
