// From an empty data folder to a filtered moving chart: two clicks, at most 20 seconds.
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

test("an empty server shows a moving, filtered chart after two clicks and within 20 s", async () => {
  const { page, faults } = await openPage(browser, server);
  const began = Date.now();
  await page.goto(`${server.url}/`);
  await page.waitForURL("**/ui/welcome");
  const start = page.getByRole("button", { name: "Start demo stream" });
  await start.waitFor();
  assert.equal(await start.evaluate((button) => button === document.activeElement), true, "the demo's button has the focus");
  await picture(page, "first-minute-welcome");

  await start.click();
  await page.waitForURL("**/ui/explore/demo");
  await until("events are counted", async () => (await exactStat(page, "events")) > 0);
  const everything = await exactStat(page, "events");

  const value = page.getByTestId("board-country").locator("button[data-value]").first();
  await value.waitFor();
  const country = await value.getAttribute("data-value");
  await value.click();
  await page.waitForURL((url) => url.searchParams.get("f") === `country:in:${country}`);
  await until("the filter narrows the total", async () => {
    const filtered = await exactStat(page, "events");
    return filtered > 0 && filtered < everything;
  });

  const canvas = page.getByTestId("measure-events").locator("canvas");
  const before = await canvas.evaluate((element) => element.toDataURL());
  await until("the chart moves", async () => (await canvas.evaluate((element) => element.toDataURL())) !== before, 5_000);
  await page.keyboard.press("t");
  const newest = page.locator("tbody tr td").first();
  const firstBucket = await newest.innerText();
  await until("the last x advances", async () => (await newest.innerText()) > firstBucket, 12_000);
  const took = Date.now() - began;
  await page.keyboard.press("t");
  await picture(page, "first-minute-explore");
  assert.ok(took <= 20_000, `took ${took} ms`);

  const [{ n }] = await server.sql(`SELECT COUNT(*) AS n FROM "demo" WHERE "country" = '${country}'`);
  const shown = await exactStat(page, "events");
  assert.ok(shown > 0 && shown <= n, `the page shows ${shown} of ${n} rows of ${country}`);
  assert.deepEqual(faults, []);
});

test("the badge says how fresh the numbers are", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/demo`);
  await until("the badge has both times", async () => /data as of \d+\.\d s ago · event to screen \d+(\.\d)? m?s/.test(await page.getByTestId("freshness").innerText()));
  const age = Number(/as of (\d+\.\d)/.exec(await page.getByTestId("freshness").innerText())[1]);
  assert.ok(age < 3, `data as of ${age} s ago`);
});

test("the demo can be slowed, stopped and removed", async () => {
  const { page } = await openPage(browser, server);
  await page.goto(`${server.url}/ui/explore/demo`);
  const slider = page.getByRole("slider", { name: "Events" });
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  await until("the rate changed", async () => (await (await fetch(`${server.url}/api/v1/demo`)).json()).rate > 200);
  await page.getByRole("button", { name: "Stop" }).click();
  await until("the stream stopped", async () => (await (await fetch(`${server.url}/api/v1/demo`)).json()).running === false);
  await page.getByRole("button", { name: "Remove table" }).click();
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await until("the table is gone", async () => (await server.tables()).length === 0);
  await page.waitForURL("**/ui/welcome");
});
