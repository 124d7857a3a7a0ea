import { expect, test } from "vitest";
import { signingKeyFromSeed } from "#crypto";
import { decode, encode } from "../../protocols/bytes.ts";
import { createAgentKeys, makeAgentKey, MAX_AGENTS_PER_DEVICE, parseAgentKey } from "../../protocols/agent-key.ts";
import { idOf, type AgentKey } from "../../protocols/ids.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { sealOne } from "../../protocols/signature.ts";
import { act, admit, fold, found, meshOf, NOW, someBytes, type Person } from "./people.ts";

function agentKey() {
  const key = signingKeyFromSeed(someBytes(32));
  return { id: idOf<"agent-key">(key.publicKey), publicKey: key.publicKey };
}

function bound(who: Person, key: AgentKey | null, generation: number, agent = "reviewer") {
  const fields = { mesh: meshOf(who), person: who.id, agent, key, generation, hlc: stampOf(NOW), n: someBytes(16) };
  return makeAgentKey(who.machine.key, fields);
}

const asReviewer = (who: Person) => ({ person: who.id, device: who.machine.id, agent: "reviewer" });

test("F3: the device speaks for its person, the bound key for the agent, and neither for the other", () => {
  const ben = found();
  const membership = fold(ben.view);
  const keys = createAgentKeys(meshOf(ben));
  const one = agentKey();
  keys.bind(bound(ben, one.id, 1).sealed);
  const person = { ...asReviewer(ben), agent: null };
  const device = ben.machine.key.publicKey;
  expect(keys.maySpeakFor(device, person, membership)).toBe(true);
  expect(keys.maySpeakFor(one.publicKey, asReviewer(ben), membership)).toBe(true);
  expect(keys.maySpeakFor(device, asReviewer(ben), membership)).toBe(false);
  expect(keys.maySpeakFor(one.publicKey, person, membership)).toBe(false);
  expect(keys.maySpeakFor(one.publicKey, { ...asReviewer(ben), agent: "librarian" }, membership)).toBe(false);
});

test("R17: a higher generation ends the older, in any order of arrival; what was signed before stays verifiable", () => {
  const ben = found();
  const membership = fold(ben.view);
  const [one, two] = [agentKey(), agentKey()];
  const records = [bound(ben, one.id, 1), bound(ben, two.id, 2)];
  for (const order of [records, records.toReversed()]) {
    const keys = createAgentKeys(meshOf(ben));
    for (const record of [...order, ...order]) keys.bind(record.sealed);
    expect(keys.maySpeakFor(one.publicKey, asReviewer(ben), membership)).toBe(false);
    expect(keys.maySpeakFor(two.publicKey, asReviewer(ben), membership)).toBe(true);
    expect(keys.couldSpeakFor(one.publicKey, asReviewer(ben))).toBe(true);
    expect(keys.ofDevice(ben.machine.id)).toHaveLength(2);
  }
});

test("R17: an ended agent speaks no more until a higher generation is bound", () => {
  const ben = found();
  const membership = fold(ben.view);
  const keys = createAgentKeys(meshOf(ben));
  const [one, two] = [agentKey(), agentKey()];
  keys.bind(bound(ben, null, 1).sealed);
  keys.bind(bound(ben, one.id, 1).sealed);
  expect(keys.current(ben.machine.id, "reviewer")).toBeUndefined();
  expect(keys.maySpeakFor(one.publicKey, asReviewer(ben), membership)).toBe(false);
  keys.bind(bound(ben, two.id, 2).sealed);
  expect(keys.maySpeakFor(two.publicKey, asReviewer(ben), membership)).toBe(true);
});

test("of two keys of one generation every node takes the same", () => {
  const ben = found();
  const records = [bound(ben, agentKey().id, 1), bound(ben, agentKey().id, 1)];
  const taken = [records, records.toReversed()].map((order) => {
    const keys = createAgentKeys(meshOf(ben));
    for (const record of order) keys.bind(record.sealed);
    return keys.current(ben.machine.id, "reviewer")?.id;
  });
  expect(taken[0]).toBe(taken[1]);
});

test("a removed member's device and agents speak no more, nor does a device for another person", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  const keys = createAgentKeys(meshOf(ben));
  const one = agentKey();
  keys.bind(bound(ana, one.id, 1).sealed);
  expect(keys.maySpeakFor(one.publicKey, asReviewer(ana), fold(ben.view))).toBe(true);
  expect(
    keys.maySpeakFor(ana.machine.key.publicKey, { ...asReviewer(ana), person: ben.id, agent: null }, fold(ben.view)),
  ).toBe(false);
  act(ben, { type: "remove", person: ana.id, cuts: [] });
  expect(keys.maySpeakFor(one.publicKey, asReviewer(ana), fold(ben.view))).toBe(false);
  expect(keys.maySpeakFor(ana.machine.key.publicKey, { ...asReviewer(ana), agent: null }, fold(ben.view))).toBe(false);
});

test("records of another mesh, by another key, of another shape or with a bad key are refused", () => {
  const ben = found();
  const good = bound(ben, agentKey().id, 1);
  const map = decode(good.sealed.bytes) as Record<string, unknown>;
  const again = (change: Record<string, unknown>) =>
    sealOne(ben.machine.key, "agent-key", encode({ ...map, ...change }));
  expect(() => createAgentKeys(meshOf(found())).bind(good.sealed)).toThrow(/mesh/);
  expect(() => parseAgentKey(sealOne(ben.key, "agent-key", good.sealed.bytes))).toThrow(/not signed by its device/);
  expect(() => parseAgentKey({ ...good.sealed, seal: { ...good.sealed.seal, sig: new Uint8Array(64) } })).toThrow(
    /not signed/,
  );
  expect(() => parseAgentKey(again({ v: 2 }))).toThrow(/version 2/);
  expect(() => parseAgentKey(again({ type: "agent" }))).toThrow(/agent-key, agent-ended/);
  expect(() => parseAgentKey(again({ agent: "Reviewer" }))).toThrow(/name/);
  expect(() => parseAgentKey(again({ generation: 0 }))).toThrow(/generation/);
  expect(() => parseAgentKey(again({ more: 1 }))).toThrow(/no field "more"/);
  expect(() => parseAgentKey(again({ key: new Uint8Array(32) }))).toThrow(/prime order/);
  expect(() => parseAgentKey(again({ type: "agent-ended" }))).toThrow(/no field "key"/);
});

test("a device binds a bounded number of agents", () => {
  const ben = found();
  const keys = createAgentKeys(meshOf(ben));
  const key = agentKey().id;
  for (let i = 0; i < MAX_AGENTS_PER_DEVICE; i++) keys.bind(bound(ben, key, 1, `a${i}`).sealed);
  expect(() => keys.bind(bound(ben, key, 1, "more").sealed)).toThrow(/at most/);
});
