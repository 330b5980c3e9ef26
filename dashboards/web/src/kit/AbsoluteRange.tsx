// Two date fields, to the second. A chunk of its own: date arithmetic for every calendar is half as large as the rest of the page.
import { useState } from "react";
import { fromAbsolute, type ZonedDateTime } from "@internationalized/date";
import { DateField, DateInput, DateSegment, I18nProvider, Label } from "react-aria-components";
import { absolute, type Span, type TimeRange, type Zone } from "../query/range";
import { zoneName } from "../viz/format";
import { Button } from "./Button";
import styles from "./kit.module.css";

type Props = { span: Span; zone: Zone; onApply: (range: TimeRange) => void };

export default function AbsoluteRange({ span, zone, onApply }: Props) {
  const name = zoneName(zone);
  const start = (at: number) => fromAbsolute(Math.floor(at / 1_000) * 1_000, name);
  const [from, setFrom] = useState<ZonedDateTime | null>(() => start(span.from));
  const [to, setTo] = useState<ZonedDateTime | null>(() => start(span.to));
  const ordered = from !== null && to !== null && from.compare(to) < 0;
  const apply = () => {
    if (from !== null && to !== null && ordered) onApply(absolute({ from: from.toDate().getTime(), to: to.toDate().getTime() }));
  };
  return (
    <I18nProvider locale="en-GB-u-hc-h23">
      <Field label="From" value={from} onChange={setFrom} />
      <Field label="To" value={to} onChange={setTo} />
      {!ordered && <p className={styles.wrong}>“From” has to be before “to”.</p>}
      <Button look="primary" isDisabled={!ordered} onPress={apply}>Apply</Button>
    </I18nProvider>
  );
}

function Field({ label, value, onChange }: { label: string; value: ZonedDateTime | null; onChange: (value: ZonedDateTime | null) => void }) {
  return (
    <DateField className={styles.field ?? ""} value={value} onChange={onChange} granularity="second" hideTimeZone shouldForceLeadingZeros>
      <Label className={styles.hint ?? ""}>{label}</Label>
      <DateInput className={styles.dateInput ?? ""}>{(segment) => <DateSegment segment={segment} className={styles.segment ?? ""} />}</DateInput>
    </DateField>
  );
}
