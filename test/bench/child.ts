/** A measured program as a child process: JSON lines in, JSON lines out; it ends when its stdin ends. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A child that stays silent this long is a fault, not a slow machine. */
const ANSWER_LIMIT_MS = 120_000;

export interface Child {
  /** Sends one line, waits for the next. */
  ask<T>(question: unknown): Promise<T>;
  /** What it said first, when it was ready. */
  ready: unknown;
  /** From the spawn to the first line. */
  startMs: number;
  stop(): Promise<void>;
}

/** @param flags of Node */
export async function startChild(
  program: string,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<Child> {
  const began = performance.now();
  const child = spawn(process.execPath, [...flags, program, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const limit = setTimeout(() => child.kill("SIGKILL"), ANSWER_LIMIT_MS);
    const line = await lines.next().finally(() => clearTimeout(limit));
    if (line.done) throw new Error(`${program} ${args.join(" ")} ended without an answer`);
    return JSON.parse(line.value) as unknown;
  };
  const ready = await next();
  return {
    ready,
    startMs: performance.now() - began,
    async ask<T>(question: unknown) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return (await next()) as T;
    },
    async stop() {
      child.stdin.end();
      const limit = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(limit);
    },
  };
}

/** In the child: says `ready`, answers each line with `answer`, ends with stdin. */
export async function serveParent(ready: unknown, answer: (question: never) => unknown): Promise<void> {
  say(ready);
  for await (const line of createInterface(process.stdin)) say(await answer(JSON.parse(line) as never));
}

function say(what: unknown): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}
