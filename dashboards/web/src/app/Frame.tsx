// The shell: rail with the places, status of the live socket, theme; a bottom bar on phones; the header every page fills.
import { useEffect, useRef, useState, type ReactNode } from "react";
import { useSocketStatus } from "../api/hooks";
import { eventToScreen } from "../api/freshness";
import { live } from "../api/live";
import { Button } from "../kit/Button";
import { ExploreIcon, HomeIcon, KeyboardIcon, PanelIcon, PlusIcon, SqlIcon, ThemeIcon } from "../kit/icons";
import { Menu } from "../kit/Menu";
import { formatDuration } from "../viz/format";
import { Link, useLocation } from "./router";
import { setTheme, useTheme, type Theme } from "./theme";
import styles from "./Frame.module.css";

export type Place = { href: string; label: string; icon: ReactNode; match: RegExp };

type FrameProps = { exploreHref: string | undefined; version: string | undefined; onHelp: () => void; children: ReactNode };

export function Frame({ exploreHref, version, onHelp, children }: FrameProps) {
  const { path } = useLocation();
  const [narrow, setNarrow] = useState(false);
  const theme = useTheme();
  const places: Place[] = [
    { href: "/", label: "Home", icon: <HomeIcon />, match: /^\/$/ },
    ...(exploreHref === undefined ? [] : [{ href: exploreHref, label: "Explore", icon: <ExploreIcon />, match: /^\/explore\// }]),
    { href: "/sql", label: "SQL", icon: <SqlIcon />, match: /^\/sql(\/|$)/ },
    { href: "/welcome", label: "Add data", icon: <PlusIcon />, match: /^\/welcome$/ },
  ];
  return (
    <div className={styles.frame} data-narrow={narrow || undefined}>
      <a className={styles.skip} href="#content">Skip to content</a>
      <nav className={styles.rail} aria-label="Places">
        <Link href="/" className={styles.brand} aria-label="Freshet, home">
          <img src="/ui/icon.svg" width="24" height="24" alt="" />
          <span className={styles.word}>Freshet</span>
        </Link>
        <ul className={styles.places}>
          {places.map((place) => (
            <li key={place.label}>
              <Link href={place.href} className={styles.place} aria-current={place.match.test(path) ? "page" : undefined} title={narrow ? place.label : undefined}>
                {place.icon}
                <span className={styles.word}>{place.label}</span>
              </Link>
            </li>
          ))}
        </ul>
        <div className={styles.foot}>
          <Status />
          <div className={styles.tools}>
            <Menu
              label="Theme" placement="top start" selected={[theme]} onAction={(id) => setTheme(id as Theme)}
              items={[{ id: "system", label: "As the system" }, { id: "dark", label: "Dark" }, { id: "light", label: "Light" }]}
            >
              <Button look="quiet" icon={<ThemeIcon />} title="Theme" />
            </Menu>
            <Button look="quiet" icon={<KeyboardIcon />} title="Keys" onPress={onHelp} />
            <Button look="quiet" icon={<PanelIcon />} title={narrow ? "Widen the rail" : "Narrow the rail"} onPress={() => setNarrow(!narrow)} />
          </div>
          {version !== undefined && <p className={`${styles.version} ${styles.word}`}>freshet {version}</p>}
        </div>
      </nav>
      <main id="content" className={styles.main} tabIndex={-1}>{children}</main>
    </div>
  );
}

/** State of the live socket, in a word and a colour. */
function Status() {
  const status = useSocketStatus();
  const [, tick] = useState(0);
  useEffect(() => {
    if (status.kind !== "reconnecting") return;
    const timer = setInterval(() => tick((count) => count + 1), 250);
    return () => clearInterval(timer);
  }, [status.kind]);
  const words = {
    connecting: "connecting", live: "live", offline: "offline",
    reconnecting: status.kind === "reconnecting" ? `reconnecting ${Math.max(0, Math.ceil((status.at - Date.now()) / 1_000))} s` : "",
  }[status.kind];
  return (
    <div className={styles.status} data-status={status.kind}>
      <span className={styles.dot} aria-hidden="true" />
      <span className={styles.statusWord} role="status" aria-live="polite">{words}</span>
      {(status.kind === "reconnecting" || status.kind === "offline") && <button type="button" className={styles.now} onClick={() => live.retry()}>now</button>}
    </div>
  );
}

type PageProps = { title: ReactNode; name: string; badge?: boolean; tools?: ReactNode; /** The content is as high as the window and scrolls inside. */ fill?: boolean; children: ReactNode };

export function Page({ title, name, badge = false, tools, fill = false, children }: PageProps) {
  useEffect(() => {
    document.title = `${name} · Freshet`;
  }, [name]);
  return (
    <>
      <header className={styles.header}>
        <h1 className={styles.title}>{title}</h1>
        {badge && <FreshnessBadge />}
        <div className={styles.headerTools}>{tools}</div>
      </header>
      <div className={styles.content} data-fill={fill || undefined}>{children}</div>
    </>
  );
}

/** How old the shown data is, and how long an event took to get here. Written past React: it changes four times a second. */
function FreshnessBadge() {
  const text = useRef<HTMLSpanElement>(null);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const show = () => {
      if (text.current === null || box.current === null) return;
      const connected = live.status.kind === "live";
      if (live.watermark === 0) {
        const fresh = connected || live.status.kind === "connecting";
        text.current.textContent = fresh ? "waiting for data" : "not connected";
        box.current.dataset.state = fresh ? "waiting" : "stale";
        return;
      }
      const age = Math.max(0, live.serverNow() - live.watermark);
      const screen = eventToScreen();
      text.current.textContent = connected
        ? `data as of ${(age / 1_000).toFixed(1)} s ago${screen === undefined ? "" : ` · event to screen ${formatDuration(screen)}`}`
        : `data is ${formatDuration(age)} old`;
      box.current.dataset.state = connected ? "live" : "stale";
    };
    show();
    const timer = setInterval(show, 250);
    return () => clearInterval(timer);
  }, []);
  return (
    <div ref={box} className={styles.badge} data-testid="freshness" title="Event to screen: from the moment a record was produced to the paint that shows it">
      <span className={styles.dot} aria-hidden="true" />
      <span ref={text} />
    </div>
  );
}
