// What the specs of the SQL page have in common.
import { AxeBuilder } from "@axe-core/playwright";
import { openPage } from "./browser.mjs";
import { until } from "./server.mjs";

/** A join that gives many billions of pairs: it runs until it is stopped. */
export const ENDLESS = "SELECT COUNT(*) FROM demo a JOIN demo b ON a.country = b.country";
/** A query that the server refuses is a 400, which the browser also writes to its console. */
export const REFUSED = /status of 400/;

export const content = (page) => page.getByTestId("sql-editor").locator(".cm-content");
export const words = (page) => page.getByTestId("sql-words");
export const done = (page, pattern) => until(`the status says ${pattern}`, async () => pattern.test(await words(page).innerText()), 20_000);
export const cell = (page, row, column) => page.locator(`#cell-${row}-${column}`);
export const cells = (page, column) => page.locator(`[role="gridcell"][data-column="${column}"]`).allInnerTexts();
export const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

export async function openSql(browser, server, options = {}) {
  const opened = await openPage(browser, server, options);
  await opened.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  await opened.page.goto(`${server.url}/ui/sql`);
  await content(opened.page).waitFor();
  return opened;
}

/** Replaces the text; the editor's own typing aids stay out of it. */
export async function write(page, sql) {
  await content(page).fill(sql);
}

export async function run(page, sql, pattern = /^[\d,]+ rows? · [\d.]+ m?s/) {
  await write(page, sql);
  await page.keyboard.press("Control+Enter");
  await done(page, pattern);
}

export async function grave(page) {
  // Colours that are on their way have no contrast yet.
  await page.evaluate(() => Promise.all(document.getAnimations().filter((animation) => animation instanceof CSSTransition).map((animation) => animation.finished.catch(() => undefined))));
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.filter((violation) => violation.impact === "serious" || violation.impact === "critical").map((violation) => `${violation.id}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
}
