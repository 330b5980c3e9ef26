// Every route and every dialog: no console error, no policy violation, no request outside the origin, nothing for axe to blame,
// nothing wider than a phone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { DESK, openBrowser, openPage, PHONE, picture } from "../lib/browser.mjs";
import { startServer, until } from "../lib/server.mjs";

const ROUTES = {
  welcome: ["/ui/welcome", "Start demo stream"],
  home: ["/ui/", "Explore"],
  explore: ["/ui/explore/demo", "Live"],
  filtered: ["/ui/explore/demo?m=events,avg%3Alatency_ms&f=country:in:DE,US;status:out:500", "Clear all"],
  paused: ["/ui/explore/demo?live=0&tz=UTC&from=now-5m&to=now", "Paused"],
  empty: ["/ui/explore/demo?from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z", "Jump to it"],
  "no table": ["/ui/explore/nothing", undefined],
  "no page": ["/ui/nowhere", undefined],
};

let server;
let browser;
before(async () => {
  server = await startServer("--demo", "--seed", "1");
  browser = await openBrowser();
  await until("the demo has rows", async () => (await server.tables()).some((table) => table.name === "demo" && table.rows > 1_000), 20_000);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function settle(page, [path, button]) {
  await page.goto(server.url + path);
  await page.locator("h1").waitFor();
  if (button !== undefined) await page.getByText(button, { exact: true }).first().waitFor();
  if (path.startsWith("/ui/explore/demo") && !path.includes("2001")) await page.getByTestId("board-country").locator("button[data-value]").first().waitFor();
}

for (const [name, route] of Object.entries(ROUTES)) {
  test(`the route ${name} is clean`, async () => {
    const { page, context, faults } = await openPage(browser, server);
    await settle(page, route);
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
  await settle(page, ROUTES.explore);
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
  await settle(page, ROUTES.explore);
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

for (const theme of ["dark", "light"]) {
  for (const name of ["welcome", "home", "explore", "filtered", "empty"]) {
    test(`axe finds nothing serious on ${name}, ${theme}`, async () => {
      const { page, context } = await openPage(browser, server, { theme });
      await settle(page, ROUTES[name]);
      await picture(page, `${name}-${theme}`);
      const { violations } = await new AxeBuilder({ page }).analyze();
      const grave = violations.filter((violation) => violation.impact === "serious" || violation.impact === "critical");
      assert.deepEqual(grave.map((violation) => `${violation.id}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`), []);
      await context.close();
    });
  }
}

for (const [name, route] of Object.entries(ROUTES)) {
  test(`a phone shows ${name} without scrolling sideways`, async () => {
    const { page, context } = await openPage(browser, server, { viewport: PHONE });
    await settle(page, route);
    await picture(page, `${name.replace(" ", "-")}-phone`);
    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= window, `${content} px in a window of ${window} px`);
    await context.close();
  });
}

test("the chosen theme wins over the system's and is remembered", async () => {
  const { page, context } = await openPage(browser, server, { theme: "dark", viewport: DESK });
  await settle(page, ROUTES.home);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await background(), "rgb(11, 17, 24)");
  await page.getByRole("button", { name: "Theme" }).click();
  await page.getByRole("menuitemradio", { name: "Light" }).click();
  assert.equal(await background(), "rgb(245, 247, 250)");
  await page.reload();
  assert.equal(await background(), "rgb(245, 247, 250)");
  await context.close();
});
