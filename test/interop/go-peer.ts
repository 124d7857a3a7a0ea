/** Builds `test/interop/go` once and runs peers of it: one process each, commands and answers as JSON lines (see main.go). */
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const FOLDER = join(import.meta.dirname, "go");
const BINARY = join(import.meta.dirname, "bin", "go-peer");
/** With an empty module cache the build downloads and compiles go-libp2p: about a minute on two cores. */
export const BUILD_LIMIT_MS = 10 * 60_000;
/** Longer than the peer's own limit for a command. */
const ANSWER_LIMIT_MS = 20_000;
/** What makes a build impossible on this machine rather than wrong. */
const CANNOT_BUILD = /no such host|dial tcp|connection refused|i\/o timeout|toolchain not available|requires go >=/;

export interface GoAnswer {
  ok: boolean;
  error?: string;
  id?: string;
  addrs?: string[];
  peers?: string[];
  security?: string;
  muxer?: string;
}

export interface GoPeer extends AsyncDisposable {
  id: string;
  /** With `/p2p/<id>`. */
  address(transport: "tcp" | "ws"): string;
  /** @throws with the peer's own words when the command fails */
  do(command: { do: string; addr?: string; sizes?: number[]; cid?: string }): Promise<GoAnswer>;
}

/** @returns why it cannot be built here; undefined: it is built */
export async function buildGoPeer(): Promise<string | undefined> {
  const run = promisify(execFile);
  try {
    await run("go", ["version"]);
  } catch {
    return "no `go` on the PATH: install Go 1.26 or later";
  }
  try {
    await run("go", ["build", "-trimpath", "-buildvcs=false", "-o", BINARY, "."], {
      cwd: FOLDER,
      timeout: BUILD_LIMIT_MS,
    });
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? String(error);
    if (!CANNOT_BUILD.test(said)) throw error;
    return `go could not build the peer: ${said.trim().split("\n").at(-1)}`;
  }
}

/** @param options as main.go's flags */
export async function startGoPeer(options: { security?: string; dht?: string } = {}): Promise<GoPeer> {
  const flags = Object.entries(options).map(([name, value]) => `-${name}=${value}`);
  const child = spawn(BINARY, flags, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const answer = async (): Promise<GoAnswer> => {
    const limit = setTimeout(() => child.kill("SIGKILL"), ANSWER_LIMIT_MS);
    const line = await lines.next().finally(() => clearTimeout(limit));
    if (line.done) throw new Error("the go peer ended without an answer");
    const said = JSON.parse(line.value) as GoAnswer;
    if (!said.ok) throw new Error(`go peer: ${said.error}`);
    return said;
  };
  const ready = await answer();
  return {
    id: ready.id!,
    address(transport) {
      return ready.addrs!.find((address) => address.includes("/ws/") === (transport === "ws"))!;
    },
    do(command) {
      child.stdin.write(`${JSON.stringify(command)}\n`);
      return answer();
    },
    async [Symbol.asyncDispose]() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      await ended;
    },
  };
}
