import type { ReactNode } from "react";
import { Button as AriaButton, type ButtonProps } from "react-aria-components";
import styles from "./kit.module.css";

type Props = Omit<ButtonProps, "className" | "style"> & {
  look?: "plain" | "primary" | "quiet" | "danger";
  icon?: ReactNode;
  /** Shown when the button holds an icon alone. */
  title?: string;
};

export function Button({ look = "plain", icon, title, children, ...rest }: Props) {
  const alone = children === undefined;
  const label = alone && title !== undefined ? { "aria-label": title } : {};
  return (
    <AriaButton {...rest} {...label} className={`${styles.button} ${styles[look]} ${alone ? styles.square : ""}`}>
      {(state) => (
        <>
          {icon}
          {typeof children === "function" ? children({ ...state, defaultChildren: undefined }) : children}
        </>
      )}
    </AriaButton>
  );
}
