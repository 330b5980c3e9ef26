import { useEffect, useState } from "react";
import { Label, Slider, SliderOutput, SliderThumb, SliderTrack } from "react-aria-components";
import { formatNumber } from "../viz/format";
import styles from "./kit.module.css";

type Props = { label: string; value: number; max: number; onChange: (value: number) => void };

const STEPS = 100;

/** A slider whose first half is fine and whose end is far: position³, rounded to two digits. */
function toValue(position: number, max: number): number {
  const raw = (position / STEPS) ** 3 * max;
  if (raw < 10) return Math.round(raw);
  const scale = 10 ** (Math.floor(Math.log10(raw)) - 1);
  return Math.min(max, Math.round(raw / scale) * scale);
}

function toPosition(value: number, max: number): number {
  return Math.round((value / max) ** (1 / 3) * STEPS);
}

export function RateSlider({ label, value, max, onChange }: Props) {
  const [position, setPosition] = useState(() => toPosition(value, max));
  const [moving, setMoving] = useState(false);
  useEffect(() => {
    if (!moving) setPosition(toPosition(value, max));
  }, [value, max, moving]);
  const shown = moving ? toValue(position, max) : value;
  return (
    <Slider
      className={styles.slider ?? ""} minValue={0} maxValue={STEPS} value={position}
      onChange={(next) => { setMoving(true); setPosition(next as number); }}
      onChangeEnd={(next) => { setMoving(false); onChange(toValue(next as number, max)); }}
    >
      <Label className={styles.hint ?? ""}>{label}</Label>
      <SliderTrack className={styles.track ?? ""}>
        <SliderThumb className={styles.thumb ?? ""} />
      </SliderTrack>
      <SliderOutput className={styles.output ?? ""}>{() => `${formatNumber(shown)}/s`}</SliderOutput>
    </Slider>
  );
}
