// Every route and every dialog: no console error, no policy violation, no request outside the origin.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage, picture } from "../lib/browser.mjs";
import { ROUTES, settle, startDemoServer } from "../lib/routes.mjs";

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

for (const [name, route] of Object.entries(ROUTES)) {
  test(`the route ${name} is clean`, async () => {
    const { page, context, faults } = await openPage(browser, server);
    await settle(page, server, route);
    await page.waitForTimeout(1_200);
    assert.deepEqual(faults, []);
    await context.close();
  });
}

test("the policy headers are on the page, with a nonce of this response only", async () => {
  const nonce = async () => {
    const answer = await fetch(`${server.url}/ui/explore/demo`);
    const policy = answer.headers.get("content-security-policy") ?? "";
    const inHeader = /'nonce-([^']+)'/.exec(policy)?.[1];
    assert.ok(policy.includes("default-src 'none'") && policy.includes("script-src 'self'"), policy);
    assert.ok((await answer.text()).includes(`nonce="${inHeader}"`), "the page carries the nonce of its header");
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
    return inHeader;
  };
  assert.notEqual(await nonce(), await nonce());
  const script = await fetch(`${server.url}/ui/assets/index.js`);
  assert.match(script.headers.get("content-type") ?? "", /^text\/javascript/);
  const etag = script.headers.get("etag");
  assert.equal((await fetch(`${server.url}/ui/assets/index.js`, { headers: { "If-None-Match": etag } })).status, 304);
});

test("dialogs and menus open, close and stay clean", async () => {
  const { page, faults } = await openPage(browser, server);
  await settle(page, server, ROUTES.explore);
  await page.getByRole("button", { name: /^Time range/ }).click();
  await page.getByRole("group", { name: "From" }).first().waitFor();
  await picture(page, "range-picker");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/from=\d{4}-/);
  await page.goBack();
  await page.getByRole("button", { name: "Charts: more" }).click();
  await page.getByRole("menuitem", { name: "Show SQL" }).click();
  const sql = await page.locator("pre").innerText();
  assert.match(sql, /TIME_FLOOR\("__time", 'PT5S'\)/);
  const rows = await server.sql(sql);
  assert.ok(rows.length > 0, "the SQL that is shown runs as it is");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /3 measures/ }).click();
  await page.getByRole("menuitemcheckbox", { name: "max latency_ms" }).click();
  await page.keyboard.press("Escape");
  await page.getByTestId("measure-max:latency_ms").waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Go to" }).fill("home");
  await page.keyboard.press("Enter");
  await page.getByTestId("table-demo").waitFor();
  assert.deepEqual(faults, []);
});

test("a brush zooms, z goes back, the keyboard can do the same", async () => {
  const { page, faults } = await openPage(browser, server);
  await settle(page, server, ROUTES.explore);
  const chart = page.getByTestId("measure-events").locator(".u-over");
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 40, { steps: 6 });
  await page.mouse.up();
  await page.waitForURL(/from=\d{4}-/);
  const zoomed = new URL(page.url()).searchParams;
  const length = Date.parse(zoomed.get("to")) - Date.parse(zoomed.get("from"));
  assert.ok(length > 120_000 && length < 300_000, `a fifth of 15 minutes, not ${length} ms`);
  await page.keyboard.press("z");
  await page.waitForURL((url) => !url.searchParams.has("from"));

  await page.getByTestId("measure-events").getByRole("application").focus();
  for (let step = 0; step < 4; step++) await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Enter");
  await page.waitForURL(/from=\d{4}-/);
  assert.deepEqual(faults, []);
});
