import { live } from "../../api/live";
import { Button } from "../../kit/Button";
import { Notice } from "../../kit/Strip";
import { spanOf, type TimeRange, type Zone } from "../../query/range";
import { formatDuration, formatInstant } from "../../viz/format";

type Props = { range: TimeRange; zone: Zone; newest: number | undefined; filtered: boolean; onJump: () => void; onRemoveFilter: () => void };

/** Nothing to draw, why, and the one thing to do about it. */
export function EmptyRange({ range, zone, newest, filtered, onJump, onRemoveFilter }: Props) {
  const now = live.serverNow();
  const span = spanOf(range, now);
  const between = `between ${formatInstant(span.from, zone)} and ${range.to === "now" ? "now" : formatInstant(span.to, zone)}`;
  const outside = newest !== undefined && (newest < span.from || newest >= span.to);
  if (outside) {
    const age = now - newest;
    return (
      <Notice title={`No rows ${between}.`} action={<Button look="primary" onPress={onJump}>Jump to it</Button>}>
        The newest row is {age >= 0 ? `${formatDuration(age)} old` : `${formatDuration(-age)} in the future`} ({formatInstant(newest, zone)}).
      </Notice>
    );
  }
  if (filtered) {
    return <Notice title={`No rows ${between} match the filters.`} action={<Button look="primary" onPress={onRemoveFilter}>Remove the last filter</Button>} />;
  }
  return <Notice title={`No rows ${between} yet.`}>They appear here as they arrive.</Notice>;
}
