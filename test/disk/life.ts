/** One life of a writer: started, killed at some moment, and what it said until then. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readSaid, type Said } from "./verify.ts";

const WRITER = fileURLToPath(new URL("writer.ts", import.meta.url));

export interface LifeOptions {
  file: string;
  /** SIGKILL comes so long after "ready". */
  lifeMs?: number;
  /** Or when it has said so many lines: on a busy machine as much is written as on a quiet one. */
  lines?: number;
  env?: { [name: string]: string };
  /** URL of another build of the store. */
  module?: string | undefined;
  /** While it lives; may look at what it has said so far, and gives up when it has ended. */
  during?: (soFar: () => Said, signal: AbortSignal) => Promise<void>;
}

export interface Life extends Said {
  /** Null: killed, as it should be; else what it said when it ended by itself. */
  ended: string | null;
}

/** @throws if the writer ends by itself */
export async function liveAndDie(options: LifeOptions): Promise<Said> {
  const life = await live(options);
  if (life.ended !== null) throw new Error(`the writer ended by itself: ${life.ended}`);
  return life;
}

/** The same for a writer that may not be able to live. */
export async function live(options: LifeOptions): Promise<Life> {
  const { file, lifeMs = 0, lines = 0, env = {}, module, during } = options;
  const child = spawn(process.execPath, [WRITER, file, ...(module === undefined ? [] : [module])], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  const over = new AbortController();
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on("close", (_, signal) => resolve(signal)));
  let text = "";
  let complaint = "";
  const killing: Promise<void>[] = [];
  child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    if (text.startsWith("ready\n") && text.split("\n").length > lines && killing.length === 0) killing.push(kill());
  });
  async function kill(): Promise<void> {
    const looked = during?.(() => readSaid(text), over.signal);
    await Promise.all([new Promise((later) => setTimeout(later, lifeMs)), looked]);
    child.kill("SIGKILL");
  }
  const signal = await ended;
  over.abort();
  await Promise.all(killing);
  const said = readSaid(text);
  if (said.torn > 1) throw new Error(`${said.torn} lines of the writer came apart`);
  return { ...said, ended: signal === "SIGKILL" ? null : complaint };
}
