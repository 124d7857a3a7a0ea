/**
 * What the CLI prints, once for all verbs (F9): people get lines and columns, `--json` gets one object `{v: 1, …}`, lists
 * `{v: 1, items}`, streams one object a line, errors `{v: 1, error: {code, message, hint}}`. Text that comes from
 * elsewhere can't move the cursor, change colours or set a title: control characters never reach the terminal.
 */
import { errorShape, type ErrorShape } from "../../protocols/errors.ts";

export const EXIT = { ok: 0, failed: 1, usage: 2, notRunning: 3, denied: 4, queued: 5, timedOut: 6 } as const;

const EXIT_BY_CODE: { [code: string]: number } = {
  USAGE: EXIT.usage,
  NOT_A_TICKET: EXIT.usage,
  WRONG_KIND_OF_TEXT: EXIT.usage,
  NOT_RUNNING: EXIT.notRunning,
  DENIED: EXIT.denied,
  NOT_A_MEMBER: EXIT.denied,
  REMOVED: EXIT.denied,
  QUEUED: EXIT.queued,
  DEADLINE_EXCEEDED: EXIT.timedOut,
};

export function exitCodeOf(code: string): number {
  return Object.hasOwn(EXIT_BY_CODE, code) ? EXIT_BY_CODE[code]! : EXIT.failed;
}

export type Style = "bold" | "dim";

export interface Output {
  readonly json: boolean;
  /** A line for people; nothing with --json. */
  line(text?: string, style?: Style): void;
  /** A piece of streamed text, without a line break; nothing with --json. */
  text(text: string): void;
  /** What happens meanwhile, to stderr; nothing with --json. */
  note(text: string): void;
  /** The one object; nothing without --json. */
  object(value: object): void;
  /** One line of a stream; nothing without --json. */
  item(value: object): void;
  readonly columns: number;
  readonly isTerminal: boolean;
}

export function createOutput(json: boolean, env: NodeJS.ProcessEnv = process.env): Output {
  const isTerminal = process.stdout.isTTY;
  const isColoured = isTerminal && !json && !env["NO_COLOR"] && env["TERM"] !== "dumb";
  const styled = (text: string, style: Style | undefined): string =>
    isColoured && style !== undefined ? `\u001B[${style === "bold" ? 1 : 2}m${text}\u001B[0m` : text;
  const machine = (value: object): void => void (json && process.stdout.write(`${jsonText(value)}\n`));
  return {
    json,
    line: (text = "", style) => void (!json && process.stdout.write(`${styled(clean(text), style)}\n`)),
    text: (text) => void (!json && process.stdout.write(clean(text))),
    note: (text) => void (!json && process.stderr.write(`${clean(text)}\n`)),
    object: (value) => machine({ v: 1, ...value }),
    item: machine,
    columns: process.stdout.columns ?? 80,
    isTerminal,
  };
}

// oxlint-disable no-control-regex -- these are what must not pass
/** Control characters (C0, DEL, C1) and those that turn the writing direction; newline and tab stay. */
const UNSAFE = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/g;

export function clean(text: string): string {
  return text.replace(UNSAFE, "");
}

/** JSON that is safe on a terminal too: JSON escapes C0 by itself, not DEL, C1 and direction marks. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Columns, aligned; the last one is cut to the terminal's width. Remote text in a cell stays on its line. */
export async function table(output: Output, head: string[], rows: string[][]): Promise<void> {
  if (output.json) return;
  const { default: Table } = await import("cli-table3");
  const none = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "" };
  const noneMore = { "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "" };
  const chars = { ...none, ...noneMore, right: "", "right-mid": "", middle: "  " };
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const made = new Table({ head, chars, style });
  const cells = rows.map((row) => row.map((cell) => cell.replace(/\s+/g, " ")).map(clean));
  made.push(...(output.isTerminal ? cutLast([head, ...cells], output.columns).slice(1) : cells));
  made
    .toString()
    .split("\n")
    .forEach((line, index) => output.line(line.trimEnd(), index === 0 ? "dim" : undefined));
}

/** Shorter than this a cell says nothing: then the terminal wraps it instead. */
const LEAST_CELL = 16;

/** Rows whose last cells fit, with the others, into `columns`. */
export function cutLast(rows: string[][], columns: number): string[][] {
  const widths = (rows[0] ?? []).slice(0, -1).map((_, index) => Math.max(...rows.map((row) => row[index]!.length)));
  const room = columns - widths.reduce((sum, width) => sum + width + 2, 0);
  if (room < LEAST_CELL) return rows;
  return rows.map((row) => row.map((cell, index) => (index < row.length - 1 ? cell : cut(cell, room))));
}

function cut(cell: string, width: number): string {
  return cell.length <= width ? cell : `${cell.slice(0, width - 1)}…`;
}

/** What happened, why, what to do; to stderr for people, to stdout with --json. No stack without --debug. */
export function printError(
  error: unknown,
  options: { json: boolean; debug: boolean; hint: (text: string) => string },
): void {
  const shape = withHint(errorShape(error), options.hint);
  if (options.json) process.stdout.write(`${jsonText({ v: 1, error: shape })}\n`);
  else process.stderr.write(`${errorText(shape)}\n`);
  if (options.debug) process.stderr.write(`${clean(stackOf(error))}\n`);
}

export function errorText(shape: ErrorShape): string {
  const hint = shape.hint === undefined ? "" : `\n  ${clean(shape.hint).split("\n").join("\n  ")}`;
  return `kin: ${clean(shape.message)} (${clean(shape.code)})${hint}`;
}

export function withHint(shape: ErrorShape, rewrite: (text: string) => string): ErrorShape {
  return shape.hint === undefined ? shape : { ...shape, hint: rewrite(shape.hint) };
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** `1 card`, `3 cards`. */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** `3 s`, `5 min`, `2 h`, `4 d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
