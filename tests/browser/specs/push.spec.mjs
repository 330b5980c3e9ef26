// A pushed event becomes a visible value; what is empty or wrong is said in words.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { exactStat, openBrowser, openPage, picture } from "../lib/browser.mjs";
import { startServer, until } from "../lib/server.mjs";

let server;
let browser;
before(async () => {
  server = await startServer();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const value = (page, column, text) => page.getByTestId(`board-${column}`).locator(`button[data-value="${text}"]`);

test("a bad file and a bad spec are refused in the server's words", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/welcome`);
  await page.locator('input[type="file"]').setInputFiles({ name: "broken.json", mimeType: "application/json", buffer: Buffer.from('[{"name": "no time here"}]') });
  const strip = page.getByRole("alert");
  await strip.waitFor();
  assert.match(await strip.innerText(), /time/i);
  await picture(page, "push-bad-file");

  await page.getByRole("button", { name: /Druid supervisor spec/ }).click();
  await page.locator("textarea").fill('{"type":');
  await page.getByText(/Not JSON yet/).waitFor();
  assert.equal(await page.getByRole("button", { name: "Start", exact: true }).isDisabled(), true);
  await page.locator("textarea").fill('{"type":"kafka","spec":{"dataSchema":{"dataSource":"x","timestampSpec":{"column":"t"},"granularitySpec":{"rollup":false}},"ioConfig":{"topic":"x","inputFormat":{"type":"json"}}}}');
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const refused = page.getByRole("dialog").getByRole("alert");
  await refused.waitFor();
  assert.match(await refused.innerText(), /bootstrap\.servers|consumerProperties/);
  await picture(page, "push-bad-spec");
});

test("Welcome follows the first pushed row into Explore, and later rows appear by themselves", async () => {
  const { page, faults } = await openPage(browser, server);
  await page.goto(`${server.url}/`);
  await page.waitForURL("**/ui/welcome");
  await page.getByRole("button", { name: "Copy", exact: true }).waitFor();
  await server.push("events", [{ time: Date.now(), city: "Bern", value: 42 }]);
  await page.waitForURL("**/ui/explore/events");
  await value(page, "city", "Bern").waitFor();
  await until("one row is counted", async () => (await exactStat(page, "events")) === 1);

  const sent = Date.now();
  await server.push("events", [{ time: Date.now(), city: "Zürich 🚋", value: 8 }]);
  await value(page, "city", "Zürich 🚋").waitFor();
  const took = Date.now() - sent;
  assert.ok(took < 3_000, `${took} ms from push to page`);
  await until("the total follows", async () => (await exactStat(page, "events")) === 2);
  assert.deepEqual(faults, []);
});

test("a file that is dropped becomes a table, its old rows are one click away", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/welcome`);
  const lines = Array.from({ length: 30 }, (_, at) => JSON.stringify({ ts: new Date(Date.UTC(2015, 8, 12, 10, at)).toISOString(), lang: at % 3 === 0 ? "日本語" : "de", n: at })).join("\n");
  await page.locator('input[type="file"]').setInputFiles({ name: "Old Edits.ndjson", mimeType: "application/x-ndjson", buffer: Buffer.from(lines) });
  await page.waitForURL((url) => url.pathname === "/ui/explore/old_edits" && url.searchParams.get("from")?.startsWith("2015-09-12"));
  await until("all rows are shown", async () => (await exactStat(page, "events")) === 30);

  await page.goto(`${server.url}/ui/explore/old_edits`);
  await page.getByText(/The newest row is .* old/).waitFor();
  await picture(page, "push-empty-range");
  await page.getByRole("button", { name: "Jump to it" }).click();
  await until("the jump shows them", async () => (await exactStat(page, "events")) === 30);
});

test("a filter that matches nothing offers to remove itself", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/old_edits?from=all&to=now&f=lang:in:tlh`);
  await page.getByRole("button", { name: "Remove the last filter" }).click();
  await until("everything is back", async () => (await exactStat(page, "events")) === 30);
});

test("a link to a filtered state shows the same in a fresh profile, CJK and emoji included", async () => {
  const one = await openPage(browser, server);
  await one.page.goto(`${server.url}/ui/explore/old_edits?from=all&to=now&m=events,sum:n`);
  await value(one.page, "lang", "日本語").click();
  await until("the filter counts", async () => (await exactStat(one.page, "events")) === 10);
  const address = one.page.url();
  await server.push("events", [{ time: Date.now(), city: "Zürich 🚋", value: 8 }]);

  const two = await openPage(browser, server);
  await two.page.goto(address);
  await until("the same total", async () => (await exactStat(two.page, "events")) === 10);
  assert.equal(await exactStat(two.page, "sum:n"), 135);
  await two.page.getByRole("list", { name: "Filters" }).getByText("日本語").waitFor();

  await two.page.goto(`${server.url}/ui/explore/events`);
  await value(two.page, "city", "Zürich 🚋").click({ modifiers: ["Alt"] });
  await two.page.getByText("is not", { exact: true }).waitFor();
  const three = await openPage(browser, server);
  await three.page.goto(two.page.url());
  await until("only Bern is left", async () => (await exactStat(three.page, "events")) === 1);

  await two.page.goBack();
  await until("back shows all again", async () => (await exactStat(two.page, "events")) === 3);
  await two.page.goForward();
  await until("forward filters again", async () => (await exactStat(two.page, "events")) === 1);
});

test("Ctrl collects values and a paused page stands still", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/events`);
  await value(page, "city", "Bern").click();
  await value(page, "city", "Zürich 🚋").click({ modifiers: ["Control"] });
  await until("both are kept", async () => (await exactStat(page, "events")) === 3);
  await page.keyboard.press(".");
  await page.waitForURL(/live=0/);
  await until("paused with the same rows", async () => (await exactStat(page, "events")) === 3);
  await server.push("events", [{ time: Date.now(), city: "Bern", value: 1 }]);
  await page.waitForTimeout(1_500);
  assert.equal(await exactStat(page, "events"), 3);
  await page.keyboard.press(".");
  await until("live again", async () => (await exactStat(page, "events")) === 4);
});

test("a table that does not exist yet is said to be missing, and appears with its first row", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/later`);
  await page.getByText("There is no table “later”.").waitFor();
  await server.push("later", [{ time: Date.now(), who: "me" }]);
  await value(page, "who", "me").waitFor();
});

test("rejected rows are named with their reason", async () => {
  const answer = await fetch(`${server.url}/api/v1/push/events?onError=skip`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify([{ time: "not a time", city: "Nowhere" }]) });
  assert.equal((await answer.json()).rejected, 1);
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/`);
  const rejected = page.getByTestId("table-events").locator("button");
  await rejected.click();
  await page.getByText(/not a time/).first().waitFor();
  await picture(page, "push-rejected");
});

test("the keyboard alone can filter, exclude and read a table", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/old_edits?from=all&to=now`);
  await value(page, "lang", "de").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await until("the second value is kept", async () => (await exactStat(page, "events")) === 10);
  await page.keyboard.press("Enter");
  await until("and let go", async () => (await exactStat(page, "events")) === 30);
  await page.keyboard.press("x");
  await until("and excluded", async () => (await exactStat(page, "events")) === 20);
  await page.keyboard.press("t");
  await page.getByRole("region", { name: "Measures over time, as a table" }).waitFor();
});

test("the example spec is accepted, and a broker that is down is named within seconds", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/welcome`);
  await page.getByRole("button", { name: /Druid supervisor spec/ }).click();
  await page.getByRole("button", { name: "Start from an example" }).click();
  const text = page.locator("textarea");
  await text.fill((await text.inputValue()).replace("127.0.0.1:9092", "127.0.0.1:1").replace('"dataSource": "events"', '"dataSource": "orders"'));
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByText(/Explore opens with the first row of orders/).waitFor();
  await page.getByText(/cannot be reached/).waitFor({ timeout: 15_000 });
  await picture(page, "push-broker-down");
  const ended = await fetch(`${server.url}/druid/indexer/v1/supervisor/orders/terminate`, { method: "POST", headers: { "Content-Type": "application/json" } });
  assert.equal(ended.status, 200);
});
