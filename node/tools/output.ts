/** What a tool may answer: bounded text without invisible characters, and bounded structured data. */
import type { Json, ToolContent, ToolResult } from "../../protocols/tool.ts";
import { MAX_INLINE_BYTES } from "../../protocols/limits.ts";

export interface OutputBounds {
  /** All text of one result. */
  textBytes: number;
  /** Structured data as JSON; what is larger is dropped and said. */
  structuredChars: number;
}

/** What leaves this machine must fit into an envelope, text beside structured data (F6 carries more, by blob). */
export const ANSWER_BOUNDS: OutputBounds = { textBytes: 96 * 1024, structuredChars: MAX_INLINE_BYTES - 96 * 1024 };
/** What one step of an agent hands to the next stays in memory: a whole diff with its list of files. */
export const STEP_BOUNDS: OutputBounds = { textBytes: 2 * 1024 * 1024, structuredChars: 2 * 1024 * 1024 };

/**
 * Characters that a reader can't see but a model or a terminal obeys (J5): Unicode tags, bidirectional controls, zero width,
 * variation selectors of the supplement, and C0/C1 controls except tab and line breaks.
 */
const INVISIBLE =
  // oxlint-disable-next-line no-control-regex -- these are the characters that are removed
  /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2069\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E0FFF}]/gu;

export function stripInvisible(text: string): string {
  return text.replace(INVISIBLE, "");
}

export function textResult(text: string, structured?: Json): ToolResult {
  const content: ToolContent[] = [{ type: "text", text }];
  return structured === undefined ? { content, isError: false } : { content, structured, isError: false };
}

/** All text of a result. */
export function resultText(result: ToolResult): string {
  return result.content
    .map((piece) => (piece.type === "text" ? piece.text : `[${piece.mediaType}, ${piece.bytes} bytes]`))
    .join("\n");
}

/** Cuts text at whole characters and says so; drops structured data that is too large. */
export function boundResult(result: ToolResult, bounds: OutputBounds): ToolResult {
  let left = bounds.textBytes;
  const content = result.content.map((piece): ToolContent => {
    if (piece.type !== "text") return piece;
    const text = cutText(piece.text, left);
    left = Math.max(0, left - Buffer.byteLength(text));
    return { type: "text", text };
  });
  if (result.structured === undefined) return { content, isError: result.isError };
  const size = JSON.stringify(result.structured).length;
  if (size <= bounds.structuredChars) return { content, structured: result.structured, isError: result.isError };
  return {
    content,
    structured: { dropped: `structured data of ${size} characters is over ${bounds.structuredChars}` },
    isError: result.isError,
  };
}

/** The start of `text` that fits into `bytes`, with a note if something was cut. */
export function cutText(text: string, bytes: number): string {
  const whole = Buffer.from(text);
  if (whole.length <= bytes) return text;
  const note = `\n… cut: ${whole.length} bytes, shown ${bytes}`;
  const kept = whole.subarray(0, Math.max(0, bytes - Buffer.byteLength(note))).toString();
  return kept.replace(/\uFFFD$/, "") + note;
}
