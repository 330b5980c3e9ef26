// Single-key shortcuts. They never fire while someone types, and can be switched off (WCAG 2.1.4).
import { useEffect, useRef } from "react";

const KEY = "freshet.keys";

export function keysEnabled(): boolean {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

export function setKeysEnabled(enabled: boolean): void {
  try {
    if (enabled) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "off");
  } catch {
    // Without storage they stay on.
  }
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.getAttribute("role") === "spinbutton");
}

/** `bindings` maps a key (`t`, `.`, `g h`) to a deed. */
export function useKeys(bindings: Record<string, (event: KeyboardEvent) => void>): void {
  const latest = useRef(bindings);
  latest.current = bindings;
  useEffect(() => {
    let prefix = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !keysEnabled()) return;
      if (document.querySelector('[role="dialog"], [role="menu"], [role="listbox"]') !== null) return;
      const key = prefix === "" ? event.key : `${prefix} ${event.key}`;
      prefix = "";
      clearTimeout(timer);
      const deed = latest.current[key];
      if (deed !== undefined) {
        event.preventDefault();
        deed(event);
      } else if (Object.keys(latest.current).some((other) => other.startsWith(`${event.key} `))) {
        prefix = event.key;
        timer = setTimeout(() => (prefix = ""), 1_000);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
