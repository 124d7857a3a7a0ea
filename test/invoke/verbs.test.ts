/** What `kin wait`, `outbox` and `sync why` say of durable calls, over real outboxes. */
import { expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId, EnvelopeId } from "../../protocols/ids.ts";
import { formatText, idBytes } from "../../protocols/ids.ts";
import type { Runnable } from "../../node/agents/dispatch.ts";
import type { MeshNode } from "../../node/gateway/mesh.ts";
import { parseCallId, wait } from "../../node/gateway/verbs/calls.ts";
import { outboxDrop, outboxRetry } from "../../node/gateway/verbs/outbox.ts";
import { syncWhy } from "../../node/gateway/verbs/sync.ts";
import { admitMember, benAndAna, memberOf, syncOnce, type TestMember } from "../sync/mesh.ts";
import { actorsOfEachTest, addDevice, answered, ask, startActor, type Actor } from "./durable-scene.ts";

const actor = actorsOfEachTest();

/** The node that an actor would be part of, with what the verbs here look at: nobody is connected, Ben offers `work`, `holders` have all. */
function nodeOf({ member, outbox, invoke }: Actor, holders: readonly TestMember[] = []): MeshNode {
  const { person, devices } = memberOf(member, "ben");
  const card = { person, device: devices[0]!.id, kind: "tool", name: "work", issuedAt: 0 };
  const has = new Set(holders.map(({ replica }) => replica.device));
  const mesh = {
    me: invoke.self,
    replica: member.replica,
    outbox,
    sealing: invoke,
    directory: { list: () => [{ card }] },
    progress: {
      has: (device: DeviceId) => (has.has(device) ? Infinity : -1),
      hasHeard: () => false,
      of: () => undefined,
    },
  };
  const network = { peers: () => [], greeting: () => null };
  return { mesh: () => mesh, time: member.time, random: invoke.random, network } as unknown as MeshNode;
}

function textOf(id: EnvelopeId): string {
  return formatText("kini", idBytes(id));
}

const DAY_MS = 24 * 3_600_000;
const never = new AbortController().signal;

test("a failure that the caller may ask again says how, CLOSED and UNREACHABLE too [wait-closed]", async () => {
  const { ben, ana } = await benAndAna();
  const anas = await actor(ana);
  for (const code of ["CLOSED", "UNREACHABLE", "DENIED"]) {
    const run = (): never => {
      throw new KinError(code, "not now");
    };
    const bens = await startActor(ben, { work: { readOnly: true, mayCall: () => true, run } });
    const id = await ask(anas, ben);
    await syncOnce(ana, ben);
    bens.outbox.onAsked(bens.handle);
    expect(await answered(anas, ben, id)).toBe(code);
    const params = { id: textOf(id), timeoutMs: null };
    const waited = await wait(nodeOf(anas), params, () => {}, never);
    const hint = code === "DENIED" ? undefined : `kin outbox retry ${params.id} --again asks it as a new call`;
    expect(waited).toEqual({ outcome: "failed", error: { code, message: "not now", hint } });
    await bens.stop();
  }
});

test("what the laptop asked in vain is asked again from the desk, and runs [ask-again-elsewhere]", async () => {
  const { ben, ana } = await benAndAna();
  const desk = await addDevice(ana, "desk");
  for (const one of [ben, desk]) await syncOnce(ana, one);
  const anas = await actor(ana);
  const desks = await actor(desk);
  const id = await ask(anas, ben);
  await syncOnce(ana, desk);
  await syncOnce(ana, ben);
  let runs = 0;
  const run: Runnable["run"] = async () => {
    if (runs++ === 0) throw new KinError("CLOSED", "not now");
    return { parts: [{ text: "done" }] };
  };
  const bens = await actor(ben, { work: { readOnly: true, mayCall: () => true, run } });
  bens.outbox.onAsked(bens.handle);
  expect(await answered(desks, ben, id)).toBe("CLOSED");
  const again = await outboxRetry(nodeOf(desks), { id: textOf(id), again: true }, () => {}, never);
  expect(again).toMatchObject({ outcome: "asked-again" });
  expect(await answered(desks, ben, parseCallId(again.newId!))).toBe("result:done");
});

test("what is taken back while others carry or have it may have run: it is said then, and before it is asked again [drop-carried]", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  await syncOnce(ana, ben);
  const anas = await actor(ana);
  for (const [holders, said] of [
    [[], /^taken back: it will not be run$/],
    [[li], /^taken back; li@\S+ carries it: ben@\S+ may have run it already/],
    [[li, ben], /^taken back; ben@\S+ has it already/],
  ] as const) {
    const node = nodeOf(anas, holders);
    const id = textOf(await ask(anas, ben));
    expect((await outboxDrop(node, { id })).said).toMatch(said);
    const ended = await outboxRetry(node, { id, again: false }, () => {}, never);
    expect(ended.outcome).toBe("ended");
    expect(ended.hint?.startsWith("look first whether its effect is there")).toBe(holders.length > 0);
  }
});

test("kin wait waits for 29 days if it is told to [long-times]", async () => {
  const { time, ben, ana } = await benAndAna();
  const anas = await actor(ana);
  const id = textOf(await ask(anas, ben, { lifeMs: 30 * DAY_MS }));
  let hasEnded = false;
  const waiting = wait(nodeOf(anas), { id, timeoutMs: 29 * DAY_MS }, () => {}, never).finally(() => (hasEnded = true));
  time.pass(29 * DAY_MS - 1);
  await new Promise((later) => setTimeout(later, 20));
  expect(hasEnded).toBe(false);
  time.pass(1);
  expect(await waiting).toEqual({ outcome: "queued", id, why: "ben is offline" });
});

test("of a call on its way one's own devices are told from strangers to it; one to oneself waits for a peer's word [sync-why-own]", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  const eve = await admitMember(ben, "eve");
  await syncOnce(ana, ben);
  const desk = await addDevice(ana, "desk");
  const anas = await actor(ana);
  const item = textOf(await ask(anas, ben));
  const { said } = await syncWhy(nodeOf(anas, [desk, li, eve]), { item });
  expect(said).toContainEqual(
    expect.stringMatching(/^ana@desk, another device of yours, has it and delivers it when they meet$/),
  );
  expect(said).toContainEqual(
    expect.stringMatching(/^li@\S+, eve@\S+ carry it, without being able to read it, and deliver/),
  );
  const own = textOf(await ask(anas, ana));
  const why = (await syncWhy(nodeOf(anas), { item: own })).said.join("\n");
  expect(why).toContain("this device is to run it\nit runs when a peer has told, after this start,");
  expect(why).not.toContain("sent to");
});
