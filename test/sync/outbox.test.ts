/** Calls to who is not there: asked and answered as events, run at most once (R8, P29). */
import { afterEach, expect, test } from "vitest";
import { equal, toHex, type Value } from "../../protocols/bytes.ts";
import { errorShape } from "../../protocols/errors.ts";
import { idBytes, type DeviceId, type EnvelopeId, type EventId } from "../../protocols/ids.ts";
import { requestBody } from "../../protocols/invoke-bodies.ts";
import { sealEnvelope, type InvokeDeps } from "../../protocols/invoke-deps.ts";
import type { CallEvent, CallRequest, HandleInvocation } from "../../protocols/invoke.ts";
import { sealedValue, sealOne } from "../../protocols/signature.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { removePerson } from "../../sync/acts.ts";
import { createOutbox, MAX_WAITING_ASKS, type Outbox, type OutboxDeps } from "../../sync/outbox.ts";
import type { ReadableEvent, Replica } from "../../sync/replica.ts";
import { bytesOf, seededRandom } from "./chains.ts";
import {
  admitMember,
  allEvents,
  benAndAna,
  incarnationOf,
  memberOf,
  syncOnce,
  until,
  type TestMember,
} from "./mesh.ts";

const opened: Outbox[] = [];
afterEach(async () => {
  for (const outbox of opened.splice(0)) await outbox.close();
});

function invokeDeps({ replica, keys, time, name }: TestMember): InvokeDeps {
  const { member } = replica.membership().devices.get(replica.device)!;
  return {
    mesh: replica.mesh,
    self: { person: member.person, device: replica.device },
    boot: new Uint8Array(16),
    keyMaySpeakFor: (key, from) => from.agent === null && equal(key, idBytes(from.device)),
    isMember: (person, device) => replica.membership().devices.get(device)?.member.person === person,
    skewOf: () => 0,
    sealAs: (agent) => (agent === null ? async (bytes) => sealOne(keys.device, "envelope/device", bytes) : undefined),
    time,
    random: seededRandom(`${name} envelopes`),
    stamp: () => stampOf(time.now()),
  };
}

async function outboxOf(member: TestMember, recall?: OutboxDeps["recall"]) {
  const warned: string[] = [];
  const outbox = await createOutbox({
    replica: member.replica,
    invoke: invokeDeps(member),
    time: member.time,
    recall,
    warn: (sentence, error) => warned.push(`${sentence}: ${errorShape(error).message}`),
  });
  opened.push(outbox);
  return { outbox, warned };
}

const request: CallRequest = {
  target: { tool: "time" },
  parts: [],
  arguments: {},
  key: new Uint8Array(16),
  deadlineMs: 60_000,
  budget: { depth: 4 },
  chain: [],
};

async function requestTo(from: TestMember, to: TestMember, { lifeMs = 86_400_000, device = to.replica.device } = {}) {
  const deps = invokeDeps(from);
  const { person } = memberOf(to, to.name);
  const body = requestBody({ ...request, chain: [{ ...deps.self, agent: null }] });
  const envelope = { to: { person, device, agent: "time" }, kind: "invoke/request" as const, body };
  return sealEnvelope({ ...deps, random: seededRandom(`${counter++}`) }, null, envelope, lifeMs).sealed;
}
let counter = 0;

/** Answers "done", and counts how often it ran. */
function handler(): { handle: HandleInvocation; runs: string[] } {
  const runs: string[] = [];
  return {
    runs,
    async *handle(call) {
      runs.push(call.id);
      yield { type: "accepted", index: 0 };
      yield { type: "progress", index: 1, parts: [{ text: "half" }] };
      yield { type: "result", index: 2, outcome: { parts: [{ text: "done" }] } };
    },
  };
}

function answerOf(outbox: Outbox, id: EnvelopeId): Promise<CallEvent[] | null> {
  return outbox.answer(id, AbortSignal.abort());
}

async function answered(outbox: Outbox) {
  await until(() => outbox.pending().length === 0, "all asks are answered");
}

test("an ask to an offline peer waits, is run when it returns, and its answer comes back (R8) [offline-ask]", async () => {
  const { ben, ana } = await benAndAna();
  const bens = await outboxOf(ben);
  const id = await bens.outbox.ask(await requestTo(ben, ana), "ana is offline");
  expect(bens.outbox.waiting()).toMatchObject([
    { id, to: { device: ana.replica.device, name: "time" }, why: "ana is offline" },
  ]);
  expect(await answerOf(bens.outbox, id)).toBeNull();

  const anas = await outboxOf(ana);
  const { handle, runs } = handler();
  anas.outbox.onAsked(handle);
  await syncOnce(ben, ana);
  await until(() => runs.length === 1, "the ask ran");
  await answered(anas.outbox);
  await syncOnce(ana, ben);
  await until(() => bens.outbox.waiting().length === 0, "the answer came");
  expect(await answerOf(bens.outbox, id)).toEqual([
    { type: "accepted", index: 0 },
    { type: "result", index: 2, outcome: { parts: [{ text: "done" }] } },
  ]);
  expect(bens.warned.concat(anas.warned)).toEqual([]);
});

test("an answered ask is not run again after a restart [offline-ask]", async () => {
  const { ben, ana } = await benAndAna();
  const { outbox } = await outboxOf(ben);
  await outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, ana);
  const first = await outboxOf(ana);
  first.outbox.onAsked(handler().handle);
  await answered(first.outbox);
  await first.outbox.close();
  const again = await ana.reopen();
  const second = await outboxOf(again);
  const { handle, runs } = handler();
  second.outbox.onAsked(handle);
  expect(second.outbox.pending()).toEqual([]);
  expect(runs).toEqual([]);
});

/** Runs until it is started, then the process is "killed". */
async function killedWhileRunning() {
  const { ben, ana, time } = await benAndAna();
  const bens = await outboxOf(ben);
  const id = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, ana);
  const anas = await outboxOf(ana);
  let sideEffects = 0;
  anas.outbox.onAsked(async function* (_, signal) {
    sideEffects++;
    yield { type: "accepted", index: 0 };
    await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  });
  await until(() => sideEffects === 1, "the ask has started");
  const disk = ana.disk.crash();
  await anas.outbox.close();
  const again = await ana.reopen(disk);
  return { ben, bens, id, again, effects: () => sideEffects, time };
}

test("a node that stops tells what runs that nobody will know its end [stopped-callee]", async () => {
  const { ben, ana } = await benAndAna();
  const bens = await outboxOf(ben);
  await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, ana);
  const anas = await outboxOf(ana);
  const told: unknown[] = [];
  let runs = 0;
  anas.outbox.onAsked(async function* (_, signal) {
    runs++;
    yield { type: "accepted", index: 0 };
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    told.push(signal.reason);
  });
  await until(() => runs === 1, "the ask has started");
  await anas.outbox.close();
  expect(told.map((reason) => errorShape(reason).code)).toEqual(["OUTCOME_UNKNOWN"]);
});

test("killed after started: answered OUTCOME_UNKNOWN after the restart, never run again (R8) [killed-callee-durable]", async () => {
  const { ben, bens, id, again, effects } = await killedWhileRunning();
  const { outbox } = await outboxOf(again);
  const { handle, runs } = handler();
  outbox.onAsked(handle);
  await answered(outbox);
  await syncOnce(again, ben);
  await until(() => bens.outbox.waiting().length === 0, "the answer came");
  expect(await answerOf(bens.outbox, id)).toMatchObject([{ type: "failure", error: { code: "OUTCOME_UNKNOWN" } }]);
  expect(runs).toEqual([]);
  expect(effects()).toBe(1);
});

test("killed after it ended and before it was answered: the ledger's outcome is the answer", async () => {
  const { ben, bens, id, again } = await killedWhileRunning();
  const { outbox } = await outboxOf(again, async () => ({ outcome: { parts: [{ text: "as the ledger says" }] } }));
  outbox.onAsked(handler().handle);
  await answered(outbox);
  await syncOnce(again, ben);
  await until(() => bens.outbox.waiting().length === 0, "the answer came");
  expect(await answerOf(bens.outbox, id)).toMatchObject([
    { type: "accepted" },
    { type: "result", outcome: { parts: [{ text: "as the ledger says" }] } },
  ]);
});

test("an incarnation that is not the first runs nothing stamped before its birth + 5 min (R8)", async () => {
  const { ben, ana, time } = await benAndAna();
  const bens = await outboxOf(ben);
  const early = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  const born = { id: incarnationOf("ana restored").id, first: false, bornAt: time.now(), fresh: true };
  const restored = await ana.reopen(ana.disk, born);
  time.pass(6 * 60_000);
  const late = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, restored);
  const { outbox } = await outboxOf(restored);
  const { handle, runs } = handler();
  outbox.onAsked(handle);
  await answered(outbox);
  await syncOnce(restored, ben);
  await until(() => bens.outbox.waiting().length === 0, "both answers came");
  expect(await answerOf(bens.outbox, early)).toMatchObject([{ error: { code: "OUTCOME_UNKNOWN" } }]);
  expect(await answerOf(bens.outbox, late)).toMatchObject([{ type: "accepted" }, { type: "result" }]);
  expect(runs).toEqual([late]);
});

test("an expired ask is not run and is answered EXPIRED; the caller sees it expired meanwhile", async () => {
  const { ben, ana, time } = await benAndAna();
  const bens = await outboxOf(ben);
  const id = await bens.outbox.ask(await requestTo(ben, ana, { lifeMs: 60_000 }), "offline");
  time.pass(61_000);
  expect(bens.outbox.waiting()).toMatchObject([{ id, why: expect.stringContaining("expired") }]);
  expect(await answerOf(bens.outbox, id)).toMatchObject([{ error: { code: "EXPIRED" } }]);
  await syncOnce(ben, ana);
  const anas = await outboxOf(ana);
  const { handle, runs } = handler();
  anas.outbox.onAsked(handle);
  await answered(anas.outbox);
  await syncOnce(ana, ben);
  await until(() => bens.outbox.waiting().length === 0, "the answer came");
  expect(runs).toEqual([]);
});

test("an ask that was taken back before it started is not run [outbox-drop]", async () => {
  const { ben, ana } = await benAndAna();
  const bens = await outboxOf(ben);
  const id = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await bens.outbox.drop(id);
  expect(bens.outbox.waiting()).toEqual([]);
  await expect(bens.outbox.drop(id)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await syncOnce(ben, ana);
  const anas = await outboxOf(ana);
  const { handle, runs } = handler();
  anas.outbox.onAsked(handle);
  expect(anas.outbox.pending()).toEqual([]);
  expect(runs).toEqual([]);
  expect(await answerOf(bens.outbox, id)).toMatchObject([{ error: { code: "CANCELLED" } }]);
});

test("only the executing device runs an ask, others of the mesh cannot even read it (R7, R8)", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  const bens = await outboxOf(ben);
  await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, li);
  const lis = await outboxOf(li);
  expect(lis.outbox.pending()).toEqual([]);
  const seen = (await allEvents(li)).filter(({ kind }) => kind === "invocation-asked");
  expect(seen).toMatchObject([{ value: undefined, unreadable: "not-for-us" }]);
});

/** As an event holds it. */
async function sealedMap(sealed: ReturnType<typeof requestTo>) {
  const { bytes, seal } = await sealed;
  return { b: bytes, k: seal.key, s: seal.sig };
}

/** A sealed no of this device to a call of the other's. */
async function refusalBy(from: TestMember, to: TestMember, re: EnvelopeId) {
  const envelope = {
    to: { person: memberOf(to, to.name).person, device: to.replica.device, agent: null },
    kind: "invoke/refused" as const,
    re,
    body: { code: "DENIED", message: `${from.name} says no` },
  };
  return sealedMap(sealEnvelope(invokeDeps(from), null, envelope, 60_000).sealed);
}

test("an answer of another device than the asked one does not count", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  await syncOnce(ben, li);
  await syncOnce(ben, ana);
  const bens = await outboxOf(ben);
  const id = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  const forged = { re: idBytes(id), ev: [await refusalBy(li, ben, id)] };
  await li.replica.append([
    { kind: "invocation-answered", audience: "direct", value: forged, to: [ben.replica.device] },
  ]);
  await syncOnce(li, ben);
  await ben.replica.idle();
  expect(bens.outbox.waiting()).toHaveLength(1);
  expect(await answerOf(bens.outbox, id)).toBeNull();
});

test("an answer that holds the answer to another call does not count (R8)", async () => {
  const { ben, ana } = await benAndAna();
  const bens = await outboxOf(ben);
  const one = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  const other = await bens.outbox.ask(await requestTo(ben, ana), "offline");
  await syncOnce(ben, ana);
  const wrong = { re: idBytes(one), ev: [await refusalBy(ana, ben, other)] };
  const right = { re: idBytes(other), ev: [await refusalBy(ana, ben, other)] };
  for (const value of [wrong, right])
    await ana.replica.append([{ kind: "invocation-answered", audience: "direct", value, to: [ben.replica.device] }]);
  await syncOnce(ana, ben);
  await until(() => bens.outbox.waiting().length === 1, "the right one counts");
  expect(bens.outbox.waiting()).toMatchObject([{ id: one }]);
  expect(bens.warned).toEqual([expect.stringContaining("another call")]);
});

test("an ask that all could read is not run (R7)", async () => {
  const { ben, ana } = await benAndAna();
  const asked = async (audience: "mesh" | "direct") => {
    const exp = ana.time.now() + 86_400_000;
    const value = { q: await sealedMap(requestTo(ana, ben)), device: idBytes(ben.replica.device), exp };
    await ana.replica.append([
      { kind: "invocation-asked", audience, value, ...(audience === "direct" && { to: [ben.replica.device] }) },
    ]);
  };
  await asked("mesh");
  await asked("direct");
  await syncOnce(ana, ben);
  const bens = await outboxOf(ben);
  const { handle, runs } = handler();
  bens.outbox.onAsked(handle);
  await answered(bens.outbox);
  expect(runs).toHaveLength(1);
  expect(bens.warned).toEqual([expect.stringContaining("sealed to devices")]);
});

test("nothing is run for who was removed meanwhile", async () => {
  const { ben, ana } = await benAndAna();
  const anas = await outboxOf(ana);
  await anas.outbox.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await removePerson(ben.replica, memberOf(ben, "ana").person);
  const bens = await outboxOf(ben);
  const { handle, runs } = handler();
  bens.outbox.onAsked(handle);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(runs).toEqual([]);
});

test("an ask that does not name one of its own devices and the signer is refused where it is written", async () => {
  const { ben, ana } = await benAndAna();
  const { outbox } = await outboxOf(ben);
  await expect(outbox.ask(await requestTo(ana, ben), "x")).rejects.toMatchObject({ code: "BAD_REQUEST" });
  const nobody = toHex(new Uint8Array(32)) as DeviceId;
  await expect(outbox.ask(await requestTo(ben, ana, { device: nobody }), "x")).rejects.toMatchObject({
    code: "NOT_A_MEMBER",
  });
  await expect(outbox.ask(await requestTo(ben, ana, { lifeMs: 400 * 86_400_000 }), "x")).rejects.toMatchObject({
    code: "BAD_REQUEST",
  });
});

test("so many calls wait at once and no more, until one of them is answered or taken back", async () => {
  const { time, ben, ana } = await benAndAna();
  const { outbox: before } = await outboxOf(ben);
  const first = await before.ask(await requestTo(ben, ana), "offline");
  await before.close();
  // The others come as if they had been opened: sealing and opening 4,095 events takes ten seconds.
  const event = (await allEvents(ben)).find(({ kind }) => kind === "invocation-asked")!;
  const others: ReadableEvent[] = [];
  for (let i = 1; i < MAX_WAITING_ASKS; i++) {
    const q = sealedValue(await requestTo(ben, ana)) as Value;
    const value = { q, device: idBytes(ana.replica.device), exp: time.now() + 86_400_000 };
    others.push({ ...event, id: toHex(bytesOf(`ask ${i}`)) as EventId, value, unreadable: null });
  }
  const events: Replica["events"] = async (asked) => {
    const page = await ben.replica.events(asked);
    return asked?.position === 0 ? { ...page, events: [...page.events, ...others] } : page;
  };
  const { outbox } = await outboxOf({ ...ben, replica: { ...ben.replica, events } });
  expect(outbox.waiting()).toHaveLength(MAX_WAITING_ASKS);
  await expect(outbox.ask(await requestTo(ben, ana), "offline")).rejects.toMatchObject({ code: "OVERLOADED" });
  await outbox.drop(first);
  const last = await outbox.ask(await requestTo(ben, ana), "offline");
  expect(outbox.look(last)).toMatchObject({ state: "waiting" });
  await expect(outbox.ask(await requestTo(ben, ana), "offline")).rejects.toMatchObject({ code: "OVERLOADED" });
});
