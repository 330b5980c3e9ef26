// Chromium, and pages that remember everything they should not have done.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const results = join(import.meta.dirname, "..", "results");
mkdirSync(results, { recursive: true });

export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A page in a fresh profile. `faults` collects console errors, exceptions, policy violations and requests to other hosts. */
export async function openPage(browser, server, { theme = "dark", viewport = DESK, expected = [] } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: theme, timezoneId: "Europe/Zurich", locale: "en-GB" });
  const page = await context.newPage();
  const faults = [];
  const add = (fault) => {
    if (!expected.some((pattern) => pattern.test(fault))) faults.push(fault);
  };
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") add(`console ${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => add(`exception: ${error.stack ?? error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(server.url) && !/^(data|blob|about):/.test(url)) add(`request outside the origin: ${url}`);
  });
  page.on("websocket", (socket) => {
    if (!socket.url().startsWith(server.url.replace("http", "ws"))) add(`socket outside the origin: ${socket.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  page.setDefaultTimeout(10_000);
  return { page, context, faults };
}

/** A picture for people; named after the spec that made it. */
export const picture = (page, name) => page.screenshot({ path: join(results, `${name}.png`) });

/** `12.35 k` → 12350; for numbers below 100,000 the page writes them exactly. */
export async function exactStat(page, measure) {
  const title = await page.getByTestId(`measure-${measure}`).locator("span[title]").first().getAttribute("title");
  return Number((title ?? "").replaceAll(",", ""));
}
