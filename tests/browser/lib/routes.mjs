// The demo server and the routes that several specs walk.
import { startServer, until } from "./server.mjs";

/** Path, and a text that is there once the page has settled. */
export const ROUTES = {
  welcome: ["/ui/welcome", "Start demo stream"],
  home: ["/ui/", "Explore"],
  explore: ["/ui/explore/demo", "Live"],
  filtered: ["/ui/explore/demo?m=events,avg%3Alatency_ms&f=country:in:DE,US;status:out:500", "Clear all"],
  paused: ["/ui/explore/demo?live=0&tz=UTC&from=now-5m&to=now", "Paused"],
  empty: ["/ui/explore/demo?from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z", "Jump to it"],
  sql: ["/ui/sql", "Run with Ctrl+Enter"],
  "no table": ["/ui/explore/nothing", undefined],
  "no page": ["/ui/nowhere", undefined],
};


/** A server whose demo has written its history and goes on. */
export async function startDemoServer() {
  const server = await startServer("--demo", "--seed", "1");
  await until("the demo wrote its history", async () => (await (await fetch(`${server.url}/api/v1/demo`)).json()).backfilled, 90_000);
  return server;
}

export async function settle(page, server, [path, text]) {
  await page.goto(server.url + path);
  await page.locator("h1").waitFor();
  if (text !== undefined) await page.getByText(text, { exact: true }).first().waitFor();
  if (path.startsWith("/ui/explore/demo") && !path.includes("2001")) await page.getByTestId("board-country").locator("button[data-value]").first().waitFor();
}
