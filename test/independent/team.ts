/**
 * A team whose history is worth showing to somebody outside: ben founded it; ana asks his reviewer and gets an answer through the
 * log; cem was removed and wrote on; dora restored a backup and wrote one log twice. Real replicas, keys, seals and logs.
 */
import { signingKeyFromSeed } from "#crypto";
import { makeAgentKey } from "../../protocols/agent-key.ts";
import type { Value } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import {
  encodeEnvelope,
  envelopeSealKind,
  type Envelope,
  type Recipient,
  type Sender,
} from "../../protocols/envelope.ts";
import { idBytes, idOf, type DeviceId, type EnvelopeId, type EventId } from "../../protocols/ids.ts";
import { eventBody, requestBody } from "../../protocols/invoke-bodies.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { leafHash, sealAll, sealedValue, type Sealed } from "../../protocols/signature.ts";
import { removePerson } from "../../sync/acts.ts";
import { writeExport, type ExportRequest } from "../../sync/export.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import {
  admitMember,
  foundMesh,
  memberOf,
  note,
  syncOnce,
  testTime,
  type TestMember,
  type TestTime,
} from "../sync/mesh.ts";

export interface Team {
  time: TestTime;
  ben: TestMember;
  ana: TestMember;
  cem: TestMember;
  dora: TestMember;
  reviewer: SigningKey;
  /** Ana's call to ben's reviewer, and the events that say so. */
  call: { id: EnvelopeId; asked: EventId; answered: EventId };
  /** A note of ana's, sealed for the mesh. */
  note: EventId;
}

export async function makeTeam(): Promise<Team> {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const cem = await admitMember(ben, "cem");
  const dora = await admitMember(ben, "dora");
  const reviewer = signingKeyFromSeed(bytesOf("reviewer"));
  await bindAgent(ben, "reviewer", reviewer);
  for (const other of [ana, cem, dora]) await syncOnce(ben, other);
  const [said] = await ana.replica.append([note("what ana noted"), note("and more")]);
  await cem.replica.append([note("before")]);
  await forkOf(dora, ben);
  const call = await callThroughLog(ana, ben, reviewer);
  await syncOnce(cem, ben);
  await removePerson(ben.replica, memberOf(ben, "cem").person);
  await cem.replica.append([note("after, and neither he nor ana know")]);
  await syncOnce(cem, ana);
  for (const member of [ana, dora]) await syncOnce(ben, member);
  await audits(ben, 150);
  await ben.replica.idle();
  await syncOnce(ana, ben);
  return { time, ben, ana, cem, dora, reviewer, call, note: said!.id };
}

async function bindAgent({ replica, keys }: TestMember, agent: string, key: SigningKey): Promise<void> {
  const { person } = replica.membership().devices.get(replica.device)!.member;
  const record = makeAgentKey(keys.device, {
    mesh: replica.mesh,
    person,
    agent,
    key: idOf(key.publicKey),
    generation: 1,
    hlc: replica.stamp(),
    n: bytesOf(`${agent} n`).subarray(0, 16),
  });
  await replica.append([
    { kind: "agent-key", audience: "mesh", value: sealedValue(record.sealed) as Value, clear: true },
  ]);
}

/** Her backup of one event ago comes back, and both go on: two histories of one log, that ben gets to see. */
async function forkOf(dora: TestMember, ben: TestMember): Promise<void> {
  await dora.replica.append([note("shared")]);
  const disk = dora.disk.crash();
  await dora.replica.append([note("one way")]);
  await syncOnce(dora, ben);
  const restored = await dora.reopen(disk, { ...dora.replica.incarnation(), fresh: false });
  await restored.replica.append([note("another way"), note("and on")]);
  await syncOnce(restored, ben);
  Object.assign(dora, restored);
}

async function audits({ replica }: TestMember, count: number): Promise<void> {
  for (let i = 0; i < count; i++)
    await replica.append([{ kind: "audit-started", audience: "here", value: { call: i, target: "git.log" } }]);
}

// ── a durable call ──

function personOf({ replica }: TestMember, agent: string | null = null): Sender {
  const { person } = replica.membership().devices.get(replica.device)!.member;
  return { person, device: replica.device, agent };
}

interface Message {
  from: Sender;
  to: Recipient;
  kind: Envelope["kind"];
  body: Value;
  re?: EnvelopeId;
  at: number;
}

let drawn = 0;
function sealMessages(of: TestMember, key: SigningKey, messages: Message[]): Sealed[] {
  const envelopes = messages.map(({ from, to, kind, body, re, at }) => ({
    kind: envelopeSealKind(from),
    bytes: encodeEnvelope({
      mesh: of.replica.mesh,
      from,
      to,
      kind,
      id: bytesOf(`message ${drawn++}`).subarray(0, 16),
      iat: at,
      exp: at + 86_400_000,
      hlc: stampOf(at),
      caps: [],
      re,
      body,
    }),
  }));
  return sealAll(key, envelopes).map((seal, i) => ({ bytes: envelopes[i]!.bytes, seal }));
}

async function callThroughLog(ana: TestMember, ben: TestMember, reviewer: SigningKey): Promise<Team["call"]> {
  const from = personOf(ana);
  const to = personOf(ben, "reviewer");
  const at = ana.time.now();
  const body = requestBody({
    target: { agent: "reviewer" },
    parts: [{ text: "what changed?" }],
    arguments: {},
    key: bytesOf("key").subarray(0, 16),
    deadlineMs: 60_000,
    budget: { depth: 4 },
    chain: [from],
  }) as Value;
  const [q] = sealMessages(ana, ana.keys.device, [{ from, to, kind: "invoke/request", body, at }]);
  const id = idOf<"envelope">(leafHash("envelope/device", q!.bytes));
  const devices: DeviceId[] = [ana.replica.device, ben.replica.device];
  const value = { q: sealedValue(q!) as Value, device: idBytes(to.device), exp: at + 86_400_000, only: true };
  const [asked] = await ana.replica.append([{ kind: "invocation-asked", audience: "direct", value, to: devices }]);
  await syncOnce(ana, ben);
  const answered = await answer(ben, reviewer, { re: id, from: to, to: from, devices });
  await syncOnce(ana, ben);
  return { id, asked: asked!.id, answered };
}

/** Accepted and result, under one signature. `about`: the request that the event names, if it is another. */
async function answer(
  ben: TestMember,
  reviewer: SigningKey,
  {
    re,
    from,
    to,
    devices,
    about = re,
  }: { re: EnvelopeId; from: Sender; to: Sender; devices: DeviceId[]; about?: EnvelopeId },
): Promise<EventId> {
  const at = ben.time.now();
  const ev = sealMessages(ben, reviewer, [
    { from, to, kind: "invoke/accepted", body: eventBody({ type: "accepted", index: 0 }), re, at },
    {
      from,
      to,
      kind: "invoke/result",
      body: eventBody({ type: "result", index: 1, outcome: { parts: [{ text: "three files" }] } }),
      re,
      at,
    },
  ]);
  const value = { re: idBytes(about), ev: ev.map((one) => sealedValue(one) as Value) };
  const [event] = await ben.replica.append([{ kind: "invocation-answered", audience: "direct", value, to: devices }]);
  return event!.id;
}

/** Exports of answers that ben signed for what nobody asked him. */
export async function wrongReceipts({
  ben,
  ana,
  dora,
  reviewer,
  call,
}: Team): Promise<{ says: string; bytes: Uint8Array }[]> {
  const from = personOf(ben, "reviewer");
  const devices = [ben.replica.device, ana.replica.device];
  const other = idOf<"envelope">(bytesOf("another request"));
  const wrong = [
    { says: `with an envelope for ${other}`, re: other, to: personOf(ana) },
    { says: "to somebody else than who asked", re: call.id, to: personOf(dora) },
  ];
  const out = [];
  for (const { says, re, to } of wrong) {
    const event = await answer(ben, reviewer, { re, about: call.id, from, to, devices });
    out.push({ says, bytes: await exportOf(ben, { all: false, events: [event, call.asked] }) });
  }
  return out;
}

// ── the file ──

const EVERYTHING: ExportRequest = { all: true, devices: [], events: [], calls: [], here: false, open: true };

export async function exportOf(by: TestMember, request: Partial<ExportRequest> = {}): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  await writeExport(
    {
      replica: by.replica,
      deviceKey: by.keys.device,
      sealingKeys: () => [by.keys.sealing],
      time: by.time,
      random: seededRandom(`${by.name} export`),
      write: async (bytes) => void pieces.push(bytes),
      signal: new AbortController().signal,
    },
    { ...EVERYTHING, ...request },
  );
  return new Uint8Array(Buffer.concat(pieces));
}
