// Series colours: a stable hash of the name, so that a value keeps its colour across panels and visits.

export const SERIES_COUNT = 8;

/** FNV-1a over the name's UTF-16 units. */
export function seriesIndex(name: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) {
    hash ^= name.charCodeAt(at);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0) % SERIES_COUNT;
}

/** Colours for names shown together: each its own hash, moved on where two of them would meet. */
export function seriesIndices(names: readonly string[]): number[] {
  const taken = new Set<number>();
  return names.map((name) => {
    let index = seriesIndex(name);
    for (let step = 0; step < SERIES_COUNT && taken.has(index); step++) index = (index + 1) % SERIES_COUNT;
    taken.add(index);
    return index;
  });
}
