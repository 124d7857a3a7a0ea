/** Vectors of hello, agent keys, envelopes, calls and cards (§11–§15, §21). */
import { signingKeyFromSeed } from "#crypto";
import { directoryCid } from "../../protocols/directory.ts";
import { encodeCard, type AgentCard, type ToolCard } from "../../protocols/agent-card.ts";
import { makeAgentKey } from "../../protocols/agent-key.ts";
import { encode, toHex } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import { encodeEnvelope, envelopeId, type Envelope } from "../../protocols/envelope.ts";
import { idBytes, idOf, type MeshId } from "../../protocols/ids.ts";
import { eventBody, refusedBody, requestBody, resumeBody } from "../../protocols/invoke-bodies.ts";
import { encodeInvokeFrame, type InvokeFrame } from "../../protocols/invoke-frames.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { leafHash, sealAll, sealedValue, sealOne, type Sealed, type SealKind } from "../../protocols/signature.ts";
import { bytesOf, hexOf } from "./basics.ts";
import type { VectorFile } from "./make.ts";

const NOW = 1_800_000_000_000;
const MESH: MeshId = idOf(bytesOf("mesh"));

function someone(name: string) {
  const key = signingKeyFromSeed(bytesOf(`${name} device`));
  return {
    key,
    seed: bytesOf(`${name} device`),
    person: idOf<"person">(bytesOf(`${name} person`)),
    device: idOf<"device">(key.publicKey),
  };
}

const ana = someone("ana");
const ben = someone("ben");
const reviewer = signingKeyFromSeed(bytesOf("reviewer 2"));
const BOOT = bytesOf("ben boot", 16);

export function dialogueVectors(): { [file: string]: VectorFile } {
  return { "hello.json": hello(), "envelope.json": envelopes(), "card.json": cards() };
}

function common() {
  return {
    mesh: MESH,
    now: NOW,
    ana: { deviceSeed: toHex(ana.seed), person: ana.person, device: ana.device },
    ben: { deviceSeed: toHex(ben.seed), person: ben.person, device: ben.device },
  };
}

function agentKey(generation: number, key: SigningKey | null) {
  return makeAgentKey(ben.key, {
    mesh: MESH,
    person: ben.person,
    agent: "reviewer",
    key: key === null ? null : idOf(key.publicKey),
    generation,
    hlc: stampOf(NOW, generation),
    n: bytesOf(`agent key n ${generation}`, 16),
  });
}

function hello(): VectorFile {
  const nonce = bytesOf("ana nonce", 16);
  const older = agentKey(1, signingKeyFromSeed(bytesOf("reviewer 1")));
  const newer = agentKey(2, reviewer);
  const ended = agentKey(2, null);
  const said = {
    v: 1,
    mesh: idBytes(MESH),
    from: [idBytes(ben.person), idBytes(ben.device)],
    to: idBytes(ana.device),
    nonce,
    boot: BOOT,
    wall: NOW,
    features: [],
    heads: [bytesOf("head")],
  };
  const good = sealOne(ben.key, "hello", encode(said));
  const frameOf = (sealed: Sealed, keys: Sealed[] = []) =>
    hexOf({ t: "hello", s: sealedValue(sealed), keys: keys.map(sealedValue) });
  const changed = (change: object, key = ben.key, kind: SealKind = "hello") =>
    frameOf(sealOne(key, kind, encode({ ...said, ...change })));
  return {
    section: "11, 12",
    about:
      "ben's side of a hello to ana: frames in order; she said nonce. refused: none of these is a good hello frame for her. agentKeys: records with their id; current: the key that speaks for ben's reviewer once she knows those records.",
    ...common(),
    nonce: toHex(nonce),
    boot: toHex(BOOT),
    said: encodeHex(said),
    frames: [
      hexOf({ t: "nonce", v: [1], n: bytesOf("ben nonce", 16) }),
      frameOf(good, [older.sealed, newer.sealed]),
      hexOf({ t: "ok" }),
    ],
    refused: [
      { name: "another mesh", payload: changed({ mesh: bytesOf("other") }), code: "WRONG_MESH" },
      { name: "said to somebody else", payload: changed({ to: bytesOf("other") }), code: "BAD_SIGNATURE" },
      { name: "another nonce", payload: changed({ nonce: bytesOf("other", 16) }), code: "REPLAYED" },
      {
        name: "another person",
        payload: changed({ from: [bytesOf("other"), idBytes(ben.device)] }),
        code: "NOT_A_MEMBER",
      },
      {
        name: "another device",
        payload: changed({ from: [idBytes(ben.person), bytesOf("other")] }),
        code: "BAD_SIGNATURE",
      },
      { name: "another signer", payload: changed({}, ana.key), code: "BAD_SIGNATURE" },
      { name: "another kind", payload: changed({}, ben.key, "join"), code: "BAD_SIGNATURE" },
      { name: "version 2", payload: changed({ v: 2 }), code: "UNSUPPORTED_VERSION" },
      { name: "a short boot", payload: changed({ boot: new Uint8Array(8) }), code: "BAD_REQUEST" },
    ],
    agentKeys: [older, newer, ended].map((record) => ({ sealed: hexOf(sealedValue(record.sealed)), id: record.id })),
    current: [
      { records: [0], key: older.key },
      { records: [1, 0], key: newer.key },
      { records: [0, 1, 2], key: null },
      { records: [2, 0], key: null },
    ],
  };
}

function encodeHex(value: unknown): string {
  return hexOf(value);
}

type Draft = Pick<Envelope, "kind"> & Partial<Envelope>;

function fromAna(name: string, draft: Draft): Envelope {
  return {
    mesh: MESH,
    from: { person: ana.person, device: ana.device, agent: null },
    to: { person: ben.person, device: ben.device, agent: name },
    id: bytesOf(`${name} ${draft.kind}`, 16),
    boot: BOOT,
    iat: NOW,
    exp: NOW + 360_000,
    hlc: stampOf(NOW),
    caps: [],
    ...draft,
  };
}

function fromBen(agent: string | null, draft: Draft): Envelope {
  return {
    mesh: MESH,
    from: { person: ben.person, device: ben.device, agent },
    to: { person: ana.person, device: ana.device, agent: null },
    id: bytesOf(`${agent} ${draft.kind} ${String(draft.body === undefined)}`, 16),
    iat: NOW,
    exp: NOW + 600_000,
    hlc: stampOf(NOW, 1),
    caps: [],
    ...draft,
  };
}

function seal(key: SigningKey, ...drafts: Envelope[]): Sealed[] {
  const kind = drafts[0]!.from.agent === null ? "envelope/device" : "envelope/agent";
  const messages = drafts.map((draft) => ({ kind: kind as SealKind, bytes: encodeEnvelope(draft) }));
  const seals = sealAll(key, messages);
  return messages.map(({ bytes }, i) => ({ bytes, seal: seals[i]! }));
}

function envelopes(): VectorFile {
  const chain = [{ person: ana.person, device: ana.device, agent: null }];
  const base = { key: bytesOf("call key", 16), deadlineMs: 60_000, budget: { depth: 4 }, chain };
  const ask = requestBody({
    ...base,
    target: { agent: "reviewer" },
    parts: [{ text: "what changed?" }],
    arguments: { share: "app" },
  });
  const call = requestBody({ ...base, target: { tool: "git.log" }, parts: [], arguments: { max: 3 } });
  const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const [request] = seal(ana.key, fromAna("reviewer", { kind: "invoke/request", body: ask, trace })) as [Sealed];
  const [toolRequest] = seal(ana.key, fromAna("git.log", { kind: "invoke/request", body: call })) as [Sealed];
  const re = envelopeId(request, chain[0]!);
  const toolRe = envelopeId(toolRequest, chain[0]!);
  const [accepted, progress, result] = seal(
    reviewer,
    fromBen("reviewer", { kind: "invoke/accepted", re, body: eventBody({ type: "accepted", index: 0 }) }),
    fromBen("reviewer", {
      kind: "invoke/progress",
      re,
      body: eventBody({ type: "progress", index: 1, parts: [{ text: "one " }] }),
    }),
    fromBen("reviewer", {
      kind: "invoke/result",
      re,
      body: eventBody({
        type: "result",
        index: 2,
        outcome: {
          parts: [
            { text: "two" },
            { data: { findings: [1.5] } },
            { blob: { hash: toHex(bytesOf("blob")), bytes: 10, mediaType: "text/plain", name: "a.txt" } },
          ],
        },
      }),
    }),
  ) as [Sealed, Sealed, Sealed];
  const toolResult = {
    content: [{ type: "text" as const, text: "3 commits" }],
    structured: { commits: 3 },
    isError: false,
  };
  const [toolAccepted, toolEnd] = seal(
    ben.key,
    fromBen(null, { kind: "invoke/accepted", re: toolRe, body: eventBody({ type: "accepted", index: 0 }) }),
    fromBen(null, {
      kind: "invoke/result",
      re: toolRe,
      body: eventBody({ type: "result", index: 1, outcome: { tool: toolResult } }),
    }),
  ) as [Sealed, Sealed];
  const error = { code: "DENIED", message: 'there is no agent "reviewer" here that you may call', hint: "ask ben" };
  const [refused] = seal(ben.key, fromBen(null, { kind: "invoke/refused", re, body: refusedBody(error) })) as [Sealed];
  const [failed] = seal(
    reviewer,
    fromBen("reviewer", { kind: "invoke/failure", re, body: eventBody({ type: "failure", index: 1, error }) }),
  ) as [Sealed];
  const resume = fromAna("reviewer", {
    kind: "invoke/resume",
    re,
    body: resumeBody({ from: 2, id: bytesOf("reviewer invoke/request", 16), boot: BOOT }),
    exp: NOW + 600_000,
  });
  const [resumed] = seal(ana.key, resume) as [Sealed];
  const [cancelled] = seal(ana.key, { ...resume, kind: "invoke/cancel", id: bytesOf("cancel id", 16), body: {} }) as [
    Sealed,
  ];
  const frames: [string, InvokeFrame][] = [
    ["request", { t: "request", call: 1, sealed: request }],
    ["accepted", { t: "accepted", call: 1, sealed: accepted }],
    ["progress", { t: "progress", call: 1, sealed: progress }],
    ["result", { t: "result", call: 1, sealed: result }],
    ["tool request", { t: "request", call: 2, sealed: toolRequest }],
    ["tool accepted", { t: "accepted", call: 2, sealed: toolAccepted }],
    ["tool result", { t: "result", call: 2, sealed: toolEnd }],
    ["refused", { t: "refused", call: 1, sealed: refused }],
    ["failure", { t: "failure", call: 1, sealed: failed }],
    ["resume", { t: "resume", call: 3, sealed: resumed }],
    ["cancel", { t: "cancel", call: 4, sealed: cancelled }],
    [
      "ack",
      {
        t: "ack",
        acks: [
          { call: 1, below: 2 },
          { call: 3, below: 0 },
        ],
      },
    ],
  ];
  return {
    section: "13, 14",
    about:
      "frames: payloads of /kin/invoke/1 between ana and ben; envelopes have their id. At `now` all are good: ana's keys and ben's are their devices', ben's reviewer speaks with `agentKey`. refused: answers that ana refuses to her request `re` (asked: ben's reviewer, next index 0).",
    ...common(),
    agentKeySeed: toHex(bytesOf("reviewer 2")),
    agentKey: toHex(reviewer.publicKey),
    boot: toHex(BOOT),
    request: { bytes: toHex(request.bytes), id: re, seal: hexOf(sealedValue(request)) },
    frames: frames.map(([name, frame]) => ({
      name,
      payload: toHex(encodeInvokeFrame(frame)),
      ...(frame.t !== "ack" && { id: idHex(frame.sealed, frame.sealed.seal.key === reviewer.publicKey) }),
    })),
    re,
    refused: badAnswers(re, accepted),
  };
}

function idHex(sealed: Sealed, agent: boolean): string {
  return toHex(leafHash(agent ? "envelope/agent" : "envelope/device", sealed.bytes));
}

function badAnswers(re: ReturnType<typeof envelopeId>, accepted: Sealed) {
  const good = fromBen("reviewer", { kind: "invoke/accepted", re, body: { n: 0 } });
  const one = (change: Partial<Envelope>, key = reviewer) => seal(key, { ...good, ...change })[0]!;
  const flipped = accepted.bytes.slice();
  flipped[flipped.length - 1]! ^= 1;
  const cases: [string, Sealed][] = [
    ["a flipped byte", { ...accepted, bytes: flipped }],
    ["another request", one({ re: idOf(bytesOf("other")) })],
    ["another mesh", one({ mesh: idOf(bytesOf("other")) })],
    ["to somebody else", one({ to: { person: ben.person, device: ben.device, agent: null } })],
    ["from another person", one({ from: { person: ana.person, device: ben.device, agent: "reviewer" } })],
    ["from another agent", one({ from: { ...good.from, agent: "guide" } })],
    ["from the device", one({ from: { ...good.from, agent: null } }, ben.key)],
    ["sealed by the device", one({}, ben.key)],
    ["sealed by an older key", one({}, signingKeyFromSeed(bytesOf("reviewer 1")))],
    ["expired", one({ iat: NOW - 600_000, exp: NOW })],
    ["from the future", one({ iat: NOW + 300_001, exp: NOW + 400_000 })],
    ["valid for too long", one({ exp: NOW + 600_001 })],
    ["another index", one({ body: { n: 1 } })],
    ["another kind than its frame", one({ kind: "invoke/progress", body: { n: 0, parts: [] } })],
    ["an unknown field in the body", one({ body: { n: 0, x: 1 } })],
  ];
  return cases.map(([name, sealed]) => ({
    name,
    payload: toHex(encodeInvokeFrame({ t: "accepted", call: 1, sealed })),
  }));
}

function cards(): VectorFile {
  const base = { mesh: MESH, person: ben.person, device: ben.device, issuedAt: NOW, ended: false };
  const agent: AgentCard = {
    ...base,
    kind: "agent",
    name: "reviewer",
    description: "reviews what changed",
    skills: ["git", "review"],
    key: idOf(reviewer.publicKey),
    generation: 2,
    allowed: { persons: [ana.person] },
    shares: ["app"],
  };
  const tool: ToolCard = {
    ...base,
    kind: "tool",
    name: "git.log",
    description: "the last commits",
    inputSchema: { type: "object", properties: { max: { type: "integer" } } },
    readOnly: true,
    allowed: { mesh: true },
    shares: ["app"],
  };
  const sealed = [agent, tool].map((card) => sealOne(ben.key, "card", encodeCard(card)));
  return {
    section: "15, 21",
    about:
      "cards of ben's device, sealed; directory: a key of the DHT and its CID; frames: questions and an answer of /kin/card/1.",
    ...common(),
    cards: sealed.map((item, i) => ({
      kind: [agent, tool][i]!.kind,
      name: [agent, tool][i]!.name,
      sealed: hexOf(sealedValue(item)),
    })),
    directory: ["agent:reviewer", "tool:git.log", "skill:review"].map((key) => ({
      key,
      cid: directoryCid(key).toString(),
    })),
    frames: [
      hexOf({ q: "all" }),
      hexOf({ q: "name", kind: "agent", name: "reviewer" }),
      hexOf({ cards: sealed.map(sealedValue), more: false }),
    ],
  };
}
