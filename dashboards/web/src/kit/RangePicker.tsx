// The time range: presets at once, exact dates in a part of the page that is loaded when first opened.
import { lazy, Suspense, useState } from "react";
import { Dialog, DialogTrigger, Popover } from "react-aria-components";
import { endsNow, parseBound, PRESETS, spanOf, type Span, type TimeRange, type Zone } from "../query/range";
import { formatInstant, zoneName } from "../viz/format";
import { Button } from "./Button";
import { ChevronIcon, ClockIcon } from "./icons";
import styles from "./kit.module.css";

const AbsoluteRange = lazy(() => import("./AbsoluteRange"));

type Props = { range: TimeRange; zone: Zone; now: () => number; onChange: (range: TimeRange) => void };

export function rangeLabel(range: TimeRange, zone: Zone): string {
  const preset = PRESETS.find((candidate) => candidate.range.from === range.from && candidate.range.to === range.to);
  if (preset !== undefined) return preset.label;
  const word = (bound: string) => {
    if (/^now/.test(bound)) return bound;
    const at = parseBound(bound, 0);
    return at === undefined ? bound : formatInstant(at, zone, at % 60_000 !== 0);
  };
  return endsNow(range) && /^now-/.test(range.from) ? `Last ${range.from.slice(4)}` : `${word(range.from)} – ${word(range.to)}`;
}

export function RangePicker({ range, zone, now, onChange }: Props) {
  const [open, setOpen] = useState(false);
  const choose = (next: TimeRange) => {
    setOpen(false);
    onChange(next);
  };
  const span: Span = range.from === "all" ? { from: now() - 86_400_000, to: now() } : spanOf(range, now());
  return (
    <DialogTrigger isOpen={open} onOpenChange={setOpen}>
      <Button icon={<ClockIcon />} aria-label={`Time range: ${rangeLabel(range, zone)}`}>
        <span className={styles.clip}>{rangeLabel(range, zone)}</span>
        <ChevronIcon size={12} />
      </Button>
      <Popover className={styles.popover ?? ""} placement="bottom end">
        <Dialog className={styles.rangeDialog ?? ""} aria-label="Time range">
          <div className={styles.presets}>
            {PRESETS.map((preset) => (
              <button
                key={preset.label} type="button" className={styles.preset}
                aria-pressed={preset.range.from === range.from && preset.range.to === range.to}
                onClick={() => choose(preset.range)}
              >
                {preset.label}
              </button>
            ))}
          </div>
          <div className={styles.absolute}>
            <Suspense fallback={<p className={styles.hint}>Loading …</p>}>
              <AbsoluteRange span={span} zone={zone} onApply={choose} />
            </Suspense>
            <p className={styles.hint}>Times in {zoneName(zone)}</p>
          </div>
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}
