// The colours of the theme as a canvas needs them, read once per theme.

export type Palette = { text: string; dim: string; line: string; panel: string; accent: string; series: string[] };

let known: Palette | undefined;
const listeners = new Set<() => void>();

export function palette(): Palette {
  if (known !== undefined) return known;
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  known = {
    text: read("--text"), dim: read("--dim"), line: read("--line"), panel: read("--panel"), accent: read("--accent"),
    series: [1, 2, 3, 4, 5, 6, 7, 8].map((number) => read(`--series-${number}`)),
  };
  return known;
}

export function paletteChanged(): void {
  known = undefined;
  for (const listener of listeners) listener();
}

export function onPalette(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
