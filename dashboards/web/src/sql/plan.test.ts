import { describe, expect, it } from "vitest";
import { detailWords, planTree, readPlan, splitDetails, stepWords } from "./plan";

const LINES = [
  "ProjectionExec: expr=[country@0 as country, count(Int64(1))@1 as n]",
  "  SortExec: TopK(fetch=5), expr=[n@1 DESC NULLS LAST, country@0 ASC], preserve_partitioning=[false]",
  "    HashJoinExec: mode=CollectLeft, on=[(a@0, b@0)]",
  "      FragmentExec: table=demo, segments=1, columns=[country, status]",
  "      FragmentExec: table=orders, segments=2, columns=[], predicate=latency_ms > 500.0 AND city = 'a, b=c'",
];

describe("plans", () => {
  it("are trees by their indentation", () => {
    const [root, ...others] = planTree(LINES);
    expect(others).toEqual([]);
    const join = root?.children[0]?.children[0];
    expect([root?.name, root?.children[0]?.name, join?.name, join?.children.map((child) => child.name)]).toEqual(["ProjectionExec", "SortExec", "HashJoinExec", ["FragmentExec", "FragmentExec"]]);
  });

  it("keep details whole whose commas are inside brackets, conditions or texts", () => {
    expect(splitDetails(" TopK(fetch=5), expr=[n@1 DESC, c@0 ASC], preserve_partitioning=[false]")).toEqual([
      { key: "", value: "TopK(fetch=5)" }, { key: "expr", value: "[n@1 DESC, c@0 ASC]" }, { key: "preserve_partitioning", value: "[false]" },
    ]);
    expect(splitDetails(" table=t, predicate=a > 1 AND b = 'x, y=z'")).toEqual([{ key: "table", value: "t" }, { key: "predicate", value: "a > 1 AND b = 'x, y=z'" }]);
    expect(splitDetails(" CAST(status@1 AS Int64) >= 500, projection=[country@0]")[0]).toEqual({ key: "", value: "CAST(status@1 AS Int64) >= 500" });
  });

  it("show details without the planner's notation", () => {
    const words = (key: string, value: string) => detailWords({ key, value });
    expect(words("gby", "[country@0 as country]")).toEqual({ key: "group by", value: "country" });
    expect(words("expr", '[time_floor(demo.__time,Utf8("PT1M"),NULL,Utf8("Europe/Zurich"))@0 as t, count(Int64(1))@1 as n]')).toEqual({ key: "", value: "time_floor(demo.__time,'PT1M',NULL,'Europe/Zurich') as t, count(1) as n" });
    expect(words("predicate", "mail = 'a@1' AND latency_ms > 500.0")).toEqual({ key: "predicate", value: "mail = 'a@1' AND latency_ms > 500.0" });
    expect(words("preserve_partitioning", "[false]")).toBeUndefined();
    expect(words("aggr", "[]")).toBeUndefined();
  });

  it("are read from the server's row, and shown raw when they are of another kind", () => {
    const plan = readPlan({ PLAN: JSON.stringify([{ query: { plan: LINES } }]), RESOURCES: '[{"name":"demo","type":"DATASOURCE"},{"name":"x","type":"VIEW"}]' });
    expect([plan.steps.length, plan.tables]).toEqual([1, ["demo"]]);
    expect(readPlan({ PLAN: "no json" })).toEqual({ steps: [], raw: "no json", tables: [] });
    expect(readPlan({ PLAN: '{"a":1}' }).raw).toBe('{\n  "a": 1\n}');
    expect([stepWords("FragmentExec"), stepWords("SomethingNewExec")]).toEqual(["Read rows", "SomethingNew"]);
  });
});
