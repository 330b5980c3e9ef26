// Dark, light, or as the system says; remembered in this browser. `public/theme.js` applies it before the first paint.
import { useSyncExternalStore } from "react";
import { paletteChanged } from "../viz/palette";

export type Theme = "system" | "dark" | "light";

const KEY = "freshet.theme";
const listeners = new Set<() => void>();

function stored(): Theme {
  const value = document.documentElement.dataset.theme;
  return value === "dark" || value === "light" ? value : "system";
}

function announce(): void {
  paletteChanged();
  for (const listener of listeners) listener();
}

export function setTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the choice lasts as long as the tab.
  }
  announce();
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, stored);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
