/** Durable calls: once by whatever paths, taken back, too late, over two devices, restored, and with the rights of the moment (R8). */
import { expect, test } from "vitest";
import fc from "fast-check";
import { equal, type Value } from "../../protocols/bytes.ts";
import { decodeEnvelope, encodeEnvelope, type Envelope } from "../../protocols/envelope.ts";
import { idBytes, type DeviceId, type EnvelopeId } from "../../protocols/ids.ts";
import { KinError } from "../../protocols/errors.ts";
import { parseSealed, sealedValue, sealOne } from "../../protocols/signature.ts";
import { removePerson } from "../../sync/acts.ts";
import { courseOf } from "../../sync/asks.ts";
import type { OutboxDeps } from "../../sync/outbox.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import type { Runnable } from "../../node/agents/dispatch.ts";
import {
  admitMember,
  allEvents,
  benAndAna,
  incarnationOf,
  memberOf,
  syncOnce,
  until,
  type TestMember,
} from "../sync/mesh.ts";
import {
  actorsOfEachTest,
  addDevice,
  answered,
  answerNow,
  ask,
  asksOf,
  liveCall,
  marking,
  outcomeOf,
  reborn,
  runLive,
  startActor,
  type Actor,
  type Effects,
} from "./durable-scene.ts";

const actor = actorsOfEachTest();

/** Ben is asked, Ana asks. */
async function two() {
  const effects: Effects = { runs: [] };
  return { ...(await benAndAna()), effects };
}

function serve(one: Actor): void {
  one.outbox.onAsked(one.handle);
}

// ---- once

test("R8: directly, by two carriers and as a live retry at once: it runs once, and everybody gets that one result; carriers cannot read it [three-paths] [carried]", async () => {
  const { ben, ana, effects } = await two();
  const li = await admitMember(ben, "li");
  const eve = await admitMember(ben, "eve");
  await syncOnce(ana, ben);
  const anas = await actor(ana);
  const key = anas.invoke.random.bytes(16);
  const id = await ask(anas, ben, { key });
  for (const carrier of [li, eve]) await syncOnce(ana, carrier);
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  const retryOf = { request: id, iat: ana.time.now() };
  const retry = await liveCall(anas, bens, { key, retryOf });
  const [live] = await Promise.all([runLive(bens, retry), ...[ana, li, eve].map((carrier) => syncOnce(carrier, ben))]);
  expect(await answered(anas, ben, id)).toBe("result:run 1");
  expect(live.at(-1)).toMatchObject({ type: "result", outcome: { parts: [{ text: "run 1" }] } });
  // Again, when all is over: the record answers, whichever envelope began it.
  const late = await runLive(bens, await liveCall(anas, bens, { key, retryOf }));
  expect(late.at(-1)).toMatchObject({ type: "result", outcome: { parts: [{ text: "run 1" }] } });
  expect(effects.runs).toHaveLength(1);
  const carried = (await allEvents(li)).filter(({ kind }) => kind === "invocation-asked");
  expect(carried).toMatchObject([{ unreadable: "not-for-us" }]);
});

test("R8: a live retry that ran is remembered as long as the queued request lives, not only as long as itself [three-paths]", async () => {
  const { time, ben, ana, effects } = await two();
  const anas = await actor(ana);
  const key = anas.invoke.random.bytes(16);
  const id = await ask(anas, ben, { key });
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  await runLive(bens, await liveCall(anas, bens, { key, retryOf: { request: id, iat: time.now() } }));
  expect(effects.runs).toHaveLength(1);
  for (let minutes = 0; minutes < 120; minutes += 5) {
    time.pass(300_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await answered(anas, ben, id)).toBe("result:run 1");
  expect(effects.runs).toHaveLength(1);
});

// ---- taken back

test("what runs is stopped when its caller takes it back, and the answer says so [cancel-running]", async () => {
  const { ben, ana, effects } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  const seen: unknown[] = [];
  const hanging: Runnable = {
    ...marking(effects),
    run: (_call, _emit, signal) =>
      new Promise((_resolve, reject) => {
        effects.runs.push("began");
        signal.addEventListener("abort", () => {
          seen.push(signal.reason);
          reject(signal.reason as Error);
        });
      }),
  };
  const bens = await actor(ben, { work: hanging });
  serve(bens);
  await syncOnce(ana, ben);
  await until(() => effects.runs.length === 1, "it runs");
  await anas.outbox.drop(id);
  expect(await outcomeOf(anas, id)).toBe("CANCELLED");
  await syncOnce(ana, ben);
  await until(() => bens.outbox.pending().length === 0, "it is answered");
  expect(seen).toMatchObject([{ code: "CANCELLED" }]);
  await syncOnce(ana, ben);
  await until(() => anas.outbox.look(id)?.state === "answered", "the answer came");
  expect((await answerNow(anas, id))?.at(-1)).toMatchObject({
    type: "failure",
    error: { code: "CANCELLED", message: expect.stringContaining("took the call back") as string },
  });
});

test("only the device that asked takes it back: not another device of the person, not somebody else [only-the-asker]", async () => {
  const { ben, ana, effects } = await two();
  const desk = await addDevice(ana, "desk");
  await syncOnce(ana, desk);
  const eve = await admitMember(ben, "eve");
  await syncOnce(ana, ben);
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  await syncOnce(ana, desk);
  const desks = await actor(desk);
  await until(() => desks.outbox.look(id) !== undefined, "the desk sees it");
  await expect(desks.outbox.drop(id)).rejects.toMatchObject({ code: "DENIED" });
  const to = [ben.replica.device];
  for (const forger of [desk, eve])
    await forger.replica.append([{ kind: "invocation-withdrawn", audience: "direct", value: { re: idBytes(id) }, to }]);
  for (const peer of [desk, eve, ana]) await syncOnce(peer, ben);
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  expect(await answered(anas, ben, id)).toBe("result:run 1");
});

// ---- too late

test("a result that arrives after the expiry of its call counts all the same [late-result]", async () => {
  const { time, ben, ana, effects } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben, { lifeMs: 60_000 });
  await syncOnce(ana, ben);
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  await until(() => bens.outbox.pending().length === 0 && effects.runs.length === 1, "it ran in time");
  time.pass(120_000);
  expect(anas.outbox.look(id)?.state).toBe("expired");
  expect(await outcomeOf(anas, id)).toBe("EXPIRED");
  await syncOnce(ana, ben);
  await until(() => anas.outbox.look(id)?.state === "answered", "the answer came");
  expect(await outcomeOf(anas, id)).toBe("result:run 1");
});

// ---- two devices

test("an answer is sealed to all devices that the caller's person has when it is written [answer-to-all-devices]", async () => {
  const { ben, ana, effects } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  await syncOnce(ana, ben);
  // She gets a second machine while the ask is under way.
  const desk = await addDevice(ana, "desk");
  await syncOnce(ana, ben);
  await syncOnce(desk, ben);
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  await until(() => effects.runs.length === 1 && bens.outbox.pending().length === 0, "it ran");
  await syncOnce(desk, ben);
  const found = (await allEvents(desk)).filter(({ kind }) => kind === "invocation-answered");
  expect(found).toMatchObject([{ unreadable: null }]);
  expect(await answered(anas, ben, id)).toBe("result:run 1");
});

/** Ben has two devices; Ana's ask names the laptop. */
async function twoDevices() {
  const scene = await two();
  const { ben, ana } = scene;
  const desk = await addDevice(ben, "desk");
  await syncOnce(ben, desk);
  await syncOnce(ana, ben);
  await syncOnce(ana, desk);
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  return { ...scene, desk, anas, id };
}

test("R8: another device of the person runs a call only after the named one's signed decline, and only the one that it names [one-executor]", async () => {
  const { ben, ana, desk, anas, id, effects } = await twoDevices();
  const desks = await actor(desk, { work: marking(effects) });
  serve(desks);
  await syncOnce(ana, desk);
  await until(async () => (await allEvents(desk)).some(({ kind }) => kind === "invocation-asked"), "the desk has it");
  expect(desks.outbox.pending()).toEqual([]);
  // The laptop offers no such tool, and knows who does.
  const laptops = await actor(ben, { outbox: { elsewhere: () => [desk.replica.device] } });
  serve(laptops);
  await syncOnce(ana, ben);
  await until(async () => (await allEvents(ben)).some(({ kind }) => kind === "invocation-declined"), "it is handed on");
  expect(laptops.outbox.pending()).toEqual([]);
  await syncOnce(ben, desk);
  await until(() => effects.runs.length === 1, "the desk runs it");
  // The answer comes before the decline: it counts when that has come.
  expect(await answered(anas, desk, id)).toBe("result:run 1");
  expect(anas.outbox.look(id)).toMatchObject({ executor: desk.replica.device, state: "answered" });
  await syncOnce(ben, desk);
  expect(effects.runs).toHaveLength(1);
});

test("a call to one device by name is handed to no other, and its caller learns that it is not offered there [only-this-device]", async () => {
  const { ben, ana, desk, anas, effects } = await twoDevices();
  const id = await ask(anas, ben, { only: true });
  expect(anas.outbox.look(id)).toMatchObject({ only: true, executor: ben.replica.device });
  serve(await actor(desk, { work: marking(effects) }));
  serve(await actor(ben, { outbox: { elsewhere: () => [desk.replica.device] } }));
  expect(await answered(anas, ben, id)).toBe("NOT_FOUND");
  expect(anas.outbox.look(id)).toMatchObject({ executor: ben.replica.device, state: "answered" });
  // The other one, to whichever device of his has it, is run.
  await syncOnce(ben, desk);
  await until(() => effects.runs.length === 1, "the desk runs the first");
  await syncOnce(ana, desk);
  await desk.replica.idle();
  expect(effects.runs).toHaveLength(1);
});

test("an ask is handed to no machine that joined after it was written and can't read it: its caller is told to ask again [handed-to-reader]", async () => {
  const { ben, ana, desk, anas, id, effects } = await twoDevices();
  const key = anas.invoke.random.bytes(16);
  const early = await ask(anas, ben, { key });
  const tablet = await addDevice(ben, "tablet");
  const both = [tablet.replica.device, desk.replica.device];
  const elsewhere: OutboxDeps["elsewhere"] = (request) => (equal(request.key, key) ? [tablet.replica.device] : both);
  serve(await actor(desk, { work: marking(effects) }));
  serve(await actor(ben, { outbox: { elsewhere } }));
  // Nobody but the tablet offers it.
  expect(await answered(anas, ben, early)).toBe("NOT_FOUND");
  expect((await answerNow(anas, early))?.at(-1)).toMatchObject({
    error: { message: expect.stringContaining("ask again") as string },
  });
  // Of two that offer it, the one that can read it runs it.
  await syncOnce(ben, desk);
  expect(await answered(anas, desk, id)).toBe("result:run 1");
  // What is asked now the tablet can read.
  expect(ana.replica.membership().devices.has(tablet.replica.device)).toBe(true);
  const late = await ask(anas, ben, { key });
  await syncOnce(ana, ben);
  await until(async () => {
    await syncOnce(ana, ben);
    return anas.outbox.look(late)?.executor === tablet.replica.device;
  }, "it was handed to the tablet");
});

test("R8: what was declined to nobody ends with its reason; a decline or answer of whose turn it is not has no effect [one-executor]", async () => {
  const { ben, ana, desk, anas, id } = await twoDevices();
  const value = { re: idBytes(id), code: "DENIED", message: "not my turn" };
  await desk.replica.append([
    { kind: "invocation-declined", audience: "direct", value, to: [ana.replica.device, ben.replica.device] },
  ]);
  await syncOnce(desk, ana);
  await syncOnce(desk, ben);
  await ana.replica.idle();
  expect(await outcomeOf(anas, id)).toBeNull();
  await syncOnce(ana, ben);
  const bens = await actor(ben);
  await until(() => bens.outbox.pending().length === 1, "the laptop has it");
  await bens.outbox.decline(id, { code: "NOT_FOUND", message: "there is none any more" });
  expect(await answered(anas, ben, id)).toBe("NOT_FOUND");
});

test("R8: the same events say the same whatever order they come in [one-executor]", async () => {
  const { ben, ana, desk, anas, id, effects } = await twoDevices();
  const laptops = await actor(ben, { outbox: { elsewhere: () => [desk.replica.device] } });
  serve(laptops);
  const desks = await actor(desk, { work: marking(effects) });
  serve(desks);
  await syncOnce(ana, ben);
  await until(() => laptops.outbox.pending().length === 0, "handed on");
  await until(async () => {
    await syncOnce(ben, desk);
    return effects.runs.length === 1;
  }, "the desk ran it");
  await answered(anas, desk, id);
  await anas.outbox.drop(id).catch(() => undefined);
  const about = (await allEvents(ana)).filter(({ kind }) => kind.startsWith("invocation-"));
  expect(about.map(({ kind }) => kind).toSorted()).toEqual([
    "invocation-answered",
    "invocation-asked",
    "invocation-declined",
  ]);
  const courseIn = (order: ReadableEvent[]) => {
    const asks = asksOf(anas);
    for (const event of order) asks.fold(event);
    return courseOf(asks.asked.get(id)!);
  };
  fc.assert(
    fc.property(fc.shuffledSubarray(about, { minLength: about.length }), (order) => {
      expect(courseIn(order)).toEqual(courseIn(about));
      expect(courseIn(order)).toMatchObject({ state: "ended", device: desk.replica.device });
    }),
  );
});

test("an ask that is no durable request by the protocol page has no effect [ask-shape]", async () => {
  const { ben, ana } = await two();
  const anas = await actor(ana);
  await actor(ben);
  await ask(anas, ben);
  const [event] = (await allEvents(ana)).filter(({ kind }) => kind === "invocation-asked");
  const { q, device, exp } = event!.value as { q: Value; device: Uint8Array; exp: number };
  const { bytes } = parseSealed(q);
  const resealed = (change: Partial<Envelope>): Value =>
    sealedValue(
      sealOne(ana.keys.device, "envelope/device", encodeEnvelope({ ...decodeEnvelope(bytes), ...change })),
    ) as Value;
  const refusedIn = (one: ReadableEvent): string[] => {
    const codes: string[] = [];
    const asks = asksOf(anas, (error) => codes.push(error.code));
    asks.fold(one);
    return codes;
  };
  expect(refusedIn({ ...event!, value: { q: resealed({}), device, exp } })).toEqual([]);
  for (const bent of [
    { ...event!, audience: "mesh" as const },
    { ...event!, value: { q, device, exp: exp + 1 } },
    { ...event!, value: { q: resealed({ boot: new Uint8Array(16) }), device, exp } },
    { ...event!, value: { q: resealed({ re: "00".repeat(32) as EnvelopeId }), device, exp } },
  ])
    expect(refusedIn(bent)).toEqual(["BAD_REQUEST"]);
});

// ---- restored

test("R8: a callee whose whole folder was restored runs nothing that lay there before a peer has told it what it had answered [restored-callee]", async () => {
  const { ben, ana, effects } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  await syncOnce(ana, ben);
  const backup = ben.disk.crash();
  const first = await startActor(ben, { work: marking(effects) });
  serve(first);
  await until(() => effects.runs.length === 1 && first.outbox.pending().length === 0, "it ran");
  expect(await answered(anas, ben, id)).toBe("result:run 1");
  await first.stop();
  const restored = await reborn(ben, backup);
  let heard = false;
  const again = await actor(restored, { work: marking(effects), outbox: { hasHeard: () => heard } });
  serve(again);
  expect(again.outbox.pending()).toHaveLength(1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(effects.runs).toHaveLength(1);
  await syncOnce(ana, restored);
  heard = true;
  again.outbox.lookAgain();
  await until(() => again.outbox.pending().length === 0, "its own answer has come back");
  expect(effects.runs).toHaveLength(1);
  expect(await outcomeOf(anas, id)).toBe("result:run 1");
});

test("R8: a new incarnation answers unknown, asks nobody to run it again by itself, and says that it was restored [restored-callee]", async () => {
  const { time, ben, ana, effects } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  const born = { id: incarnationOf("ben restored").id, first: false, bornAt: time.now(), fresh: true };
  const restored = await ben.reopen(ben.disk, born);
  const bens = await actor(restored, { work: marking(effects) });
  serve(bens);
  expect(await answered(anas, restored, id)).toBe("OUTCOME_UNKNOWN");
  expect((await answerNow(anas, id))?.at(-1)).toMatchObject({
    error: { message: expect.stringContaining("restored") as string },
  });
  expect(effects.runs).toEqual([]);
  // Its user is told: he may know what the lost one did.
  expect(bens.outbox.doubts()).toMatchObject([{ id, from: { device: ana.replica.device } }]);
});

// ---- the rights of the moment

test("the callee's rule and the offer are looked at when it runs, not when it was asked: the asker learns why [rights-at-execution]", async () => {
  const { ben, ana, effects } = await two();
  const anas = await actor(ana);
  const rule = { allows: true };
  const id = await ask(anas, ben);
  await syncOnce(ana, ben);
  const bens = await actor(ben, { work: marking(effects, { mayCall: () => rule.allows }) });
  rule.allows = false;
  serve(bens);
  expect(await answered(anas, ben, id)).toBe("DENIED");
  expect(effects.runs).toEqual([]);
});

test("an ask of a device that was removed meanwhile is refused, and the person's other device learns it [rights-at-execution]", async () => {
  const { ben, ana, effects } = await two();
  const desk = await addDevice(ana, "desk");
  await syncOnce(ana, ben);
  await syncOnce(desk, ben);
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  await syncOnce(ana, ben);
  const cuts = [...ben.replica.vector().values()]
    .filter(({ opening }) => opening.device === ana.replica.device)
    .map(({ log, seq, id: last }) => ({ log, seq, id: last }));
  await desk.replica.act(() => ({ records: [{ type: "device-removed", device: ana.replica.device, cuts }] }));
  await syncOnce(desk, ben);
  const bens = await actor(ben, { work: marking(effects) });
  serve(bens);
  const desks = await actor(desk);
  await until(async () => {
    await syncOnce(desk, ben);
    return desks.outbox.look(id)?.state === "answered";
  }, "the desk has the answer");
  expect(await outcomeOf(desks, id)).toBe("NOT_A_MEMBER");
  expect(effects.runs).toEqual([]);
});

test("who was removed before he answered is waited for no longer; an answer from before the removal still counts [rights-at-execution]", async () => {
  const { ben, ana, effects } = await two();
  const carl = await admitMember(ben, "carl");
  await syncOnce(ana, ben);
  await syncOnce(carl, ben);
  const anas = await actor(ana);
  const id = await ask(anas, carl);
  await syncOnce(ana, carl);
  const carls = await actor(carl, { work: marking(effects) });
  serve(carls);
  await until(() => effects.runs.length === 1 && carls.outbox.pending().length === 0, "carl has answered");
  await syncOnce(carl, ben);
  await removePerson(ben.replica, memberOf(ben, "carl").person);
  // The roster comes to Ana before the answer does.
  await ana.replica.learn(ben.replica.records());
  expect(anas.outbox.look(id)).toMatchObject({ state: "gone", why: expect.stringContaining("removed") as string });
  expect(await outcomeOf(anas, id)).toBe("OUTCOME_UNKNOWN");
  expect(await answeredBy(anas, ben, id)).toBe("result:run 1");
});

test("who is removed is told that his own calls are over, also where he waits for one [removed-caller]", async () => {
  const { ben, ana } = await two();
  const anas = await actor(ana);
  const id = await ask(anas, ben);
  await syncOnce(ana, ben);
  const untold = await ask(anas, ben);
  const waiting = [id, untold].map((one) => anas.outbox.answer(one, new AbortController().signal));
  await removePerson(ben.replica, memberOf(ben, "ana").person);
  await ana.replica.learn(ben.replica.records());
  for (const events of await Promise.all(waiting))
    expect(events?.at(-1)).toMatchObject({ type: "failure", error: { code: "REMOVED" } });
  await until(() => anas.outbox.look(id) !== undefined, "what he had told is there");
  expect(anas.outbox.look(id)).toMatchObject({ state: "gone", why: expect.stringContaining("removed") as string });
});

async function answeredBy(from: Actor, carrier: TestMember, id: EnvelopeId): Promise<string | null> {
  await syncOnce(from.member, carrier);
  await until(() => from.outbox.look(id)?.state === "answered", "the answer came");
  return outcomeOf(from, id);
}

test("an ask whose caller goes away while its attachment is fetched has not started: it waits for her and runs once [caller-gone-fetching]", async () => {
  const { time, ben, ana, effects } = await two();
  const anas = await actor(ana);
  const blob = { hash: "cd".repeat(32), bytes: 3, mediaType: "text/plain" };
  const wrong = await ask(anas, ben, { parts: [{ blob: { ...blob, hash: "ef".repeat(32) } }] });
  let isThere = true;
  let fetches = 0;
  const fetch: OutboxDeps["fetch"] = async ({ request: { parts } }) => {
    if (!parts.some((part) => "blob" in part && part.blob.hash === blob.hash))
      throw new KinError("BAD_REQUEST", "an attachment is not the one that was announced");
    fetches++;
    if (fetches === 3) return;
    isThere = fetches > 1;
    throw new KinError(isThere ? "UNREACHABLE" : "CLOSED", "the connection was closed");
  };
  const bens = await actor(ben, { work: marking(effects), outbox: { fetch, isThere: () => isThere } });
  serve(bens);
  await syncOnce(ana, ben);
  // What is wrong in itself is the end of its ask.
  expect(await answered(anas, ben, wrong)).toBe("BAD_REQUEST");
  const id = await ask(anas, ben, { parts: [{ blob }] });
  await syncOnce(ana, ben);
  await until(() => fetches === 1, "she was gone");
  await ben.replica.idle();
  expect(bens.outbox.pending()).toMatchObject([{ id, state: "waiting" }]);
  isThere = true;
  bens.outbox.lookAgain();
  await until(() => fetches === 2, "it was tried as soon as she was there");
  await ben.replica.idle();
  time.pass(60_000);
  expect(await answered(anas, ben, id)).toBe("result:run 1");
  expect({ fetches, runs: effects.runs.length }).toEqual({ fetches: 3, runs: 1 });
});

test("F6: what is attached to an ask is named as held until it is answered [held-attachments]", async () => {
  const { ben, ana, effects } = await two();
  const anas = await actor(ana);
  const blob = { hash: "cd".repeat(32), bytes: 3, mediaType: "text/plain" };
  const id = await ask(anas, ben, { parts: [{ blob }] });
  expect(anas.outbox.waiting()).toMatchObject([{ id, attached: [blob.hash] }]);
  const there = new Set<DeviceId>();
  const bens = await actor(ben, { work: marking(effects), outbox: { isThere: (device) => there.has(device) } });
  serve(bens);
  await syncOnce(ana, ben);
  await until(() => bens.outbox.pending().length === 1, "it waits for her");
  expect(anas.outbox.waiting()).toMatchObject([{ attached: [blob.hash] }]);
  there.add(ana.replica.device);
  bens.outbox.lookAgain();
  expect(await answered(anas, ben, id)).toBe("result:run 1");
  expect(anas.outbox.waiting()).toEqual([]);
});
