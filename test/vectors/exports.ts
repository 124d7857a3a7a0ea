/** Vectors of exports (§26): a whole one, in which a durable call is opened, and what is wrong with others. */
import { aeadSeal, sha256, signingKeyFromSeed } from "#crypto";
import { makeAgentKey } from "../../protocols/agent-key.ts";
import { concat, encode, toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import { encodeEnvelope, type Sender } from "../../protocols/envelope.ts";
import {
  logIdOf,
  logOpeningValue,
  makeEvent,
  signHead,
  unsealedValue,
  type LogOpening,
  type StoredEvent,
  type UnsealedHeader,
} from "../../protocols/events.ts";
import { encodeExportFrame, EXPORT_LINE, sealExport, type ExportFrame } from "../../protocols/export.ts";
import { frame } from "../../protocols/frame.ts";
import { formatText, idBytes, idOf, type DeviceId, type EventId, type MeshId } from "../../protocols/ids.ts";
import { eventBody, requestBody } from "../../protocols/invoke-bodies.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { leafHash, sealAll, sealedValue, type Sealed } from "../../protocols/signature.ts";
import { admit, found, machine, meshOf, NOW, type Person } from "../membership/people.ts";
import { bytesOf } from "./basics.ts";
import { hpkeSealWith } from "./hpke.ts";
import type { VectorFile } from "./make.ts";

/** A log of one device while it is written. */
interface Writing {
  of: Person;
  opening: LogOpening;
  events: StoredEvent[];
}

interface Shown {
  id: EventId;
  how: "key";
  bytes: Uint8Array;
}

export async function exportVectors(): Promise<{ [file: string]: VectorFile }> {
  const ben = found("ben");
  const ana = admit(ben, "ana");
  const mesh = meshOf(ben);
  const [bens, anas] = [begin(mesh, ben), begin(mesh, ana)];
  const reviewer = signingKeyFromSeed(bytesOf("export reviewer"));
  const record = makeAgentKey(ben.machine.key, {
    mesh,
    person: ben.id,
    agent: "reviewer",
    key: idOf(reviewer.publicKey),
    generation: 1,
    hlc: stampOf(NOW, 1),
    n: bytesOf("export agent n", 16),
  });
  write(mesh, bens, "agent-key", "mesh", { n: bytesOf("agent key body", 16), c: sealedValue(record.sealed) as Value });
  const { asked, answered } = call(mesh, ana, ben, reviewer);
  const shown = [
    await writeDirect(mesh, anas, "invocation-asked", asked, [ana, ben]),
    await writeDirect(mesh, bens, "invocation-answered", answered, [ana, ben]),
  ].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const frames: ExportFrame[] = [
    { type: "export", mesh, all: true, here: false },
    { type: "records", records: ben.view.map(({ sealed }) => sealed) },
    { type: "keys", keys: [record.sealed] },
    { type: "open", opened: shown },
    ...[bens, anas].toSorted((a, b) => (logOf(mesh, a) < logOf(mesh, b) ? -1 : 1)).flatMap((one) => rangeOf(mesh, one)),
  ];
  const good = fileOf(mesh, ben, frames);
  return {
    "export.json": {
      section: "26",
      about:
        "file: an export that is proved by the mesh id alone; of it, what its members are called, the last event of each log, and how the call ended. refused: files that prove nothing.",
      mesh: formatText("kinm", idBytes(mesh)),
      file: toHex(good),
      members: ["ana", "ben"],
      last: [bens, anas].map((one) => one.events.at(-1)!.id).toSorted(),
      call: toHex(answered["re"]),
      answers: ["result"],
      refused: wrong(mesh, ben, frames, good).map(([name, file]) => ({ name, file: toHex(file) })),
    },
  };
}

function begin(mesh: MeshId, of: Person): Writing {
  const opening: LogOpening = { device: of.machine.id, incarnation: bytesOf(`${of.name} export`, 16), chain: "mesh" };
  const writing: Writing = { of, opening, events: [] };
  const n = bytesOf(`${of.name} opened`, 16);
  write(mesh, writing, "log-opened", "mesh", { n, c: logOpeningValue(opening) });
  return writing;
}

function logOf(mesh: MeshId, { opening }: Writing) {
  return logIdOf(mesh, opening);
}

function nextHeader(mesh: MeshId, to: Writing, kind: string, audience: "mesh" | "direct"): UnsealedHeader {
  const seq = to.events.length;
  return { log: logOf(mesh, to), seq, prev: to.events.at(-1)?.id ?? null, deps: [], hlc: stampOf(NOW, seq), kind, audience };
}

function write(mesh: MeshId, to: Writing, kind: string, audience: "mesh" | "direct", body: Value): void {
  to.events.push(makeEvent(nextHeader(mesh, to, kind, audience), encode(body)));
}

/** A body sealed to these people's devices, with keys from seeds; returns what opens it. */
async function writeDirect(mesh: MeshId, to: Writing, kind: string, value: Value, people: Person[]): Promise<Shown> {
  const header = nextHeader(mesh, to, kind, "direct");
  const [key, n] = [bytesOf(`${kind} key`), bytesOf(`${kind} n`, 16)];
  const aad = encode({ mesh: idBytes(mesh), header: unsealedValue(header) });
  const devices = people.map(({ machine: { id } }) => id).toSorted();
  const author = idBytes(to.opening.device);
  const info = encode(["kin/direct/1", idBytes(mesh), author, idBytes(header.log), header.seq, devices.map(idBytes)]);
  const r: Value[] = [];
  for (const device of devices) {
    const { sealing } = people.find(({ machine: { id } }) => id === device)!.machine;
    const { enc, ciphertext } = await hpkeSealWith(bytesOf(`${kind} ${device}`), sealing.publicKey, info, aad, key);
    r.push([idBytes(device), enc, ciphertext]);
  }
  const x = aeadSeal(key, n.subarray(0, 12), encode(value), aad);
  const event = makeEvent(header, encode({ n, r, x }));
  to.events.push(event);
  return { id: event.id, how: "key", bytes: key };
}

/** Ana asks ben's reviewer; the values of both events. */
function call(mesh: MeshId, ana: Person, ben: Person, reviewer: ReturnType<typeof signingKeyFromSeed>) {
  const from: Sender = { person: ana.id, device: ana.machine.id, agent: null };
  const to: Sender = { person: ben.id, device: ben.machine.id, agent: "reviewer" };
  const common = { mesh, iat: NOW, exp: NOW + 86_400_000, caps: [] };
  const body = requestBody({
    target: { agent: "reviewer" },
    parts: [{ text: "what changed?" }],
    arguments: {},
    key: bytesOf("export call", 16),
    deadlineMs: 60_000,
    budget: { depth: 4 },
    chain: [from],
  }) as Value;
  const id = bytesOf("export request", 16);
  const request = encodeEnvelope({ ...common, from, to, kind: "invoke/request", id, hlc: stampOf(NOW), body });
  const q = { bytes: request, seal: sealAll(ana.machine.key, [{ kind: "envelope/device", bytes: request }])[0]! };
  const re = leafHash("envelope/device", request);
  const answers = [
    { kind: "invoke/accepted" as const, body: eventBody({ type: "accepted", index: 0 }) as Value },
    {
      kind: "invoke/result" as const,
      body: eventBody({ type: "result", index: 1, outcome: { parts: [{ text: "three files" }] } }) as Value,
    },
  ].map(({ kind, body: said }, i) => ({
    kind: "envelope/agent" as const,
    bytes: encodeEnvelope({
      ...common,
      from: to,
      to: from,
      kind,
      id: bytesOf(kind, 16),
      hlc: stampOf(NOW, i),
      re: idOf(re),
      body: said,
    }),
  }));
  const seals = sealAll(reviewer, answers);
  const ev = answers.map(({ bytes }, i) => sealedValue({ bytes, seal: seals[i]! }) as Value);
  const asked = { q: sealedValue(q) as Value, device: idBytes(to.device), exp: common.exp };
  return { asked, answered: { re, ev } };
}

function rangeOf(mesh: MeshId, { of, opening, events }: Writing): ExportFrame[] {
  const last = events.at(-1)!;
  const log = logIdOf(mesh, opening);
  const { seq, hlc } = last.header;
  const head = signHead(of.machine.key, { log, seq, id: last.id, hlc });
  return [
    { type: "log", log, opening, from: 0, to: seq, stop: null },
    { type: "run", events: events.slice(0, 1), head: null },
    { type: "run", events: events.slice(1), head },
  ];
}

function fileOf(mesh: MeshId, by: Person, frames: ExportFrame[], end: Partial<{ device: DeviceId }> = {}): Uint8Array {
  const body = concat(utf8Bytes(EXPORT_LINE), ...frames.map((one) => frame(encodeExportFrame(one))));
  const said = { mesh, person: by.id, device: by.machine.id, at: NOW, file: sha256(body), ...end };
  const sealed: Sealed = sealExport(by.machine.key, said, bytesOf("export end", 16));
  return concat(body, frame(encodeExportFrame({ type: "end", sealed })));
}

function wrong(mesh: MeshId, ben: Person, frames: ExportFrame[], good: Uint8Array): [string, Uint8Array][] {
  const without = (type: ExportFrame["type"]): ExportFrame[] => frames.filter((one) => one.type !== type);
  const changed = (change: (one: ExportFrame) => ExportFrame): ExportFrame[] => frames.map(change);
  const flipped = good.slice();
  flipped[flipped.length >> 1]! ^= 1;
  return [
    ["another version", concat(utf8Bytes("kin export 2\n"), good.subarray(EXPORT_LINE.length))],
    ["cut off", good.subarray(0, -1)],
    ["a byte after the end", concat(good, Uint8Array.of(0))],
    ["a flipped byte", flipped],
    ["without records", fileOf(mesh, ben, without("records"))],
    ["without the agent's key", fileOf(mesh, ben, without("keys"))],
    ["without heads", fileOf(mesh, ben, changed((one) => (one.type === "run" ? { ...one, head: null } : one)))],
    ["a log that stops for no reason", fileOf(mesh, ben, changed((one) => (one.type === "log" ? { ...one, stop: 1 } : one)))],
    ["a log that goes on", fileOf(mesh, ben, changed((one) => (one.type === "log" ? { ...one, to: 9 } : one)))],
    ["sealed by nobody", fileOf(mesh, { ...ben, machine: machine("nobody") }, frames)],
    ["sealed for another device", fileOf(mesh, ben, frames, { device: machine("nobody").id })],
    [
      "keys that open the other event",
      fileOf(mesh, ben, changed((one) => (one.type === "open" ? { ...one, opened: swapped(one.opened) } : one))),
    ],
  ];
}

function swapped<T extends { bytes: Uint8Array }>([a, b]: readonly T[]): T[] {
  return [
    { ...a!, bytes: b!.bytes },
    { ...b!, bytes: a!.bytes },
  ];
}
