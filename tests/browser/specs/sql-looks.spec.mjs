// The SQL page for everyone: large results, the keyboard alone, both themes, a phone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage, PHONE, picture } from "../lib/browser.mjs";
import { startDemoServer } from "../lib/routes.mjs";
import { until } from "../lib/server.mjs";
import { cell, clipboard, content, done, grave, openSql as openHere, run } from "../lib/sql.mjs";

let server;
let browser;
before(async () => {
  server = await startDemoServer();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const openSql = (options) => openHere(browser, server, options);

test("100,000 rows appear at once, scroll without a gap and can be copied", async () => {
  const { page, context, faults } = await openSql();
  await until("the table is large enough", async () => (await server.tables()).find((table) => table.name === "demo").rows > 100_000, 120_000);
  await page.getByRole("button", { name: /^Limit/ }).click();
  await page.getByRole("menuitemradio", { name: "100,000 rows", exact: true }).click();
  await run(page, "SELECT * FROM demo", /^first 100,000 rows/);
  const grid = page.getByTestId("grid");
  assert.equal(await grid.getAttribute("aria-rowcount"), "100001");
  const gaps = await grid.evaluate(async (element) => {
    let missing = 0;
    let slowest = 0;
    for (let step = 0; step < 60; step++) {
      const began = performance.now();
      element.scrollTop = Math.min(element.scrollHeight, element.scrollTop + 40_000 + step * 13);
      await new Promise((wake) => requestAnimationFrame(() => wake()));
      slowest = Math.max(slowest, performance.now() - began);
      const first = Math.floor(element.scrollTop / 26);
      const last = Math.floor((element.scrollTop + element.clientHeight - 31) / 26);
      for (const row of [first, last]) if (row < 100_000 && element.querySelector(`[data-row="${row}"]`) === null) missing += 1;
    }
    return { missing, slowest };
  });
  assert.equal(gaps.missing, 0, "rows in sight are in the document at the next frame");
  console.log(`slowest scroll step ${Math.round(gaps.slowest)} ms`);
  await grid.focus();
  await page.keyboard.press("Control+End");
  await cell(page, 99_999, 12).waitFor();
  await page.keyboard.press("Control+Home");
  await cell(page, 0, 0).waitFor();
  await page.keyboard.press("Control+a");
  const began = Date.now();
  await page.keyboard.press("Control+c");
  await until("1.3 million cells are copied", async () => (await page.evaluate(async () => (await navigator.clipboard.readText()).split("\n").length)) === 100_000, 15_000);
  console.log(`copied 100,000 rows in ${Date.now() - began} ms`);
  const sorted = Date.now();
  await page.getByRole("columnheader", { name: /^country/ }).click();
  await page.getByText("among the fetched rows only").waitFor();
  console.log(`sorted 100,000 rows in ${Date.now() - sorted} ms`);
  assert.deepEqual(faults, []);
  await context.close();
});

test("the keyboard alone writes, runs, reads and copies", async () => {
  const { page, context, faults } = await openPage(browser, server);
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  await page.goto(`${server.url}/ui/explore/demo`);
  await page.locator("h1").waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("s");
  await page.waitForURL(/\/ui\/sql\/\w+$/);
  await content(page).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "");
  const tabTo = async (pattern) => {
    for (let step = 0; step < 60; step++) {
      if (pattern.test(await focused())) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab never reached ${pattern}; last ${await focused()}`);
  };
  await tabTo(/^SQL editor/);
  await page.keyboard.type("SELECT country, COUNT(*) AS n FROM demo GROUP BY 1 ORDER BY 1 ");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+Enter");
  await done(page, /^12 rows/);
  await tabTo(/^Height of the editor/);
  await tabTo(/^Rows of the result/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.getByTestId("grid").getAttribute("aria-activedescendant"), "cell-1-1");
  await page.keyboard.press("Shift+ArrowDown");
  await page.keyboard.press("Control+c");
  const shown = [await cell(page, 1, 1).innerText(), await cell(page, 2, 1).innerText()];
  await until("two cells are copied", async () => (await clipboard(page)) === shown.join("\n"));
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.getByText("Sorted here by").waitFor();
  assert.equal(await cell(page, 0, 0).innerText(), "ZA");
  assert.deepEqual(faults, []);
  await context.close();
});

for (const theme of ["dark", "light"]) {
  test(`axe finds nothing serious on a result, a chart, a plan and the side, ${theme}`, async () => {
    const { page, context, faults } = await openSql({ theme });
    await run(page, "SELECT TIME_FLOOR(__time, 'PT1M') AS t, country, COUNT(*) AS n, CAST(NULL AS VARCHAR) AS nothing FROM demo WHERE status <> '?' GROUP BY 1, 2 ORDER BY 1 DESC -- why", /^[\d,]+ rows · [\d.]+ m?s/);
    await picture(page, `sql-table-${theme}`);
    assert.deepEqual(await grave(page), []);
    await page.getByTestId("grid").focus();
    await page.keyboard.press("Shift+ArrowDown");
    assert.deepEqual(await grave(page), []);
    for (const name of ["Chart", "Plan", "History", "Saved"]) {
      await page.getByRole("tab", { name }).click();
      await page.waitForTimeout(600);
      await picture(page, `sql-${name.toLowerCase()}-${theme}`);
      assert.deepEqual(await grave(page), [], name);
    }
    assert.deepEqual(faults, []);
    await context.close();
  });
}

test("a phone runs queries without scrolling sideways", async () => {
  const { page, context, faults } = await openSql({ viewport: PHONE });
  await run(page, "SELECT * FROM demo LIMIT 200", /^200 rows/);
  const fits = async (what) => {
    const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= window, `${what}: ${wide} px in a window of ${window} px`);
  };
  await fits("table");
  await picture(page, "sql-phone-table");
  await page.getByRole("tab", { name: "Plan" }).click();
  await page.getByText("Read rows").waitFor();
  await fits("plan");
  await run(page, "SELECT country, COUNT(*) AS n FROM demo GROUP BY 1 ORDER BY 2 DESC", /^12 rows/);
  await page.getByRole("tab", { name: "Chart" }).click();
  await page.getByRole("list", { name: "n by country" }).waitFor();
  await fits("chart");
  await picture(page, "sql-phone-chart");
  await page.getByRole("button", { name: "Schema, history and saved queries" }).click();
  await page.getByRole("searchbox").waitFor();
  await fits("side");
  await picture(page, "sql-phone-side");
  assert.deepEqual(await grave(page), []);
  assert.deepEqual(faults, []);
  await context.close();
});
