// The build of the page: fixed file names (they are committed and cached by ETag), a list of what it was made from, and budgets.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const root = import.meta.dirname;

/** The inputs of the build, without `*.test.ts`; `dashboards/src/assets/tests.rs` walks the same ones. */
const SOURCE_FOLDERS = ["src", "public"];
const SOURCE_FILES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];

/** Limits in bytes after gzip. */
const ENTRY_BYTES_MAX = 220_000;
const DIST_BYTES_MAX = 450_000;
/** The SQL page with its editor, which nobody loads who does not go there. */
const SQL_BYTES_MAX = 130_000;

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1).replaceAll("\\", "/"));
}

/** Writes `dist/SOURCES.sha256` in the form of sha256sum, so that a stale build is found without Node. */
function listSources(): Plugin {
  return {
    name: "freshet-sources",
    apply: "build",
    closeBundle() {
      const shaping = SOURCE_FOLDERS.flatMap(filesBelow).filter((path) => !path.endsWith(".test.ts"));
      const paths = [...shaping, ...SOURCE_FILES].sort();
      const lines = paths.map((path) => {
        const hash = createHash("sha256").update(readFileSync(join(root, path))).digest("hex");
        return `${hash}  ${path}\n`;
      });
      writeFileSync(join(root, "dist/SOURCES.sha256"), lines.join(""));
    },
  };
}

/** Fails the build when the page outgrows its budget; fonts are not counted. */
function keepBudget(): Plugin {
  return {
    name: "freshet-budget",
    apply: "build",
    closeBundle() {
      const packed = (path: string) => gzipSync(readFileSync(join(root, path)), { level: 9 }).length;
      const all = filesBelow("dist").filter((path) => !/\.woff2?$|SOURCES/.test(path));
      const total = all.reduce((sum, path) => sum + packed(path), 0);
      // What the browser loads before it shows anything: all that index.html names.
      const named = [...readFileSync(join(root, "dist/index.html"), "utf8").matchAll(/(?:src|href)="\/ui\/([^"]+)"/g)];
      const entry = named.reduce((sum, match) => sum + packed(`dist/${match[1]}`), 0);
      const sql = packed("dist/assets/SqlPage.js");
      const kilo = (bytes: number) => (bytes / 1000).toFixed(1);
      console.log(`entry ${kilo(entry)} kB gz of ${ENTRY_BYTES_MAX / 1000}, SQL ${kilo(sql)} of ${SQL_BYTES_MAX / 1000}, all ${kilo(total)} of ${DIST_BYTES_MAX / 1000}`);
      if (entry > ENTRY_BYTES_MAX || sql > SQL_BYTES_MAX || total > DIST_BYTES_MAX) throw new Error("the build is over its size budget");
    },
  };
}

/** `licences.txt`: the packages whose code or fonts are in the build, with their licence texts, as those ask. */
function nameLicences(): Plugin {
  return {
    name: "freshet-licences",
    apply: "build",
    generateBundle(_, bundle) {
      const packages = new Set(["@fontsource-variable/inter", "@fontsource/jetbrains-mono"]);
      for (const part of Object.values(bundle)) {
        for (const id of part.type === "chunk" ? part.moduleIds : []) {
          const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(id.replaceAll("\\", "/"));
          if (found?.[1] !== undefined) packages.add(found[1]);
        }
      }
      const texts = [...packages].sort().map((name) => {
        const folder = join(root, "node_modules", name);
        const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string; license?: string };
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file === undefined ? "" : `\n${readFileSync(join(folder, file), "utf8").replaceAll("\r\n", "\n").trim()}\n`;
        return `${name} ${version} (${license ?? "see below"})\n${text}`;
      });
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}

/** The page speaks English so far: the thirty other catalogues of the widget library stay out of the build. */
function englishOnly(): Plugin {
  return {
    name: "freshet-english-only",
    apply: "build",
    enforce: "pre",
    load(id) {
      const catalogue = /node_modules\/.*(?:intl|i18n)\/.*\b([a-z]{2}-[A-Z]{2})\.m?js$/.exec(id);
      if (catalogue !== null && catalogue[1] !== "en-US") return "export default {};";
      return undefined;
    },
  };
}

const server = process.env.FRESHET_URL ?? "http://127.0.0.1:8888";

export default defineConfig({
  root,
  base: "/ui/",
  plugins: [react(), englishOnly(), nameLicences(), listSources(), keepBudget()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  test: { env: { TZ: "Europe/Zurich" } },
  server: {
    proxy: {
      "/api": { target: server, ws: true, changeOrigin: true, rewriteWsOrigin: true },
      "/druid": { target: server, changeOrigin: true },
      "/status": { target: server, changeOrigin: true },
    },
  },
});
