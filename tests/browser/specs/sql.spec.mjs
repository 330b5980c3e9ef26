// The SQL page against a real server: write, complete, run, read, copy, export, cancel, correct, keep, follow.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { openBrowser, openPage, picture } from "../lib/browser.mjs";
import { startDemoServer } from "../lib/routes.mjs";
import { until } from "../lib/server.mjs";
import { cell, cells, clipboard, content, done, ENDLESS, grave, openSql as openHere, REFUSED, run, words, write } from "../lib/sql.mjs";

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

test("columns complete with their types, functions with their arguments, and the query runs", async () => {
  const { page, context, faults } = await openSql();
  await content(page).click();
  await page.keyboard.type("SELECT coun", { delay: 20 });
  const first = page.locator(".cm-tooltip-autocomplete li").first();
  await until("the column is offered first", async () => /country/.test(await first.innerText()));
  assert.match(await first.innerText(), /VARCHAR/);
  assert.deepEqual(await grave(page), []);
  await page.keyboard.press("Enter");
  await page.keyboard.type(", TIME_FL", { delay: 20 });
  await until("the function is offered with its arguments", async () => /\(timestamp, period/.test(await page.locator(".cm-tooltip-autocomplete").innerText()));
  await page.keyboard.press("Enter");
  assert.match(await content(page).innerText(), /SELECT country, TIME_FLOOR\(\)/);
  await page.keyboard.type("__time, 'PT1H'");
  await page.keyboard.press("End");
  await page.keyboard.type(" AS h, COUNT(*) AS n FROM de", { delay: 20 });
  await until("the table is offered", async () => /demo/.test(await first.innerText()));
  await page.keyboard.press("Enter");
  await page.keyboard.type(" GROUP BY 1, 2");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+Enter");
  await done(page, /\d+ rows · /);
  assert.ok((await cells(page, 0)).includes("DE"));
  await picture(page, "sql-run");
  assert.deepEqual(faults, []);
  await context.close();
});

test("values are exact, NULL and the empty text are two things, times follow the zone", async () => {
  const { page, context, faults } = await openSql();
  await run(page, "SELECT 9007199254740993 AS big, CAST(NULL AS VARCHAR) AS nothing, '' AS blank, 'null' AS word, TIMESTAMP '2026-03-02 10:00:00' AS t, TRUE AS yes, 1 AS big", /^1 row /);
  const texts = await page.locator('[role="gridcell"]').allInnerTexts();
  assert.deepEqual(texts, ["9007199254740993", "null", "empty text", "null", "2026-03-02 10:00:00", "true", "1"]);
  assert.deepEqual(await page.locator('[role="gridcell"][data-none]').allInnerTexts(), ["null", "empty text"], "the word null is told from NULL by its look");
  await page.getByRole("button", { name: /^Time zone/ }).click();
  await until("the shown time follows the zone", async () => (await cell(page, 0, 4).innerText()) === "2026-03-02 09:00:00");
  await page.keyboard.press("Escape");
  await page.getByTestId("grid").focus();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Control+c");
  await until("the row is copied", async () => (await clipboard(page)) === "9007199254740993\t\t\tnull\t2026-03-02T09:00:00.000Z\ttrue\t1");
  await page.getByRole("button", { name: "Copy", exact: true }).click();
  await page.getByRole("menuitem", { name: "Rows, CSV with names" }).click();
  await until("CSV keeps NULL and the empty text apart", async () => (await clipboard(page)) === 'big,nothing,blank,word,t,yes,big\n9007199254740993,,"",null,2026-03-02T09:00:00.000Z,true,1');
  assert.deepEqual(faults, []);
  await context.close();
});

test("rows are sorted here and said to be, columns change their width, cells open", async () => {
  const { page, context, faults } = await openSql();
  await run(page, "SELECT country, COUNT(*) AS n FROM demo GROUP BY 1 ORDER BY 1", /^12 rows/);
  const sent = await cells(page, 0);
  await page.getByRole("columnheader", { name: /^n/ }).click();
  await page.getByText("Sorted here by").waitFor();
  const counts = (await cells(page, 1)).map(Number);
  assert.deepEqual(counts, [...counts].sort((a, b) => a - b));
  await page.getByRole("columnheader", { name: /^n/ }).click();
  assert.deepEqual((await cells(page, 1)).map(Number), [...counts].sort((a, b) => b - a));
  await page.getByRole("button", { name: "As the server sent them" }).click();
  assert.deepEqual(await cells(page, 0), sent);

  const header = page.getByRole("columnheader", { name: /^country/ });
  const width = async () => (await header.boundingBox()).width;
  const before = await width();
  const handle = await header.getByTestId("resize").boundingBox();
  await page.mouse.move(handle.x + 4, handle.y + 10);
  await page.mouse.down();
  await page.mouse.move(handle.x + 84, handle.y + 10, { steps: 4 });
  await page.mouse.up();
  assert.ok(Math.abs((await width()) - before - 80) < 4);
  await page.getByTestId("grid").focus();
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Alt+Shift+ArrowLeft");
  await until("a key narrows it", async () => Math.abs((await width()) - before - 64) < 4);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "country" }).getByText(sent[0], { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  assert.deepEqual(faults, []);
  await context.close();
});

test("the limit says that there is more, and the export has all of it", async () => {
  const { page, context, faults } = await openSql();
  await page.addInitScript(() => delete globalThis.showSaveFilePicker);
  await page.reload();
  await content(page).waitFor();
  await page.getByRole("button", { name: /^Limit/ }).click();
  await page.getByRole("menuitemradio", { name: "100 rows", exact: true }).click();
  const sql = "SELECT country, city, COUNT(*) AS n FROM demo WHERE __time < CURRENT_TIMESTAMP - INTERVAL '1' MINUTE GROUP BY 1, 2, user_id";
  await run(page, sql, /^first 100 rows/);
  await page.getByText(/There are more rows than these 100/).waitFor();
  assert.equal(await page.getByTestId("grid").getAttribute("aria-rowcount"), "101");
  const [download] = await Promise.all([
    page.waitForEvent("download", { timeout: 30_000 }),
    page.getByRole("button", { name: "Export" }).click().then(() => page.getByRole("menuitem", { name: /^CSV/ }).click()),
  ]);
  const text = await readFile(await download.path(), "utf8");
  const lines = text.split("\n");
  assert.equal(lines[0], "country,city,n");
  assert.equal(lines.at(-1), "", "it ends with one line break");
  assert.notEqual(lines.at(-2), "");
  assert.ok(lines.length > 5_000, `${lines.length} lines`);
  assert.match(download.suggestedFilename(), /^Query-1-.*\.csv$/);
  assert.deepEqual(faults, []);
  await context.close();
});

test("Escape cancels in the server, and the page says after how long", async () => {
  const { page, context, faults } = await openSql({ expected: [/status of 500/] });
  await write(page, ENDLESS);
  await page.keyboard.press("Control+Enter");
  await until("progress is shown", async () => /^running \d+\.\d s/.test(await words(page).innerText()));
  await picture(page, "sql-running");
  const running = async () => Number(/^freshet_queries_running (\d+)/m.exec(await (await fetch(`${server.url}/metrics`)).text())[1]);
  assert.ok((await running()) >= 1, "the server runs it");
  const began = Date.now();
  await page.keyboard.press("Escape");
  await done(page, /^cancelled after /);
  assert.ok(Date.now() - began < 3_000, `${Date.now() - began} ms until it was cancelled`);
  await until("the server stopped it", async () => (await running()) === 0, 3_000);
  await page.getByRole("button", { name: /^Run/ }).waitFor();
  await run(page, "SELECT 1 AS one", /^1 row/);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a mistake is marked where the server found it, and one press corrects it", async () => {
  const { page, context, faults } = await openSql({ expected: [REFUSED] });
  await run(page, "SELECT country FROM demo LIMIT 3", /^3 rows/);
  await write(page, "SELECT 1;\n\n-- 🚋\nSELECT '🚋', contry, 2\nFROM demo LIMIT 5");
  await page.keyboard.press("Control+Enter");
  const mark = page.locator(".cm-error");
  await mark.waitFor();
  assert.equal(await mark.innerText(), "contry");
  const strip = page.getByRole("alert");
  assert.match(await strip.innerText(), /Column 'contry' not found/);
  assert.doesNotMatch(await strip.innerText(), /line \[/);
  await page.getByRole("button", { name: "Go to line 4" }).waitFor();
  assert.equal((await cells(page, 0)).length, 3, "the last good result stays");
  await picture(page, "sql-error");
  assert.deepEqual(await grave(page), []);
  await page.getByRole("button", { name: "Use country" }).click();
  assert.match(await content(page).innerText(), /'🚋', country, 2/);
  await page.keyboard.press("Control+Enter");
  await done(page, /^5 rows/);
  assert.equal(await mark.count(), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

test("of several statements the one at the cursor runs, or what is selected", async () => {
  const { page, context, faults } = await openSql();
  await write(page, "SELECT 1 AS one;\nSELECT 2 AS two");
  await page.getByText("runs statement 2 of 2").waitFor();
  await page.keyboard.press("Control+Enter");
  await until("the second ran", async () => (await cells(page, 0)).join() === "2");
  await page.keyboard.press("Control+Home");
  await page.getByText("runs statement 1 of 2").waitFor();
  await page.keyboard.press("Control+Enter");
  await until("the first ran", async () => (await cells(page, 0)).join() === "1");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Shift+Control+ArrowRight");
  await page.keyboard.press("Shift+Control+ArrowRight");
  await page.keyboard.press("Control+Enter");
  await until("the selection ran", async () => (await page.getByRole("columnheader").nth(1).innerText()).startsWith("EXPR$0"));
  assert.deepEqual(faults, []);
  await context.close();
});

test("parameters get typed inputs, wrong ones are refused here", async () => {
  const { page, context, faults } = await openSql();
  await write(page, "SELECT ? + 0 AS n, ? AS word, '?' AS no");
  const first = page.getByRole("textbox", { name: "Parameter 1" });
  await first.waitFor();
  assert.equal(await page.getByRole("textbox", { name: /^Parameter/ }).count(), 2);
  await page.getByRole("combobox", { name: "Type of parameter 1" }).selectOption("BIGINT");
  await first.fill("many");
  await page.getByRole("button", { name: /^Run/ }).click();
  await page.getByText("a whole number is needed").waitFor();
  await first.fill("9007199254740993");
  await page.getByRole("checkbox", { name: "null" }).nth(1).check();
  await first.press("Enter");
  await until("they are bound exactly", async () => (await page.locator('[role="gridcell"]').allInnerTexts()).join() === "9007199254740993,null,?");
  await picture(page, "sql-parameters");
  assert.deepEqual(await grave(page), []);
  assert.deepEqual(faults, []);
  await context.close();
});

test("tabs, their texts, parameters, results and settings survive a reload", async () => {
  const { page, context, faults } = await openSql();
  await run(page, "SELECT 'kept 東京 🗼' AS v, 9007199254740993 AS n WHERE 1 = ?", /./).catch(() => undefined);
  await page.getByRole("combobox", { name: "Type of parameter 1" }).selectOption("BIGINT");
  await page.getByRole("textbox", { name: "Parameter 1" }).fill("1");
  await page.keyboard.press("Enter");
  await done(page, /^1 row/);
  await page.getByRole("navigation", { name: "Query tabs" }).getByRole("button", { name: "Query 1", exact: true }).dblclick();
  await page.getByRole("textbox", { name: "Name of the tab" }).fill("slow p99");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "New query" }).click();
  await page.waitForURL(/\/ui\/sql\/\w+$/);
  await until("the new tab is empty", async () => /Ctrl\+Space/.test(await content(page).innerText()));
  await write(page, "SELECT 2 AS two");
  await page.getByRole("button", { name: "slow p99", exact: true }).click();
  await until("the first tab is shown", async () => /kept/.test(await content(page).innerText()));
  const address = page.url();
  await page.waitForTimeout(500);

  await page.reload();
  await until("its text is back", async () => /kept 東京 🗼/.test(await content(page).innerText()));
  assert.equal(page.url(), address);
  await until("its result is back without a run", async () => (await page.locator('[role="gridcell"]').allInnerTexts()).join() === "kept 東京 🗼,9007199254740993");
  assert.equal(await page.getByRole("textbox", { name: "Parameter 1" }).inputValue(), "1");
  await page.getByRole("button", { name: "Query 1", exact: true }).click();
  await until("the other tab is back too", async () => /SELECT 2 AS two/.test(await content(page).innerText()));
  await page.goBack();
  await until("back shows the first tab", async () => /kept/.test(await content(page).innerText()));
  await page.getByRole("button", { name: "Close slow p99" }).click();
  await until("its neighbour takes its place", async () => /SELECT 2 AS two/.test(await content(page).innerText()));
  await page.goto(`${server.url}/ui/sql`);
  await until("the page opens where it was left", async () => /SELECT 2 AS two/.test(await content(page).innerText()));
  assert.equal(await page.getByRole("navigation", { name: "Query tabs" }).getByRole("listitem").count(), 1);
  assert.deepEqual(faults.filter((fault) => !REFUSED.test(fault)), []);
  await context.close();
});

test("the history is searched and opened, saved queries come back", async () => {
  const { page, context, faults } = await openSql({ expected: [REFUSED] });
  await run(page, "SELECT 'alpha' AS a", /^1 row/);
  await run(page, "SELECT 'beta' AS b", /^1 row/);
  await run(page, "SELECT nothing FROM nowhere", /^failed/);
  await page.getByRole("tab", { name: "Saved" }).click();
  await page.getByRole("button", { name: "Save this query" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("a broken one");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: /a broken one/ }).first().waitFor();
  await page.getByRole("tab", { name: "History" }).click();
  const entries = page.getByRole("complementary").getByRole("listitem");
  assert.equal(await entries.count(), 3);
  assert.match(await entries.first().innerText(), /nowhere[\s\S]*failed/);
  await picture(page, "sql-history");
  await page.getByRole("searchbox").fill("alpha select");
  assert.equal(await entries.count(), 1);
  await entries.first().getByRole("button").click();
  await until("it opens in a tab", async () => /'alpha'/.test(await content(page).innerText()));
  await page.reload();
  await page.getByRole("tab", { name: "Saved" }).click();
  await page.getByRole("button", { name: /a broken one/ }).first().click();
  await until("the saved one opens", async () => /nowhere/.test(await content(page).innerText()));
  assert.deepEqual(faults, []);
  await context.close();
});

test("a result is a chart, the plan is a tree", async () => {
  const { page, context, faults } = await openSql();
  await run(page, "SELECT TIME_FLOOR(__time, 'PT1M') AS t, device, COUNT(*) AS n, AVG(latency_ms) AS ms FROM demo GROUP BY 1, 2 ORDER BY 1", /^[\d,]+ rows · [\d.]+ m?s/);
  await page.getByRole("tab", { name: "Chart" }).click();
  const lines = page.getByRole("list", { name: "Lines" }).getByRole("listitem");
  await lines.first().waitFor();
  assert.deepEqual((await lines.allInnerTexts()).sort(), ["desktop", "mobile", "tablet"]);
  const canvas = page.locator("canvas").first();
  const drawn = await canvas.evaluate((element) => new Set(element.getContext("2d").getImageData(0, 0, element.width, element.height).data).size);
  assert.ok(drawn > 20, "something is drawn");
  await page.getByRole("application").focus();
  await page.keyboard.press("ArrowRight");
  await until("the keys read values", async () => /mobile \d/.test(await page.locator('[aria-live="polite"]').allInnerTexts().then((texts) => texts.join(" "))));
  await picture(page, "sql-chart");
  await page.getByRole("combobox", { name: "Along" }).selectOption({ label: "device" });
  await page.getByRole("list", { name: "n by device" }).waitFor();

  await page.getByRole("tab", { name: "Plan" }).click();
  const steps = page.getByRole("list", { name: "Steps of the plan" });
  await steps.getByText("Read rows").waitFor();
  assert.match(await steps.innerText(), /table\s*demo/);
  await picture(page, "sql-plan");
  await page.getByRole("checkbox", { name: "raw" }).check();
  await page.getByText(/"queryType"/).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("kept live, a result follows pushed rows and the clock, and stops when told", async () => {
  const { page, context, faults } = await openSql();
  await server.push("follow", [{ time: Date.now(), city: "Bern", value: 1 }]);
  await run(page, "SELECT COUNT(*) AS n, SUM(\"value\") AS v FROM follow", /^1 row/);
  assert.equal((await page.locator('[role="gridcell"]').allInnerTexts()).join(), "1,1");
  await page.getByRole("button", { name: "Keep live" }).click();
  await server.push("follow", [{ time: Date.now(), city: "Zürich", value: 9007199254740992 }]);
  await until("the pushed row is counted, exactly", async () => (await page.locator('[role="gridcell"]').allInnerTexts()).join() === "2,9007199254740993");
  assert.match(await words(page).innerText(), /live, changed/);
  await picture(page, "sql-live");
  await page.getByRole("button", { name: "Live", exact: true }).click();
  await server.push("follow", [{ time: Date.now(), city: "Genf", value: 1 }]);
  await page.waitForTimeout(1_800);
  assert.equal(await cell(page, 0, 0).innerText(), "2", "it stands still");

  // Two tables: asked for again and again.
  await run(page, "SELECT (SELECT COUNT(*) FROM follow) + COUNT(*) AS n FROM follow f JOIN follow g ON f.city = g.city, (SELECT 1 AS one FROM demo LIMIT 1)", /^1 row/);
  await page.getByRole("button", { name: "Keep live" }).click();
  const before = Number(await cell(page, 0, 0).innerText());
  await server.push("follow", [{ time: Date.now(), city: "Basel", value: 1 }]);
  await until("it follows as well", async () => Number(await cell(page, 0, 0).innerText()) === before + 2);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a link opens the same query in a fresh profile and does not run it; Explore opens and runs its own", async () => {
  const one = await openSql();
  const sql = "SELECT '東京 🗼; a=b&c#d' AS v -- +%\nWHERE 1 = 1";
  await write(one.page, sql);
  await one.page.getByRole("button", { name: "Link" }).click();
  await until("the link is copied", async () => /\/ui\/sql\?q=/.test(await clipboard(one.page)));
  const two = await openPage(browser, server);
  await two.page.goto(await clipboard(one.page));
  await until("the text is the same", async () => (await content(two.page).innerText()).replaceAll("\n\n", "\n").trim() === sql);
  await two.page.waitForURL(/\/ui\/sql\/\w+$/);
  assert.equal(await two.page.getByTestId("grid").count(), 0);

  await two.page.goto(`${server.url}/ui/explore/demo`);
  await two.page.getByRole("button", { name: "Charts: more" }).click();
  await two.page.getByRole("menuitem", { name: "Show SQL" }).click();
  await two.page.getByRole("link", { name: "Open in SQL" }).click();
  await done(two.page, /^[\d,]+ rows · [\d.]+ m?s/);
  assert.match(await content(two.page).innerText(), /TIME_FLOOR/);
  assert.deepEqual([...one.faults, ...two.faults], []);
  await one.context.close();
  await two.context.close();
});
