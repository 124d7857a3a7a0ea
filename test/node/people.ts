/** Real people for tests: each with a data folder, a real node process, and the real `kin` command. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../../node/alive.ts";
import { connectControl } from "../../node/cli/control-client.ts";
import { resolveHome } from "../../node/home.ts";
import { MAIN, runKin, type Ran, type RunOptions } from "../cli/run-kin.ts";

export interface Person {
  name: string;
  home: string;
  /** Runs `kin …` as this person. */
  kin(args: string[], options?: Partial<RunOptions>): Promise<Ran>;
  /** The same with `--json`: its last line. */
  json<T>(args: string[], options?: Partial<RunOptions>): Promise<T>;
  /** Process id of the running node. */
  pid(): Promise<number>;
  log(): Promise<string>;
}

export interface World extends AsyncDisposable {
  folder: string;
  /** @param options for every command of this person, and so for the node that it starts */
  person(name: string, settings?: object, options?: Partial<RunOptions>): Promise<Person>;
}

/** Quiet by default: 127.0.0.1 only, no mDNS. Everybody's node is stopped and everything deleted at the end. */
export async function openWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "kin-world-"));
  const people: Person[] = [];
  return {
    folder,
    async person(name, settings = {}, always = {}) {
      const home = join(folder, name);
      await mkdir(home, { mode: 0o700 });
      const config = { name, listen: { hosts: ["127.0.0.1"] }, discovery: { mdns: false }, ...settings };
      await writeFile(join(home, "config.jsonc"), JSON.stringify(config), { mode: 0o600 });
      const kin: Person["kin"] = (args, options = {}) => runKin(args, { home, program: MAIN, ...always, ...options });
      const person: Person = {
        name,
        home,
        kin,
        async json<T>(args: string[], options?: Partial<RunOptions>): Promise<T> {
          const { out, err } = await kin([...args, "--json"], options);
          const last = out.trim().split("\n").at(-1) ?? "";
          if (last === "") throw new Error(`kin ${args.join(" ")} printed nothing: ${err}`);
          return JSON.parse(last) as T;
        },
        pid: async () => (await person.json<{ pid: number }>(["status"])).pid,
        log: () => readFile(join(home, "run", "node.log"), "utf8"),
      };
      people.push(person);
      return person;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(people.map(({ home }) => stopNode(home)));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** As `kin down` does, without a process for the command. */
async function stopNode(home: string): Promise<void> {
  const { socketPath } = resolveHome({ KIN_HOME: home, TMPDIR: process.env["TMPDIR"] });
  const client = await connectControl(socketPath).catch(() => null); // null: it does not run
  if (client === null) return;
  const { pid } = await client.request("down", {});
  client.close();
  await until(async () => !isAlive(pid));
}

/** A small repository with a last commit that says something. */
export async function makeRepository(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const git = (...args: string[]): void =>
    void execFileSync("git", ["-c", "user.name=Ben", "-c", "user.email=ben@kin.invalid", "-C", folder, ...args], {
      stdio: "pipe",
    });
  git("init", "-q");
  await writeFile(join(folder, "README.md"), "# app\n\nThe walrus greets.\n");
  git("add", ".");
  git("commit", "-qm", "Say what it is");
  await writeFile(join(folder, "greet.js"), "export const greet = () => 'hello'; // TODO: by name\n");
  git("add", ".");
  git("commit", "-qm", "Greet politely");
  return folder;
}

/** Ben invites Ana, she joins. */
export async function twoPeople(
  world: World,
  share: string | null,
  settings: object = {},
): Promise<{ ben: Person; ana: Person; ticket: string }> {
  const [ben, ana] = [await world.person("ben", settings), await world.person("ana", settings)];
  const { ticket } = await ben.json<{ ticket: string }>([
    "invite",
    "--name",
    "ana",
    ...(share === null ? [] : ["--share", share]),
  ]);
  const joined = await ana.kin(["join", ticket]);
  if (joined.code !== 0) throw new Error(`join: ${joined.out}${joined.err}`);
  return { ben, ana, ticket };
}

/** Until `look` gives something true; the test's own time-out is the bound. */
export async function until<T>(look: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found) return found;
    await new Promise((later) => setTimeout(later, 100));
  }
}
