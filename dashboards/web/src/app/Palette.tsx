// Ctrl-K: type a few letters, Enter goes there.
import { useState, type KeyboardEvent } from "react";
import { extentOf, type Table } from "../api/tables";
import { Dialog } from "../kit/Dialog";
import { exploreHref } from "../query/explore";
import { rangeOfNewest } from "../query/range";
import { quote } from "../query/sql";
import { handOff } from "../sql/handoff";
import { shareHref } from "../sql/share";
import { formatNumber } from "../viz/format";
import { navigate } from "./router";
import type { Theme } from "./theme";
import styles from "./Sheets.module.css";

type Props = { tables: readonly Table[]; onTheme: (theme: Theme) => void; onKeys: () => void; onClose: () => void };

export default function Palette({ tables, onTheme, onKeys, onClose }: Props) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const deeds = [
    ...tables.map((table) => ({ label: `Explore ${table.name}`, hint: `${formatNumber(table.rows)} rows`, run: () => navigate(exploreHref({ table: table.name, range: rangeOfNewest(extentOf(table), Date.now()) })) })),
    ...tables.map((table) => ({ label: `Query ${table.name}`, hint: "SQL", run: () => {
      const text = `SELECT *\nFROM ${quote(table.name)}\nORDER BY __time DESC\nLIMIT 100`;
      handOff(text);
      navigate(shareHref({ text, zone: "local" }));
    } })),
    { label: "Home", hint: "g h", run: () => navigate("/") },
    { label: "SQL", hint: "g s", run: () => navigate("/sql") },
    { label: "Add data", hint: "g a", run: () => navigate("/welcome") },
    { label: "Dark theme", hint: "", run: () => onTheme("dark") },
    { label: "Light theme", hint: "", run: () => onTheme("light") },
    { label: "Theme as the system", hint: "", run: () => onTheme("system") },
    { label: "Keys", hint: "?", run: onKeys },
  ].filter((deed) => text.toLowerCase().split(/\s+/).every((word) => deed.label.toLowerCase().includes(word)));
  const chosen = Math.min(at, deeds.length - 1);
  const run = (index: number) => {
    onClose();
    deeds[index]?.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter") run(chosen);
    else if (event.key === "ArrowDown") setAt(Math.min(deeds.length - 1, chosen + 1));
    else if (event.key === "ArrowUp") setAt(Math.max(0, chosen - 1));
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to" open onClose={onClose}>
      <input
        className={styles.search} autoFocus value={text} placeholder="A table, a place, a theme" role="combobox" aria-label="Go to"
        aria-expanded="true" aria-controls="palette-list" aria-activedescendant={deeds.length > 0 ? `deed-${chosen}` : undefined}
        onChange={(event) => { setText(event.target.value); setAt(0); }} onKeyDown={onKeyDown}
      />
      <ul id="palette-list" role="listbox" aria-label="Places" className={styles.deeds}>
        {deeds.map((deed, index) => (
          <li key={deed.label} id={`deed-${index}`} role="option" aria-selected={index === chosen} className={styles.deed} onPointerMove={() => setAt(index)} onClick={() => run(index)}>
            <span>{deed.label}</span>
            <span className={styles.hint}>{deed.hint}</span>
          </li>
        ))}
      </ul>
      {deeds.length === 0 && <p className={styles.hint}>Nothing is called that.</p>}
    </Dialog>
  );
}
