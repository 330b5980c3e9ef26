// Both themes and a phone: nothing serious for axe, nothing wider than the window. The pictures in results/ are for people.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { DESK, openBrowser, openPage, PHONE, picture } from "../lib/browser.mjs";
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

for (const theme of ["dark", "light"]) {
  for (const name of ["welcome", "home", "explore", "filtered", "empty", "sql"]) {
    test(`axe finds nothing serious on ${name}, ${theme}`, async () => {
      const { page, context } = await openPage(browser, server, { theme });
      await settle(page, server, ROUTES[name]);
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
    await settle(page, server, route);
    await picture(page, `${name.replace(" ", "-")}-phone`);
    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= window, `${content} px in a window of ${window} px`);
    await context.close();
  });
}

test("the chosen theme wins over the system's and is remembered", async () => {
  const { page, context } = await openPage(browser, server, { theme: "dark", viewport: DESK });
  await settle(page, server, ROUTES.home);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await background(), "rgb(11, 17, 24)");
  await page.getByRole("button", { name: "Theme" }).click();
  await page.getByRole("menuitemradio", { name: "Light" }).click();
  assert.equal(await background(), "rgb(245, 247, 250)");
  await page.reload();
  assert.equal(await background(), "rgb(245, 247, 250)");
  await context.close();
});
