import type { ReactNode } from "react";
import { Header, Menu as AriaMenu, MenuItem, MenuSection, MenuTrigger, Popover, type Selection } from "react-aria-components";
import { CheckIcon } from "./icons";
import styles from "./kit.module.css";

export type Item = { id: string; label: string; hint?: string };

type Props = {
  /** The button that opens it. */
  children: ReactNode;
  label: string;
  items: readonly Item[];
  onAction: (id: string) => void;
  selected?: readonly string[];
  placement?: "bottom start" | "bottom end" | "top start";
};

export function Menu({ children, label, items, onAction, selected, placement = "bottom end" }: Props) {
  const selection = selected === undefined ? {} : { selectionMode: "single" as const, selectedKeys: selected };
  return (
    <MenuTrigger>
      {children}
      <Popover className={styles.popover ?? ""} placement={placement}>
        <AriaMenu className={styles.menu ?? ""} aria-label={label} onAction={(key) => onAction(String(key))} {...selection}>
          {items.map((item) => (
            <MenuItem key={item.id} id={item.id} textValue={item.label} className={styles.item ?? ""}>
              {({ isSelected }) => (
                <>
                  {selected !== undefined && <span className={styles.tick}>{isSelected && <CheckIcon size={14} />}</span>}
                  <span className={styles.grow}>{item.label}</span>
                  {item.hint !== undefined && <span className={styles.hint}>{item.hint}</span>}
                </>
              )}
            </MenuItem>
          ))}
        </AriaMenu>
      </Popover>
    </MenuTrigger>
  );
}

type ChoiceProps = { children: ReactNode; label: string; sections: readonly { title: string; items: readonly Item[] }[]; selected: readonly string[]; most: number; onChange: (selected: string[]) => void };

/** Several of many, at least one and at most `most`. */
export function ChoiceMenu({ children, label, sections, selected, most, onChange }: ChoiceProps) {
  const change = (next: Selection) => {
    if (next === "all") return;
    const known = selected.filter((key) => next.has(key));
    const added = [...next].map(String).filter((key) => !selected.includes(key));
    onChange([...known, ...added].slice(0, most));
  };
  return (
    <MenuTrigger>
      {children}
      <Popover className={styles.popover ?? ""} placement="bottom start">
        <AriaMenu
          className={styles.menu ?? ""} aria-label={label} selectionMode="multiple" disallowEmptySelection shouldCloseOnSelect={false}
          selectedKeys={selected} onSelectionChange={change}
          disabledKeys={selected.length < most ? [] : sections.flatMap((section) => section.items.map((item) => item.id)).filter((id) => !selected.includes(id))}
        >
          {sections.filter((section) => section.items.length > 0).map((section) => (
            <MenuSection key={section.title} id={section.title} aria-label={section.title}>
              <Header className={styles.sectionTitle ?? ""}>{section.title}</Header>
              {section.items.map((item) => (
                <MenuItem key={item.id} id={item.id} textValue={item.label} className={styles.item ?? ""}>
                  {({ isSelected }) => (
                    <>
                      <span className={styles.tick}>{isSelected && <CheckIcon size={14} />}</span>
                      <span className={styles.grow}>{item.label}</span>
                    </>
                  )}
                </MenuItem>
              ))}
            </MenuSection>
          ))}
        </AriaMenu>
      </Popover>
    </MenuTrigger>
  );
}
