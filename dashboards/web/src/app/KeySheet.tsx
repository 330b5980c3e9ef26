import { useState } from "react";
import { Dialog } from "../kit/Dialog";
import { keysEnabled, setKeysEnabled } from "./keys";
import styles from "./Sheets.module.css";

const KEYS: readonly [string, string][] = [
  ["Ctrl K", "Go to a place or a table"],
  ["?", "This sheet"],
  ["g h", "Home"],
  ["g e", "Explore"],
  ["g s", "SQL"],
  ["g a", "Add data"],
  [".", "Pause or resume live updates"],
  ["t", "Charts as tables, and back"],
  ["z", "Back out of a zoom, or twice the range"],
  ["[ ]", "One range earlier, later"],
  ["click", "On a value: keep only it; with Ctrl add it; with Alt exclude it"],
  ["Enter x", "On a focused value: keep only it; exclude it"],
  ["← →", "In a chart: read values; with Shift select, then Enter zooms"],
  ["Ctrl ↵", "SQL: run what is selected, or the statement at the cursor; Esc cancels it"],
  ["Ctrl Space", "SQL: complete a name; Ctrl / comments a line"],
  ["F2 Del", "SQL: on a tab, rename it; close it"],
  ["Alt Shift ←", "In a grid: a narrower column, → a wider one; Enter on the header sorts, on a cell opens it; Ctrl C copies"],
];

export default function KeySheet({ onClose }: { onClose: () => void }) {
  const [enabled, setEnabled] = useState(keysEnabled);
  return (
    <Dialog title="Keys" open onClose={onClose}>
      <dl className={styles.keys}>
        {KEYS.map(([key, deed]) => (
          <div key={key}>
            <dt>{key.split(" ").map((part) => <kbd key={part}>{part}</kbd>)}</dt>
            <dd>{deed}</dd>
          </div>
        ))}
      </dl>
      <label className={styles.toggle}>
        <input type="checkbox" checked={enabled} onChange={(event) => { setKeysEnabled(event.target.checked); setEnabled(event.target.checked); }} />
        Single-key shortcuts
      </label>
      <p className={styles.hint}><a href="/ui/licences.txt" target="_blank" rel="noreferrer">Licences of what this page is made of</a></p>
    </Dialog>
  );
}
