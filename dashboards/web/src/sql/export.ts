// The whole result into a file, as it streams from the server: straight to disk where the browser can, through a blob otherwise.
import { ApiError } from "../api/errors";
import { exportSql, newId, cancelSql, type ExportFormat } from "../api/sql";
import type { Asked } from "./tabs";

export const EXPORTS: readonly { format: ExportFormat; label: string; extension: string; type: string }[] = [
  { format: "csv", label: "CSV", extension: "csv", type: "text/csv" },
  { format: "objectLines", label: "JSON lines", extension: "ndjson", type: "application/x-ndjson" },
  { format: "arrow", label: "Arrow", extension: "arrows", type: "application/vnd.apache.arrow.stream" },
];

type SavePicker = (options: { suggestedName: string }) => Promise<{ createWritable(): Promise<WritableStream<Uint8Array>> }>;

export function fileName(tab: string, extension: string, at: Date): string {
  const stem = tab.trim().replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^-+|-+$/g, "") || "result";
  return `${stem}-${at.toISOString().slice(0, 19).replaceAll(":", "")}.${extension}`;
}

/** Resolves with the bytes that were written; undefined when the person closed the file dialog. */
export async function exportResult(asked: Asked, format: ExportFormat, tab: string, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<number | undefined> {
  const kind = EXPORTS.find((each) => each.format === format);
  if (kind === undefined) throw new ApiError(`there is no export as ${format}`);
  const name = fileName(tab, kind.extension, new Date());
  let total = 0;
  const count = (bytes: number) => {
    total = bytes;
    onBytes(bytes);
  };
  const picker = (globalThis as { showSaveFilePicker?: SavePicker }).showSaveFilePicker;
  // Asked for first: the browser shows its dialog only right after a click.
  const file = picker === undefined ? undefined : await picker({ suggestedName: name }).catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") return null;
    throw error;
  });
  if (file === null) return undefined;
  const id = newId();
  signal.addEventListener("abort", () => void cancelSql(id), { once: true });
  const stream = await exportSql(id, asked, format, signal, count);
  if (file !== undefined) {
    await stream.pipeTo(await file.createWritable(), { signal });
    return total;
  }
  const blob = await new Response(stream, { headers: { "Content-Type": kind.type } }).blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The download has its own hold on the data by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return total;
}
