/** Ben with a tool whose side effects can be counted, and that answers when the test lets it. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until, type Person, type World } from "./people.ts";

const SERVER = fileURLToPath(new URL("counter-server.ts", import.meta.url));

export interface Counter {
  /** For `mcpServers` of the settings. */
  settings: object;
  /** How often the tool has run. */
  runs(): Promise<number>;
  /** Waits until it has run once. */
  began(): Promise<unknown>;
  /** Lets it answer. */
  go(): Promise<void>;
}

export function counter(world: World): Counter {
  const file = join(world.folder, "counted");
  const runs = async (): Promise<number> =>
    (await readFile(file, "utf8").catch(() => "")).split("\n").filter((line) => line !== "").length;
  return {
    settings: { mcpServers: { counter: { command: process.execPath, args: [SERVER, file], for: "mesh" } } },
    runs,
    began: () => until(async () => (await runs()) > 0),
    go: () => writeFile(`${file}.go`, ""),
  };
}

/** Waits until Ana sees Ben's tool: his server is started and asked for its tools in the background. */
export async function seesTool(ana: Person, address: string): Promise<void> {
  await until(async () =>
    (await ana.json<{ items: { address: string }[] }>(["tools"])).items.some((item) => item.address === address),
  );
}

/** An agent that says something, calls the counting tool, and says something again. */
export async function addSlowAgent(person: Person): Promise<void> {
  const folder = join(person.home, "agents", "slow");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(
    join(folder, "AGENT.md"),
    `---
name: slow
description: Says one thing, waits, says another.
for: members
tools: [counter.hello, counter.append]
steps:
  - tool: counter.hello
    as: first
    say: "before: {{first.text}} "
  - tool: counter.append
    as: second
    say: "after: {{second.text}}"
---
`,
  );
}
