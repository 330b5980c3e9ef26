// Routes and what belongs to the whole page: capabilities, shortcuts, the sheet of keys, the palette.
import { lazy, Suspense, useEffect, useState } from "react";
import { fetchCapabilities, type Capabilities } from "../api/capabilities";
import { asApiError, type ApiError } from "../api/errors";
import { useTables } from "../api/hooks";
import { extentOf } from "../api/tables";
import { ErrorStrip, Notice, Skeleton } from "../kit/Strip";
import { ExplorePage } from "../pages/explore/ExplorePage";
import { HomePage } from "../pages/home/HomePage";
import { WelcomePage } from "../pages/welcome/WelcomePage";
import { exploreHref } from "../query/explore";
import { rangeOfNewest } from "../query/range";
import { Frame, Page } from "./Frame";
import { useKeys } from "./keys";
import { Link, navigate, useLocation } from "./router";
import { setTheme } from "./theme";

const KeySheet = lazy(() => import("./KeySheet"));
const Palette = lazy(() => import("./Palette"));
/** The editor is as large as the rest of the page: it comes when it is asked for. */
const SqlPage = lazy(() => import("../pages/sql/SqlPage"));

export function App() {
  const { path, search } = useLocation();
  const { tables } = useTables();
  const [capabilities, setCapabilities] = useState<Capabilities>();
  const [error, setError] = useState<ApiError>();
  const [sheet, setSheet] = useState<"keys" | "palette">();

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = () => {
      fetchCapabilities().then((answer) => { setCapabilities(answer); setError(undefined); }, (failure: unknown) => {
        setError(asApiError(failure));
        timer = setTimeout(load, 2_000);
      });
    };
    load();
    return () => clearTimeout(timer);
  }, []);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setSheet((open) => (open === "palette" ? undefined : "palette"));
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  const current = /^\/explore\/([^/]+)$/.exec(path);
  const named = current === null ? undefined : decode(current[1] as string);
  const first = tables?.find((table) => table.rows > 0);
  const explore = named !== undefined ? path + search : first === undefined ? undefined : exploreHref({ table: first.name, range: rangeOfNewest(extentOf(first), Date.now()) });
  useKeys({
    "?": () => setSheet("keys"),
    "g h": () => navigate("/"),
    "g e": () => { if (explore !== undefined) navigate(explore); },
    "g s": () => navigate("/sql"),
    "g a": () => navigate("/welcome"),
  });

  const sql = /^\/sql(\/[^/]+)?$/.test(path);
  const empty = tables !== undefined && tables.length === 0;
  useEffect(() => {
    if (path === "/" && empty) navigate("/welcome", { replace: true });
  }, [path, empty]);

  return (
    <Frame exploreHref={explore} version={capabilities?.version} onHelp={() => setSheet("keys")}>
      {error !== undefined && capabilities === undefined && <ErrorStrip error={error} what="The page cannot start" />}
      {path === "/" && <HomePage features={capabilities?.features ?? {}} />}
      {path === "/welcome" && <WelcomePage capabilities={capabilities} />}
      {named !== undefined && <ExplorePage key={named} table={named} search={search} features={capabilities?.features ?? {}} />}
      {sql && (
        <Suspense fallback={<Page title="SQL" name="SQL"><Skeleton height={420} /></Page>}><SqlPage path={path} search={search} /></Suspense>
      )}
      {path !== "/" && path !== "/welcome" && named === undefined && !sql && (
        <Page title="Not found" name="Not found"><Notice title={`There is no page at ${path}.`} action={<Link href="/">Go home</Link>} /></Page>
      )}
      <Suspense fallback={null}>
        {sheet === "keys" && <KeySheet onClose={() => setSheet(undefined)} />}
        {sheet === "palette" && <Palette tables={tables ?? []} onTheme={setTheme} onKeys={() => setSheet("keys")} onClose={() => setSheet(undefined)} />}
      </Suspense>
    </Frame>
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
