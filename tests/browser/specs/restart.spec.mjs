// The server dies and comes back: the page says so, recovers without a reload, and then shows exactly what SQL shows.
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

const rowsOf = (count, minutesAgo, city) => Array.from({ length: count }, (_, at) => ({ time: Date.now() - minutesAgo * 60_000 + at * 700, city, ms: at }));

/** Bucket starts and counts as the page's table view has them. */
async function shownBuckets(page) {
  const cells = await page.locator("table").first().locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].slice(0, 2).map((cell) => cell.textContent)));
  return cells.map(([start, count]) => [Date.parse(start), Number(count.replaceAll(",", ""))]).filter(([, count]) => count > 0).reverse();
}

async function sqlBuckets() {
  const rows = await server.sql(`SELECT TIME_FLOOR("__time", 'PT5S') AS "t", COUNT(*) AS "n" FROM "shop" GROUP BY 1 ORDER BY 1`);
  return rows.map((row) => [Date.parse(row.t), Number(row.n)]);
}

test("after kill -9 and a restart the page shows what SQL shows, without a reload", async () => {
  const { page } = await openPage(browser, server);
  await server.push("shop", rowsOf(60, 4, "Bern"));
  await page.goto(`${server.url}/ui/explore/shop?tz=UTC`);
  await page.evaluate(() => (globalThis.notReloaded = true));
  await until("the rows are shown", async () => (await exactStat(page, "events")) === 60);
  await page.keyboard.press("t");
  await until("the page's buckets are SQL's", async () => JSON.stringify(await shownBuckets(page)) === JSON.stringify(await sqlBuckets()));

  await server.kill();
  await page.getByText(/reconnecting/).waitFor();
  await until("the badge says that the data is old", async () => /data is .* old/.test(await page.getByTestId("freshness").innerText()));
  assert.ok((await shownBuckets(page)).length > 0, "what was shown stays");
  await picture(page, "restart-down");

  await server.start();
  await until("the socket is live again", () => page.getByText("live", { exact: true }).isVisible(), 15_000);
  await server.push("shop", rowsOf(40, 3, "Zürich"));
  await server.push("shop", rowsOf(25, 2, "東京 🗼"));
  const [{ n }] = await server.sql('SELECT COUNT(*) AS n FROM "shop"');
  await until("all rows are counted", async () => (await exactStat(page, "events").catch(() => -1)) === n || (await shownBuckets(page)).reduce((sum, [, count]) => sum + count, 0) === n, 20_000);
  await until("the page's buckets are SQL's again", async () => JSON.stringify(await shownBuckets(page)) === JSON.stringify(await sqlBuckets()));

  await server.push("shop", rowsOf(10, 1, "Zürich"));
  await until("and again after a push", async () => JSON.stringify(await shownBuckets(page)) === JSON.stringify(await sqlBuckets()));
  await page.getByTestId("board-city").locator('button[data-value="東京 🗼"]').waitFor();
  assert.equal(await page.evaluate(() => globalThis.notReloaded), true, "the page was not reloaded");
  await picture(page, "restart-back");
});
