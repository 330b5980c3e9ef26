// Paths below /ui and the parameters behind them are the state of the page; history is the only store of it.
import { useSyncExternalStore, type AnchorHTMLAttributes, type MouseEvent } from "react";

export const BASE = "/ui";

export type Location = { path: string; search: string };

const listeners = new Set<() => void>();
let current = read();

function read(): Location {
  const path = location.pathname.startsWith(BASE) ? location.pathname.slice(BASE.length) : location.pathname;
  return { path: path === "" ? "/" : path, search: location.search };
}

function changed(): void {
  current = read();
  for (const listener of listeners) listener();
}

window.addEventListener("popstate", changed);

type How = { replace?: boolean; /** This entry narrows the view of the one before: `z` goes back. */ zoom?: boolean };

export function navigate(href: string, how: How = {}): void {
  const state = { zoom: how.zoom === true };
  if (how.replace === true) history.replaceState(history.state ?? state, "", BASE + href);
  else history.pushState(state, "", BASE + href);
  const before = current.path;
  changed();
  if (current.path !== before) window.scrollTo(0, 0);
}

export function isZoomed(): boolean {
  return (history.state as { zoom?: boolean } | null)?.zoom === true;
}

export function useLocation(): Location {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, () => current);
}

export function Link({ href, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const onClick = (event: MouseEvent<HTMLAnchorElement>) => {
    rest.onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(href);
  };
  return <a {...rest} href={BASE + href} onClick={onClick} />;
}
