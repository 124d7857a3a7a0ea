/** The outbox against members: floods of answers and withdrawals, slots held for ever, histories folded again while asks wait. */
import { afterEach, expect, test } from "vitest";
import { encode, equal } from "../../protocols/bytes.ts";
import { idBytes, idOf, type EnvelopeId } from "../../protocols/ids.ts";
import { requestBody } from "../../protocols/invoke-bodies.ts";
import { sealEnvelope, type InvokeDeps } from "../../protocols/invoke-deps.ts";
import type { HandleInvocation, Part } from "../../protocols/invoke.ts";
import { sealOne } from "../../protocols/signature.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { removePerson } from "../../sync/acts.ts";
import { createOutbox, type Outbox, type OutboxDeps, type OutboxLimits } from "../../sync/outbox.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import { admitMember, foundMesh, memberOf, note, syncOnce, testTime, until, type TestMember } from "../sync/mesh.ts";

const opened: Outbox[] = [];
afterEach(async () => {
  for (const outbox of opened.splice(0)) await outbox.close();
});

let counter = 0;

function invokeDeps({ replica, keys, time }: TestMember): InvokeDeps {
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
    random: seededRandom(`envelopes ${counter++}`),
    stamp: () => stampOf(time.now()),
  };
}

async function outboxOf(
  member: TestMember,
  more: Partial<OutboxDeps> = {},
  limits: OutboxLimits = {},
): Promise<Outbox> {
  const deps = { replica: member.replica, invoke: invokeDeps(member), time: member.time, warn: () => {}, ...more };
  const outbox = await createOutbox(deps, limits);
  opened.push(outbox);
  return outbox;
}

async function requestTo(from: TestMember, to: TestMember, parts: Part[] = []) {
  const deps = invokeDeps(from);
  const { person } = memberOf(to, to.name);
  const chain = [{ ...deps.self, agent: null }];
  const request = { target: { tool: "time" }, parts, arguments: {}, key: deps.random.bytes(16), deadlineMs: 60_000 };
  const body = requestBody({ ...request, budget: { depth: 4 }, chain });
  const envelope = { to: { person, device: to.replica.device, agent: "time" }, kind: "invoke/request" as const, body };
  return sealEnvelope(deps, null, envelope, 86_400_000).sealed;
}

/** Answers at once, but for callers in `hangs`. */
function handler(hangs: ReadonlySet<string> = new Set()): { handle: HandleInvocation; runs: EnvelopeId[] } {
  const runs: EnvelopeId[] = [];
  return {
    runs,
    async *handle(call, signal) {
      runs.push(call.id);
      yield { type: "accepted", index: 0 };
      if (hangs.has(call.from.device))
        await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
      yield { type: "result", index: 1, outcome: { parts: [{ text: "done" }] } };
    },
  };
}

/** Ben's device executes; Ana asks; Eve is a member who means harm. */
async function benAnaEve() {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const eve = await admitMember(ben, "eve");
  for (const member of [ana, eve]) await syncOnce(member, ben);
  return { time, ben, ana, eve };
}

/** What Eve says about asks that there are not. */
async function flood(eve: TestMember, ben: TestMember, kind: string, count: number): Promise<void> {
  const entries = Array.from({ length: count }, (_, i) => ({
    kind,
    audience: "direct" as const,
    value: { re: bytesOf(`no ask ${kind} ${i}`), code: "DENIED", message: "no" },
    to: [ben.replica.device],
  }));
  await eve.replica.append(entries);
  await syncOnce(eve, ben);
}

test("R8: a flood of answers to no ask makes no answered ask run again", async () => {
  const { time, ben, ana, eve } = await benAnaEve();
  const anas = await outboxOf(ana);
  const bens = await outboxOf(ben, {}, { remembered: 8 });
  const { handle, runs } = handler();
  bens.onAsked(handle);
  await anas.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await until(() => runs.length === 1 && bens.pending().length === 0, "the ask is answered");
  await flood(eve, ben, "invocation-declined", 12);
  time.pass(60_000);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(runs).toHaveLength(1);
});

test("R8: more calls in a life than are remembered do not run old ones again", async () => {
  const { time, ben, ana } = await benAnaEve();
  const anas = await outboxOf(ana);
  const bens = await outboxOf(ben, {}, { remembered: 8 });
  const { handle, runs } = handler();
  bens.onAsked(handle);
  for (let i = 0; i < 6; i++) {
    await anas.ask(await requestTo(ana, ben), "offline");
    await bens.ask(await requestTo(ben, ben), "to myself");
  }
  await syncOnce(ana, ben);
  await until(() => runs.length >= 12 && bens.pending().length === 0, "all asks are answered");
  time.pass(60_000);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(runs).toHaveLength(12);
});

test("more asks of one person than are before a device at once are all run, also after a restart [asks-beyond-share]", async () => {
  const { ben, ana } = await benAnaEve();
  const anas = await outboxOf(ana);
  const waits = [];
  for (let i = 0; i < 7; i++) waits.push(await anas.ask(await requestTo(ana, ben), "offline"));
  await syncOnce(ana, ben);
  const { handle, runs } = handler();
  const bens = await outboxOf(ben, {}, { perPerson: 3 });
  expect(bens.pending()).toHaveLength(3);
  await anas.drop(waits[5]!);
  await syncOnce(ana, ben);
  bens.onAsked(handle);
  await until(() => runs.length >= 3 && bens.pending().length === 0, "those that queued have run too");
  expect(runs.toSorted()).toEqual(waits.toSpliced(5, 1).toSorted());
  await bens.close();
  const again = await outboxOf(ben, {}, { perPerson: 3 });
  expect(again.pending()).toEqual([]);
  await syncOnce(ben, ana);
  await until(() => anas.waiting().length === 0, "all answers came");
});

test("an ask that waits here is not put out of memory by later ones: it is run, and nothing spins [open-stays]", async () => {
  const { ben, ana, eve } = await benAnaEve();
  const [anas, eves] = [await outboxOf(ana), await outboxOf(eve)];
  let looks = 0;
  let isThere = false;
  // A node that spins is stopped by the test, not by its time limit.
  const bens = await outboxOf(ben, { isThere: () => isThere || ++looks > 20_000 }, { remembered: 4 });
  const blob = { hash: "ab".repeat(32), bytes: 3, mediaType: "text/plain" };
  const first = [];
  for (let i = 0; i < 3; i++) first.push(await anas.ask(await requestTo(ana, ben, [{ blob }]), "offline"));
  await syncOnce(ana, ben);
  const { handle, runs } = handler();
  bens.onAsked(handle);
  for (let i = 0; i < 3; i++) await eves.ask(await requestTo(eve, ben, [{ blob }]), "offline");
  await syncOnce(eve, ben);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(looks).toBeLessThan(1000);
  expect(bens.pending()).toHaveLength(4);
  isThere = true;
  bens.lookAgain();
  await until(() => runs.length >= 4 && bens.pending().length === 0, "what waited has run");
  expect(runs).toEqual(expect.arrayContaining(first));
});

test("a flood of withdrawals of no ask does not keep a true one from counting [outbox-drop]", async () => {
  const { ben, ana, eve } = await benAnaEve();
  const anas = await outboxOf(ana);
  const bens = await outboxOf(ben, {}, { remembered: 8 });
  await flood(eve, ben, "invocation-withdrawn", 12);
  const id = await anas.ask(await requestTo(ana, ben), "offline");
  await anas.drop(id);
  await syncOnce(ana, ben);
  const { handle, runs } = handler();
  bens.onAsked(handle);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(bens.pending()).toEqual([]);
  expect(runs).toEqual([]);
});

test("a withdrawal or an answer that comes before its ask counts when the ask has come", async () => {
  const { ben, ana, eve } = await benAnaEve();
  const bens = await outboxOf(ben);
  const anas = await outboxOf(ana);
  const id = await anas.ask(await requestTo(ana, ben), "offline");
  // Early words about it in Eve's log: they come first, and are not Ana's.
  const value = { re: idBytes(id), code: "DENIED", message: "forged" };
  const to = [ben.replica.device];
  await eve.replica.append([
    { kind: "invocation-withdrawn", audience: "direct", value, to },
    { kind: "invocation-declined", audience: "direct", value, to },
  ]);
  await syncOnce(eve, ben);
  await syncOnce(ana, ben);
  const { handle, runs } = handler();
  bens.onAsked(handle);
  await until(() => runs.length === 1 && bens.pending().length === 0, "the ask ran");
  expect(runs).toEqual([id]);
});

test("asks of one person that hang leave room for others", async () => {
  const { ben, ana, eve } = await benAnaEve();
  const [eves, anas] = [await outboxOf(eve), await outboxOf(ana)];
  for (let i = 0; i < 6; i++) await eves.ask(await requestTo(eve, ben), "offline");
  await syncOnce(eve, ben);
  const bens = await outboxOf(ben);
  const { handle, runs } = handler(new Set([eve.replica.device]));
  bens.onAsked(handle);
  const id = await anas.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await until(() => runs.includes(id), "Ana's ask ran");
});

test("F6: an ask whose attachment cannot be fetched waits for its caller, and is in nobody's way", async () => {
  const { ben, ana, eve } = await benAnaEve();
  const [eves, anas] = [await outboxOf(eve), await outboxOf(ana)];
  const blob = { hash: "ab".repeat(32), bytes: 3, mediaType: "text/plain" };
  for (let i = 0; i < 5; i++) await eves.ask(await requestTo(eve, ben, [{ blob }]), "offline");
  await syncOnce(eve, ben);
  const there = new Set<string>();
  const bens = await outboxOf(ben, { isThere: (device) => there.has(device) });
  const { handle, runs } = handler();
  bens.onAsked(handle);
  const id = await anas.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await until(() => runs.length === 1 && bens.pending().length === 5, "Ana's ask is answered");
  expect(runs).toEqual([id]);
  there.add(eve.replica.device);
  bens.lookAgain();
  await until(() => bens.pending().length === 0, "Eve is there: hers are answered too");
  expect(runs).toHaveLength(6);
});

test("R8: an answered ask is not run again while a removal makes the history fold from its start", async () => {
  const { time, ben, ana, eve } = await benAnaEve();
  const anas = await outboxOf(ana);
  const bens = await outboxOf(ben);
  await anas.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await eve.replica.append([note("eve was here")]);
  await syncOnce(eve, ben);
  // More than a page of events between the ask and its answer.
  await ben.replica.append(Array.from({ length: 700 }, (_, i) => note(`note ${i}`)));
  const { handle, runs } = handler();
  bens.onAsked(handle);
  await until(() => runs.length === 1 && bens.pending().length === 0, "the ask is answered");
  const removed = removePerson(ben.replica, memberOf(ben, "eve").person);
  for (let i = 0; i < 200; i++) {
    bens.lookAgain();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await removed;
  time.pass(60_000);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(runs).toHaveLength(1);
});

test("R17: what an agent's key has answered stays answered when the key has ended, here and at the caller", async () => {
  const { ben, ana } = await benAnaEve();
  const ended = new Set<string>();
  const live = (member: TestMember): Partial<OutboxDeps> => {
    const invoke = invokeDeps(member);
    const could = invoke.keyMaySpeakFor;
    const may: InvokeDeps["keyMaySpeakFor"] = (key, from) => !ended.has(from.device) && could(key, from);
    return { invoke: { ...invoke, keyMaySpeakFor: may }, keyCouldSpeakFor: could };
  };
  const anas = await outboxOf(ana, live(ana));
  const bens = await outboxOf(ben, live(ben));
  const { handle, runs } = handler();
  bens.onAsked(handle);
  const id = await anas.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await until(() => runs.length === 1 && bens.pending().length === 0, "the ask is answered");
  await syncOnce(ben, ana);
  await until(() => anas.waiting().length === 0, "the answer came");
  ended.add(ben.replica.device);
  for (const outbox of opened.splice(0)) await outbox.close();
  const [anasAgain, bensAgain] = [await outboxOf(ana, live(ana)), await outboxOf(ben, live(ben))];
  bensAgain.onAsked(handle);
  expect(await anasAgain.answer(id, AbortSignal.abort())).toMatchObject([{ type: "accepted" }, { type: "result" }]);
  expect(bensAgain.pending()).toEqual([]);
  // A key that has ended gets nothing new done.
  ended.add(ana.replica.device);
  await anasAgain.ask(await requestTo(ana, ben), "offline");
  await syncOnce(ana, ben);
  await until(() => bensAgain.pending().length === 0, "the late ask is answered");
  expect(runs).toEqual([id]);
});

test("R17: a key record is learned before the answer that it signs, in one sync", async () => {
  const { ben, ana } = await benAnaEve();
  const told: string[] = [];
  await outboxOf(ana, { learnKey: (device) => told.push(device) });
  const bytes = encode({ any: "record" });
  const sealed = sealOne(ben.keys.device, "agent-key", bytes);
  const value = { b: sealed.bytes, k: sealed.seal.key, s: sealed.seal.sig };
  await ben.replica.append([{ kind: "agent-key", audience: "mesh", clear: true, value }]);
  await syncOnce(ben, ana);
  await until(() => told.length === 1, "the key was told");
  expect(told).toEqual([idOf(idBytes(ben.replica.device))]);
});
