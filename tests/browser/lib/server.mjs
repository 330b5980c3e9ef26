// A freshet of its own for each spec file: a free loopback port, an empty data folder, stopped at the end.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const binary = process.env.FRESHET_TEST_BIN;
if (binary === undefined || binary === "") throw new Error("FRESHET_TEST_BIN names no binary: build one and pass its path");

const READY_MS_MAX = 30_000;

async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Polls until `check` gives something true; its last error or value is in the message when it does not. */
export async function until(what, check, ms = 10_000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
    await new Promise((wake) => setTimeout(wake, 60));
  }
}

export async function startServer(...flags) {
  const folder = await mkdtemp(join(tmpdir(), "freshet-browser-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let child;
  let output = "";

  const start = async () => {
    child = spawn(binary, ["--listen", `127.0.0.1:${port}`, "--data-dir", folder, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (output = (output + bytes).slice(-4_000)));
    const ended = once(child, "exit").then(([code]) => code);
    await until("the server is ready", async () => {
      const gone = await Promise.race([ended.then((code) => ({ code })), Promise.resolve(undefined)]);
      if (gone !== undefined) throw new Error(`freshet ended with ${gone.code}: ${output}`);
      return (await fetch(`${url}/status/health`)).ok;
    }, READY_MS_MAX);
  };
  const end = async (signal) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  };
  await start();

  const call = async (path, init) => {
    const answer = await fetch(url + path, init);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  };
  return {
    url,
    start,
    kill: () => end("SIGKILL"),
    output: () => output,
    push: (table, rows) => call(`/api/v1/push/${table}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(rows) }),
    sql: (query) => call("/druid/v2/sql", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ query }) }),
    tables: async () => (await call("/api/v1/tables")).tables,
    stop: async () => {
      await end("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
