// Event to screen: from the moment a record was produced to the paint that shows it, measured here, frame by frame.
import { live } from "./live";

export type EventToScreen = { ms: number; at: number };

let newest: EventToScreen | undefined;
let newestProduced = 0;

/** A frame with this newest record was applied; the next paint shows it. */
export function rendered(produced: number | undefined): void {
  if (produced === undefined || produced <= newestProduced) return;
  newestProduced = produced;
  requestAnimationFrame(() => {
    // A message queued in the frame callback runs after the paint.
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const ms = live.serverNow() - produced;
      if (ms >= 0 && ms < 60_000) newest = { ms: newest === undefined ? ms : newest.ms * 0.7 + ms * 0.3, at: Date.now() };
    };
    channel.port2.postMessage(undefined);
  });
}

/** Smoothed over the last frames; undefined when nothing new arrived for a while. */
export function eventToScreen(): number | undefined {
  return newest !== undefined && Date.now() - newest.at < 15_000 ? newest.ms : undefined;
}
