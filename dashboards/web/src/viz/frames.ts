// One frame loop for the whole page. A painter says when its picture is next due; only visible ones are asked, within a budget.

export type Painter = {
  element: Element;
  /** Draws, and answers when the picture changes next by itself (a time of `performance.now()`); Infinity = only when told. */
  paint(now: number): number;
};

type Entry = { painter: Painter; visible: boolean; due: number };

const BUDGET_MS = 8;
/** Milliseconds between frames at 60, 30 and 10 a second. */
const STEPS_MS = [0, 33, 100];

export class FrameLoop {
  #entries = new Map<Element, Entry>();
  #observer: IntersectionObserver;
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #step = 0;
  #over = 0;
  #calm: MediaQueryList;

  constructor() {
    this.#observer = new IntersectionObserver((changes) => {
      for (const change of changes) {
        const entry = this.#entries.get(change.target);
        if (entry !== undefined) entry.visible = change.isIntersecting;
      }
      this.#schedule(0);
    });
    this.#calm = matchMedia("(prefers-reduced-motion: reduce)");
    document.addEventListener("visibilitychange", () => this.#schedule(0));
  }

  add(painter: Painter): () => void {
    this.#entries.set(painter.element, { painter, visible: true, due: 0 });
    this.#observer.observe(painter.element);
    this.#schedule(0);
    return () => {
      this.#entries.delete(painter.element);
      this.#observer.unobserve(painter.element);
    };
  }

  /** New data or a new size: paint at the next frame. */
  touch(element: Element): void {
    const entry = this.#entries.get(element);
    if (entry === undefined) return;
    entry.due = 0;
    this.#schedule(0);
  }

  #schedule(pause: number): void {
    if (document.hidden || this.#entries.size === 0) return;
    if (pause > 20) {
      if (this.#frame !== 0) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#request(), pause);
      return;
    }
    clearTimeout(this.#timer);
    this.#request();
  }

  #request(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame((now) => this.#run(now));
  }

  #run(now: number): void {
    this.#frame = 0;
    let next = Infinity;
    for (const entry of this.#entries.values()) {
      if (!entry.visible) continue;
      if (entry.due <= now) {
        const wanted = entry.painter.paint(now);
        // Under reduced motion the axis steps once a second instead of gliding.
        entry.due = this.#calm.matches ? Math.max(wanted, now + 1_000) : wanted;
      }
      next = Math.min(next, entry.due);
    }
    const spent = performance.now() - now;
    this.#over = spent > BUDGET_MS ? this.#over + 1 : Math.max(0, this.#over - 0.25);
    if (this.#over > 30) {
      this.#step = Math.min(this.#step + 1, STEPS_MS.length - 1);
      this.#over = 0;
    }
    if (next < Infinity) this.#schedule(Math.max(next - performance.now(), STEPS_MS[this.#step] as number));
  }
}

let loop: FrameLoop | undefined;

export function frames(): FrameLoop {
  loop ??= new FrameLoop();
  return loop;
}
