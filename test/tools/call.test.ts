import type { AuditEnded, AuditStarted } from "../../node/guard/audit.ts";
import type { Share } from "../../node/guard/authorize.ts";
import type { Tool } from "../../node/tools/registry.ts";
import type { PersonId } from "../../protocols/ids.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { argumentsHash } from "../../node/guard/audit.ts";
import { authorize } from "../../node/guard/authorize.ts";
import { systemTime } from "../../node/system.ts";
import { callTool, TOOL_TIMEOUT_MS, type ToolPath } from "../../node/tools/call.ts";
import { ANSWER_BOUNDS, textResult } from "../../node/tools/output.ts";
import { createRegistry } from "../../node/tools/registry.ts";
import { ANA, BEN, codeOf, EVE, openScene } from "./scene.ts";

function pathWith(
  tool: Partial<Tool>,
  record: (value: AuditStarted | AuditEnded) => Promise<void> = () => Promise.resolve(),
  time = systemTime,
): ToolPath {
  const registry = createRegistry();
  const inputSchema = { type: "object", properties: { text: { type: "string" } }, additionalProperties: false };
  registry.add({
    name: "test.tool",
    description: "",
    readOnly: true,
    for: "members",
    onShare: false,
    inputSchema,
    run: () => Promise.resolve(textResult("ran")),
    ...tool,
  });
  return { registry, shares: () => [], record, time, onAuditLost: () => {} };
}

const asked = (tool = "test.tool", args = {}) => ({
  asker: { person: ANA, me: false, through: null },
  caller: { person: ANA, device: "d", agent: null },
  call: "c",
  tool,
  args,
});
const NEVER = new AbortController().signal;

test("tool path: a call has an audit record before and after, without its arguments [tool-path] [J17]", async () => {
  await using scene = await openScene();
  scene.write("a.txt", "text");
  await scene.call(ANA, "fs.read", { path: "a.txt" });
  expect(scene.audit.map(({ event, target }) => [event, target])).toEqual([
    ["started", "tools/fs.read"],
    ["ended", "tools/fs.read"],
  ]);
  expect(scene.audit[1]).toMatchObject({ outcome: "ok", call: "c".repeat(64), caller: { person: ANA } });
  expect(JSON.stringify(scene.audit)).not.toContain("a.txt");
});

test("tool path: a refusal has both records too [tool-path]", async () => {
  const audit: (AuditStarted | AuditEnded)[] = [];
  const path = pathWith({ for: [BEN] }, async (value) => void audit.push(value));
  expect(await codeOf(callTool(path, asked(), NEVER))).toBe("DENIED");
  expect(await codeOf(callTool(path, asked("no.such"), NEVER))).toBe("NOT_FOUND");
  expect(audit.map(({ event }) => event)).toEqual(["started", "refused", "started", "refused"]);
  expect(audit[1]).toMatchObject({ outcome: "DENIED" });
});

test("tool path: a tool with side effects runs only after its record is durable, a read-only one does not wait [tool-path]", async () => {
  for (const [readOnly, expected] of [
    [false, ["recorded", "ran"]],
    [true, ["ran", "recorded"]],
  ] as const) {
    const order: string[] = [];
    const record = async (value: AuditStarted | AuditEnded) => {
      await new Promise((done) => setTimeout(done, 20));
      if (value.event === "started") order.push("recorded");
    };
    const run = () => {
      order.push("ran");
      return Promise.resolve(textResult(""));
    };
    await callTool(pathWith({ readOnly, run }, record), asked(), NEVER);
    await new Promise((done) => setTimeout(done, 30));
    expect(order).toEqual(expected);
  }
});

test("tool path: if the record of a tool with side effects can't be written, it does not run; the loss of a read-only one's is told", async () => {
  let ran = 0;
  const run = () => Promise.resolve(textResult(String(++ran)));
  const full = () => Promise.reject(Object.assign(new Error("disk full"), { code: "DISK_FULL" }));
  expect(await codeOf(callTool(pathWith({ readOnly: false, run }, full), asked(), NEVER))).toBe("DISK_FULL");
  expect(ran).toBe(0);
  const lost: unknown[] = [];
  await callTool({ ...pathWith({ run }, full), onAuditLost: (error) => lost.push(error) }, asked(), NEVER);
  expect(lost).toHaveLength(2);
});

test("tool path: arguments that do not fit are refused before the tool runs, with what is expected", async () => {
  let ran = false;
  const path = pathWith({ run: () => Promise.resolve(textResult(String((ran = true)))) });
  await expect(callTool(path, asked("test.tool", { txt: 1 }), NEVER)).rejects.toThrow(
    '"txt" is not an argument; expected: text',
  );
  await expect(callTool(path, asked("test.tool", { text: 1 }), NEVER)).rejects.toThrow('"text" must be string, got 1');
  expect(ran).toBe(false);
});

test("J9 a schema that points to another one on the network is an error and fetches nothing", async () => {
  const path = pathWith({
    inputSchema: { type: "object", properties: { text: { $ref: "http://127.0.0.1:1/schema.json" } } },
  });
  expect(await codeOf(callTool(path, asked("test.tool", { text: "x" }), NEVER))).toBe("INVALID_ARGUMENTS");
});

test("tool path: a tool that hangs and ignores its signal is left at the deadline and when it is cancelled [deadline-kept]", async () => {
  const timers: (() => void)[] = [];
  const time = {
    ...systemTime,
    after: (delayMs: number, run: () => void) => (expect(delayMs).toBe(TOOL_TIMEOUT_MS), timers.push(run), () => {}),
  };
  const path = pathWith({ run: () => new Promise(() => {}) }, undefined, time);
  const late = codeOf(callTool(path, asked(), NEVER));
  await new Promise((done) => setTimeout(done, 5));
  timers[0]!();
  expect(await late).toBe("DEADLINE_EXCEEDED");
  const cancel = new AbortController();
  const cancelled = codeOf(callTool(path, asked(), cancel.signal));
  cancel.abort();
  expect(await cancelled).toBe("CANCELLED");
});

test("F27 an answer is cut to what fits into an envelope and says so", async () => {
  const run = () => Promise.resolve(textResult("ä".repeat(500_000), { list: "x".repeat(200_000) }));
  const result = await callTool(pathWith({ run }), asked(), NEVER);
  const text = (result.content[0] as { text: string }).text;
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(ANSWER_BOUNDS.textBytes);
  expect(text).toContain("cut: 1000000 bytes");
  expect(text).not.toContain("\uFFFD");
  expect(JSON.stringify(result.structured)).toContain("dropped");
});

test("J17 equal arguments have equal hashes whatever their order, others do not", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (args) => {
      const turned = Object.fromEntries(Object.entries(args).toReversed());
      expect(argumentsHash(turned as never)).toBe(argumentsHash(args as never));
    }),
  );
  expect(argumentsHash({ a: 1 })).not.toBe(argumentsHash({ a: 2 }));
});

test("authorize: default deny, against a table of who may what [default-deny]", () => {
  const share = (name: string, people: Share["for"]): Share => ({
    name,
    folder: `/${name}`,
    rights: "read",
    for: people,
  });
  const persons: PersonId[] = [ANA, BEN, EVE];
  const audience = fc.oneof(fc.constant("mesh" as const), fc.subarray(persons));
  fc.assert(
    fc.property(
      audience,
      audience,
      fc.constantFrom(...persons),
      fc.constantFrom(undefined, "one", "two", "three"),
      (one, two, person, name) => {
        const shares = [share("one", one), share("two", two)];
        const readable = shares.filter((entry) => entry.for === "mesh" || entry.for.includes(person));
        const decision = authorize(
          { person, me: false, through: null },
          { kind: "tool", name: "fs.read", for: "share-people", onShare: true },
          name,
          shares,
        );
        const expected =
          name === undefined
            ? readable.length === 1
              ? readable[0]
              : undefined
            : readable.find((entry) => entry.name === name);
        expect(decision.allowed ? decision.share : undefined).toEqual(expected);
        if (!decision.allowed)
          expect(decision.code).toBe(name === undefined && readable.length > 1 ? "SHARE_NEEDED" : "DENIED");
        // A name that isn't for him and one that doesn't exist read the same.
        if (!decision.allowed && name !== undefined && readable.length > 0)
          expect(decision.message.replace(name, "x")).toBe(
            `no share "x" that you may read; you may read: ${readable.map((entry) => entry.name).join(", ")}`,
          );
      },
    ),
  );
});

test("authorize: tools of agents are for agents only, listed people for them and me, members' for all", () => {
  const right = (who: "agents" | "members" | PersonId[]) => ({
    kind: "tool" as const,
    name: "t",
    for: who,
    onShare: false,
  });
  const may = (person: PersonId, who: "agents" | "members" | PersonId[], through: string | null = null) =>
    authorize({ person, me: person === BEN, through }, right(who), undefined, []).allowed;
  expect([may(ANA, "agents"), may(BEN, "agents"), may(ANA, "agents", "reviewer")]).toEqual([false, false, true]);
  expect([may(ANA, []), may(BEN, []), may(ANA, [ANA]), may(EVE, [ANA])]).toEqual([false, true, true, false]);
  expect(may(EVE, "members")).toBe(true);
});
