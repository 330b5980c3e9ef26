import { useEffect, useState } from "react";
import { Button } from "./Button";
import { CheckIcon, CopyIcon } from "./icons";

type Props = { text: string; what: string; label?: string; onCopy?: () => void };

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain HTTP on another host has no clipboard; a selected text field still copies.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

export function CopyButton({ text, what, label, onCopy }: Props) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1_500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => {
    onCopy?.();
    void copyText(text).then(setDone);
  };
  const icon = done ? <CheckIcon /> : <CopyIcon />;
  if (label === undefined) return <Button look="quiet" icon={icon} title={done ? "Copied" : `Copy ${what}`} onPress={copy} />;
  return <Button icon={icon} onPress={copy}>{done ? "Copied" : label}</Button>;
}
