import type { ReactNode } from "react";
import { Dialog as AriaDialog, Heading, Modal, ModalOverlay } from "react-aria-components";
import { Button } from "./Button";
import { CloseIcon } from "./icons";
import styles from "./kit.module.css";

type Props = { title: string; open: boolean; onClose: () => void; wide?: boolean; children: ReactNode };

export function Dialog({ title, open, onClose, wide = false, children }: Props) {
  return (
    <ModalOverlay isOpen={open} onOpenChange={(next) => { if (!next) onClose(); }} isDismissable className={styles.overlay ?? ""}>
      <Modal className={`${styles.modal} ${wide ? styles.wide : ""}`}>
        <AriaDialog className={styles.dialog ?? ""}>
          <div className={styles.dialogHead}>
            <Heading slot="title">{title}</Heading>
            <Button look="quiet" icon={<CloseIcon />} title="Close" onPress={onClose} />
          </div>
          {children}
        </AriaDialog>
      </Modal>
    </ModalOverlay>
  );
}
