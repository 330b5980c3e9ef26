// The open queries. A double click or F2 renames, Delete closes.
import { useEffect, useRef, useState } from "react";
import { navigate } from "../../app/router";
import { Button } from "../../kit/Button";
import { CloseIcon, PlusIcon } from "../../kit/icons";
import type { Tab } from "../../sql/tabs";
import { workspace } from "../../sql/workspace";
import styles from "./sql.module.css";

export function TabStrip({ tabs, current }: { tabs: readonly Tab[]; current: string }) {
  const [naming, setNaming] = useState<string>();
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    list.current?.querySelector('[aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [current, tabs.length]);

  const close = (id: string) => {
    const next = workspace.close(id);
    if (id === current) navigate(`/sql/${next}`, { replace: true });
  };
  const rename = (id: string, name: string) => {
    setNaming(undefined);
    if (name.trim() !== "") workspace.change(id, { name: name.trim() });
  };
  return (
    <nav className={styles.strip} aria-label="Query tabs">
      <ul ref={list} className={styles.tabs}>
        {tabs.map((tab) => (
          <li key={tab.id} className={styles.tab} data-current={tab.id === current || undefined}>
            {naming === tab.id ? (
              <input
                className={styles.name} aria-label="Name of the tab" defaultValue={tab.name} autoFocus onFocus={(event) => event.target.select()}
                onBlur={(event) => rename(tab.id, event.target.value)}
                onKeyDown={(event) => { if (event.key === "Enter") rename(tab.id, event.currentTarget.value); else if (event.key === "Escape") { event.stopPropagation(); setNaming(undefined); } }}
              />
            ) : (
              <button
                type="button" className={styles.tabName} aria-current={tab.id === current ? "page" : undefined} title={`${firstLine(tab.text)}\nF2 renames, Delete closes`}
                onClick={() => navigate(`/sql/${tab.id}`)} onDoubleClick={() => setNaming(tab.id)}
                onKeyDown={(event) => { if (event.key === "F2") setNaming(tab.id); else if (event.key === "Delete") close(tab.id); }}
              >
                {tab.name}
              </button>
            )}
            <button type="button" className={styles.tabClose} aria-label={`Close ${tab.name}`} onClick={() => close(tab.id)}><CloseIcon size={12} /></button>
          </li>
        ))}
      </ul>
      <Button look="quiet" icon={<PlusIcon />} title="New query" onPress={() => navigate(`/sql/${workspace.open({ zone: tabs.find((tab) => tab.id === current)?.zone ?? "local" })}`)} />
    </nav>
  );
}

function firstLine(text: string): string {
  const line = text.trim().split("\n")[0] ?? "";
  return line === "" ? "empty" : line.slice(0, 100);
}
