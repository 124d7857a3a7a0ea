/** Our own code reads the test vectors of `docs/protocol.md`: what another implementation reads, we read alike. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { openCard } from "../../protocols/agent-card.ts";
import { createAgentKeys, parseAgentKey } from "../../protocols/agent-key.ts";
import { decode, encode, fromHex, toHex, type Value } from "../../protocols/bytes.ts";
import { createCaller } from "../../protocols/call-caller.ts";
import * as noble from "../../protocols/crypto/noble.ts";
import * as node from "../../protocols/crypto/node.ts";
import { directoryCid } from "../../protocols/directory.ts";
import { automergeActorOf, openUpdate, parseFactSet, recordDocumentId, yjsClientOf } from "../../protocols/document.ts";
import type { Time, Wire } from "../../protocols/effects.ts";
import { decodeEnvelope, openEnvelope, type Sender } from "../../protocols/envelope.ts";
import { openEpochKey, parseSealedEpochKey } from "../../protocols/epoch.ts";
import { openBody } from "../../protocols/event-body.ts";
import { decodeHeader, logIdOf, parseEvent, parseSignedHead, verifyRun } from "../../protocols/events.ts";
import { createFrameReader, frame } from "../../protocols/frame.ts";
import { greet } from "../../protocols/hello.ts";
import {
  formatText,
  idOf,
  meshTag,
  parseText,
  type DeviceId,
  type LogId,
  type MeshId,
  type PersonId,
  type TextPrefix,
} from "../../protocols/ids.ts";
import { parseRequest } from "../../protocols/invoke-bodies.ts";
import { decodeInvokeFrame, encodeInvokeFrame, isCallerFrame } from "../../protocols/invoke-frames.ts";
import type { SignedCallEvent } from "../../protocols/invoke.ts";
import { joinMesh } from "../../protocols/join.ts";
import type { Membership } from "../../protocols/membership.ts";
import { parseRosterValue, stampOf } from "../../protocols/roster-record.ts";
import { foldRoster } from "../../protocols/roster.ts";
import { isSealed, leafHash, parseSealed, sealedValue, sealOne, type SealKind } from "../../protocols/signature.ts";
import { encodeSyncFrame, parseSyncFrame } from "../../protocols/sync.ts";
import { makeTicket, parseTicket, ticketKey } from "../../protocols/ticket.ts";
import { checkForkProof, forkPoint } from "../../sync/fork.ts";
import { BOARD_SHAPE, createBoard } from "../../sync/documents/board.ts";
import { createFacts } from "../../sync/documents/facts.ts";
import { parseUpdate, tryUpdates } from "../../sync/documents/yjs.ts";
import { verifyExport } from "../../sync/verify-export.ts";
import { FOLDER, formatVectors, makeVectors } from "../vectors/make.ts";
import { membershipValue } from "../vectors/roster.ts";

// The shape of each file is its generator's; a field that is missing fails the test that reads it.
// oxlint-disable-next-line typescript/no-explicit-any
type Vectors = any;

function read(name: string): Vectors {
  return JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8"));
}

const hex = (text: string): Uint8Array => fromHex(text);
const value = (text: string): Value => decode(fromHex(text));
const sealedOf = (text: string) => parseSealed(value(text));

/** Thousands of keys and folds: seconds alone, a minute beside a whole suite on two cores. */
const BUSY = { timeout: 120_000 };

test("vectors: the files are what their generator makes, else run node test/vectors/make.ts", BUSY, async () => {
  const made = await makeVectors();
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));
  expect(Object.keys(made).toSorted()).toEqual(files.toSorted());
  for (const [name, file] of Object.entries(made))
    expect(readFileSync(join(FOLDER, name), "utf8") === formatVectors(file), name).toBe(true);
});

test("vectors: the examples of docs/protocol.md are in the vectors, and it names every file", () => {
  const page = readFileSync(join(FOLDER, "../../docs/protocol.md"), "utf8");
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));
  const all = files.map((name) => readFileSync(join(FOLDER, name), "utf8")).join("");
  const inline = [...page.matchAll(/`([0-9a-f]{14,}|kin[a-z]1[a-z2-7]+)`/g)].map((found) => found[1]!);
  const blocks = [...page.matchAll(/(?:^ {4}[0-9a-z]{100,}\n)+(?: {4}[0-9a-z]+\n)?/gm)].map((found) =>
    found[0].replaceAll(/\s/g, ""),
  );
  expect(inline.length).toBeGreaterThan(8);
  expect(blocks.length).toBeGreaterThan(5);
  for (const example of [...inline, ...blocks]) expect(all, example.slice(0, 60)).toContain(example);
  for (const name of files) expect(page).toContain(`\`${name}\``);
});

test("§2: text forms", () => {
  const { meshTags, good, pasted, refused } = read("text-forms");
  for (const { mesh, tag } of meshTags) expect(meshTag(mesh)).toBe(tag);
  for (const { prefix, body, text } of good) expect(formatText(prefix as TextPrefix, hex(body))).toBe(text);
  for (const { prefix, body, text } of [...good, ...pasted])
    expect(parseText(prefix, text)).toMatchObject({ ok: true, body: hex(body) });
  for (const { prefix, text, why } of refused) expect(parseText(prefix, text).ok, why).toBe(false);
});

test("§1: canonical CBOR and frames", () => {
  const { accepted, refused, frames, framesRefused } = read("cbor");
  for (const one of accepted) {
    expect(toHex(encode(value(one.bytes)))).toBe(one.bytes);
    if (one.value !== undefined) expect(toHex(encode(fromJson(one.value)))).toBe(one.bytes);
  }
  for (const { name, bytes } of refused) expect(() => value(bytes), name).toThrow(/./);
  for (const one of frames) {
    expect(toHex(frame(hex(one.payload)))).toBe(one.frame);
    expect(createFrameReader().push(hex(one.frame))).toEqual([hex(one.payload)]);
  }
  for (const { name, bytes } of framesRefused)
    expect(() => createFrameReader().push(hex(bytes)), name).toThrow(/frame/);
});

function fromJson(item: Vectors): unknown {
  if (Array.isArray(item)) return item.map(fromJson);
  if (typeof item !== "object" || item === null) return item;
  if (item.hex !== undefined) return hex(item.hex);
  return Object.fromEntries(item.map.map(([key, inside]: [string, unknown]) => [key, fromJson(inside)]));
}

describe.each([
  ["node", node],
  ["noble", noble],
])("§3 R15: on %s", (_, crypto) => {
  test("keys and signatures", () => {
    const { seeds, keys, signatures } = read("ed25519");
    for (const { seed, key } of seeds) expect(toHex(crypto.signingKeyFromSeed(hex(seed)).publicKey)).toBe(key);
    for (const { name, key, admissible } of keys) expect(crypto.isAdmissibleKey(hex(key)), name).toBe(admissible);
    for (const { name, key, message, signature, valid } of signatures)
      expect(crypto.verify(hex(key), hex(message), hex(signature)), name).toBe(valid);
  });
});

test("§4 R18: seals", () => {
  const { seed, key, example, batches, refused } = read("seals");
  const signer = signingKeyFromSeed(hex(seed));
  expect(toHex(signer.publicKey)).toBe(key);
  expect(toHex(leafHash(example.kind, hex(example.bytes)))).toBe(example.leaf);
  expect(toHex(encode(sealedValue(sealOne(signer, example.kind, hex(example.bytes)))))).toBe(example.sealed);
  for (const batch of batches)
    for (const one of batch.seals) {
      const sealed = sealedOf(one.sealed);
      expect(isSealed(one.kind, sealed.bytes, sealed.seal), `${one.index} of ${batch.size}`).toBe(true);
      expect(toHex(leafHash(one.kind, sealed.bytes))).toBe(batch.leaves[one.index]);
      expect(toHex(encode(sealedValue(sealed)))).toBe(one.sealed);
    }
  for (const { name, kind, sealed } of refused) expect(isGood(kind, sealed), name).toBe(false);
});

function isGood(kind: SealKind, text: string): boolean {
  try {
    const { bytes, seal } = sealedOf(text);
    return isSealed(kind, bytes, seal);
  } catch {
    return false;
  }
}

test("§7: tickets", () => {
  const { tickets, refused } = read("ticket");
  for (const { text, ticketKey: key, seed, ...fields } of tickets) {
    const parsed = parseTicket(text, { now: 0 });
    expect(parsed).toMatchObject({ ok: true, ticket: { ...fields, seed: hex(seed) } });
    if (!parsed.ok) continue;
    expect(makeTicket(parsed.ticket)).toBe(text);
    expect(toHex(ticketKey(parsed.ticket.seed, parsed.ticket.mesh).publicKey)).toBe(key);
  }
  for (const { text, why } of refused) expect(parseTicket(text, { now: 0 }).ok, why).toBe(false);
});

test("§8 §9 R3: roster records and the fold", BUSY, () => {
  const { genesis, cases, refused } = read("roster");
  expect(parseRosterValue(value(genesis.sealed))).toMatchObject({
    id: genesis.id,
    mesh: genesis.mesh,
    author: { person: genesis.person },
  });
  for (const { name, records, membership } of cases) {
    const parsed = records.map((text: string) => parseRosterValue(value(text)));
    expect(membershipValue(foldRoster(parsed)), name).toEqual(membership);
    expect(membershipValue(foldRoster(parsed.toReversed())), name).toEqual(membership);
  }
  for (const { name, sealed } of refused) expect(() => parseRosterValue(value(sealed)), name).toThrow(/./);
});

/** A wire whose peer says what was written down, and that remembers what we say. */
function scripted(payloads: string[]): { wire: Wire; sent: string[] } {
  const sent: string[] = [];
  const over = new AbortController();
  const wire: Wire = {
    send: async (payload) => void sent.push(toHex(payload)),
    async *frames() {
      for (const payload of payloads) yield hex(payload);
    },
    close: async () => {},
    abort: (reason) => over.abort(reason),
    signal: over.signal,
  };
  return { wire, sent };
}

test("§10 R10: a join, as the guest says and takes it", async () => {
  const { ticket: text, guest, admitting, frames, person, epochs, proof } = read("join");
  const ticket = parseTicket(text, { now: 0 });
  if (!ticket.ok) throw new Error(ticket.message);
  const said = (from: string): string[] =>
    frames.filter((one: Vectors) => one.from === from).map((one: Vectors) => one.payload);
  const { wire, sent } = scripted(said("device"));
  const certificate = (value(said("guest")[1]!) as Vectors).cert.b;
  const result = await joinMesh(
    wire,
    {
      ticket: ticket.ticket,
      peer: admitting,
      personKey: signingKeyFromSeed(hex(guest.personSeed)),
      device: {
        key: signingKeyFromSeed(hex(guest.deviceSeed)),
        sealing: sealingKeyFromSeed(hex(guest.sealingPrivateKey)),
        name: "laptop",
      },
      name: "ana",
      random: { bytes: () => (decode(certificate) as Vectors).n },
    },
    new AbortController().signal,
  );
  expect(sent).toEqual(said("guest"));
  expect(sent[1]).toContain(proof);
  expect(result).toMatchObject({ ok: true, person });
  if (!result.ok) return;
  expect(result.epochKeys).toEqual(epochs.map(({ id, key }: Vectors) => ({ epoch: id, key: hex(key) })));
});

function timeAt(now: number): Time {
  return { now: () => now, monotonic: () => 0, after: () => () => {} };
}

test("§11: a hello, and what is refused", async () => {
  const { mesh, now, ana, ben, nonce, boot, frames, refused } = read("hello");
  const hear = async (payloads: string[]) => {
    const { wire, sent } = scripted(payloads);
    const greeting = await greet(
      wire,
      {
        mesh,
        device: ana.device,
        person: ana.person,
        key: signingKeyFromSeed(hex(ana.deviceSeed)),
        boot: new Uint8Array(16),
        time: timeAt(now),
        random: { bytes: () => hex(nonce) },
        features: [],
        remote: ben.device,
        personOf: (device) => (device === ben.device ? ben.person : null),
        heads: () => [],
        agentKeys: () => [],
      },
      new AbortController().signal,
    );
    return { greeting, sent };
  };
  const { greeting, sent } = await hear(frames);
  expect(sent[0]).toBe(toHex(encode({ t: "nonce", v: [1], n: hex(nonce) })));
  expect(greeting).toMatchObject({ person: ben.person, boot: hex(boot), skewMs: 0, version: 1 });
  expect(greeting.agentKeys).toHaveLength(2);
  for (const { name, payload, code } of refused)
    await expect(hear([frames[0], payload, frames[2]]), name).rejects.toMatchObject({ code });
});

test("§12 R17: agent keys, and which one speaks", () => {
  const { mesh, ben, agentKeys, current } = read("hello");
  for (const { sealed, id } of agentKeys) expect(parseAgentKey(sealedOf(sealed)).id).toBe(id);
  for (const { records, key } of current) {
    const keys = createAgentKeys(mesh);
    for (const at of records) keys.bind(sealedOf(agentKeys[at].sealed));
    expect(keys.current(ben.device, "reviewer")?.key ?? null).toBe(key);
  }
});

interface Talk {
  /** Frames of ours, in hex. */
  sent: string[];
  failed: Error[];
  events: SignedCallEvent[];
}

/** Ana calls; everything that is drawn or looked at is as the vectors have it. `answers` are said after the request. */
async function talk(vectors: Vectors, answers: string[]): Promise<Talk> {
  const { mesh, now, ana, ben, boot, agentKey, request } = vectors;
  const said = decodeEnvelope(hex(request.bytes));
  const key = signingKeyFromSeed(hex(ana.deviceSeed));
  const out: Talk = { sent: [], failed: [], events: [] };
  const maySpeak = (who: Uint8Array, from: Sender): boolean =>
    toHex(who) === (from.agent === null ? from.device : agentKey);
  const caller = createCaller({
    mesh,
    self: { person: ana.person, device: ana.device },
    boot: new Uint8Array(16),
    keyMaySpeakFor: maySpeak,
    isMember: () => true,
    skewOf: () => 0,
    sealAs: () => async (bytes) => sealOne(key, "envelope/device", bytes),
    time: timeAt(now),
    random: { bytes: () => said.id },
    stamp: () => stampOf(now),
    endOfTick: (run) => run(),
    link: async () => session,
  });
  const session = caller.join(
    {
      peer: ben.device,
      async send(payload) {
        out.sent.push(toHex(payload));
        if (out.sent.length > 1) return;
        setImmediate(() => {
          try {
            for (const answer of answers) {
              const heard = decodeInvokeFrame(hex(answer));
              if (heard.t === "ack" || isCallerFrame(heard)) throw new Error("an answer was expected");
              session.receive(heard);
            }
          } catch (error) {
            out.failed.push(error as Error);
          }
        });
      },
      fail: (error) => out.failed.push(error),
    },
    hex(boot),
  );
  const call = { from: { person: ana.person, device: ana.device, agent: null }, to: ben, trace: said.trace };
  for await (const event of caller.invoke({ ...call, request: parseRequest(said.body) }, new AbortController().signal))
    out.events.push(event);
  return out;
}

test("§13 §14 R11: our caller says the request of the vectors byte for byte, and takes its answers", async () => {
  const vectors = read("envelope");
  const frames = Object.fromEntries(vectors.frames.map((one: Vectors) => [one.name, one.payload]));
  const { sent, events, failed } = await talk(vectors, [frames.accepted, frames.progress, frames.result]);
  expect(sent[0]).toBe(frames.request);
  expect(failed).toEqual([]);
  expect(events.map((event) => event.type)).toEqual(["accepted", "progress", "result"]);
  const refused = await talk(vectors, [frames.refused]);
  expect(refused.events).toMatchObject([{ type: "failure", error: { code: "DENIED", hint: "ask ben" } }]);
  const failure = await talk(vectors, [frames.accepted, frames.failure]);
  expect(failure.events.at(-1)).toMatchObject({ type: "failure", index: 1, error: { code: "DENIED" } });
});

test("§14.2: our caller refuses each answer that is not what was asked", async () => {
  const vectors = read("envelope");
  for (const { name, payload } of vectors.refused) {
    const { events, failed } = await talk(vectors, [payload]);
    expect(failed, name).toHaveLength(1);
    expect(events, name).toMatchObject([{ type: "failure" }]);
  }
});

test("§13 §14: envelopes have these ids, and frames are encoded like this", () => {
  const { frames, agentKey } = read("envelope");
  for (const { name, payload, id } of frames) {
    const parsed = decodeInvokeFrame(hex(payload));
    expect(toHex(encodeInvokeFrame(parsed)), name).toBe(payload);
    if (parsed.t === "ack") continue;
    const maySpeak = (key: Uint8Array, from: Sender) => toHex(key) === (from.agent === null ? from.device : agentKey);
    expect(openEnvelope(parsed.sealed, maySpeak).id, name).toBe(id);
  }
});

test("§15 §21: cards and where they are found", () => {
  const { mesh, ben, cards, directory } = read("card");
  const devices = new Map([[ben.device as DeviceId, { member: { person: ben.person as PersonId } }]]);
  const membership = { mesh, devices } as unknown as Membership;
  for (const { kind, name, sealed } of cards)
    expect(openCard(sealedOf(sealed), membership).card).toMatchObject({ kind, name, person: ben.person });
  for (const { key, cid } of directory) expect(directoryCid(key).toString()).toBe(cid);
});

test("§28: documents", () => {
  const { mesh, log, note, person, client, record, actor, lives, privateUpdate, facts, refused } = read("document");
  expect(yjsClientOf(log, note)).toBe(client);
  expect(recordDocumentId(mesh, person, "agent", "reviewer")).toBe(record);
  expect(automergeActorOf(log, record)).toBe(actor);
  for (const one of lives) {
    expect(yjsClientOf(log, note, one.life)).toBe(one.client);
    expect(automergeActorOf(log, record, one.life)).toBe(one.actor);
  }
  const { author, key, n, x, update } = privateUpdate;
  const sealed = { nonce: hex(n), sealed: hex(x) };
  expect(openUpdate({ mesh, note, author }, hex(key), sealed)).toEqual(hex(update));
  expect(openUpdate({ mesh, note: log, author }, hex(key), sealed)).toBe(null);
  for (const events of [facts.events, facts.events.toReversed()]) {
    const folded = createFacts();
    for (const event of events) folded.fold({ ...event, hlc: hex(event.hlc), value: value(event.value) });
    for (const { scope, key: name, ids } of facts.standing)
      expect(folded.standing(scope === null ? null : { person: scope[0], agent: scope[1] }, name)).toEqual(ids);
  }
  for (const one of refused) expect(() => parseFactSet(value(one.value)), one.name).toThrow();
});

test("§28: a board", () => {
  const { updates, columns, wrong } = read("document").board;
  const updateOf = ({ client, seen, update }: Vectors) => parseUpdate(hex(update), client, new Map(seen), BOARD_SHAPE);
  const begun = updates.filter(({ seen }: Vectors) => seen.length <= 1);
  const others = updates.filter(({ seen }: Vectors) => seen.length > 1);
  for (const order of [updates, [...begun, ...others.toReversed()]]) {
    const board = createBoard();
    for (const one of order) board.apply([updateOf(one).bytes]);
    const shown = board.columns().map(({ name, cards }) => ({
      name,
      cards: cards.map(({ id, text, assigned }) => ({ card: id, text, people: assigned })),
    }));
    expect(shown).toEqual(columns);
    for (const one of wrong) {
      const why = (): string | null => tryUpdates(board.state(), [updateOf(one)], BOARD_SHAPE).refused;
      expect(() => expect(why(), one.name).toBe(null), one.name).toThrow();
    }
  }
});

test("§26: an export", BUSY, async () => {
  const { mesh, file, members, last, call, answers, refused } = read("export");
  const parsed = parseText("kinm", mesh);
  const id = parsed.ok ? idOf<"mesh">(parsed.body) : null;
  const verdict = await verifyExport([hex(file)], id);
  if (!verdict.ok) throw new Error(verdict.problem.message);
  const { report } = verdict;
  expect([...report.membership.members.values()].map(({ name }) => name).toSorted()).toEqual(members);
  expect(report.logs.map(({ lastId }) => lastId as string).toSorted()).toEqual(last);
  expect(report.calls.map((one) => [one.id, one.answers.map(({ end }) => end?.type)])).toEqual([[call, answers]]);
  for (const one of refused)
    expect([one.name, (await verifyExport([hex(one.file)], id)).ok]).toEqual([one.name, false]);
});

test("§16 F4 R2: logs, events, heads and forks", () => {
  const { mesh, openings, events, head, refused, badRuns, fork, badForks } = read("events");
  const parsed = openings.map((one: Vectors) => ({ ...one, incarnation: hex(one.incarnation) }));
  for (const { log, ...opening } of parsed) expect(logIdOf(mesh, opening)).toBe(log);
  const [{ log, ...opening }] = parsed;
  const run = events.map(({ header, body }: Vectors) => parseEvent([hex(header), hex(body)]));
  events.forEach(({ id, seq, kind }: Vectors, i: number) => {
    expect(run[i].id).toBe(id);
    expect(run[i].header).toMatchObject({ seq, kind });
  });
  expect(() => verifyRun({ log, opening }, null, run, parseSignedHead(value(head)))).not.toThrow();
  for (const { name, header } of refused) expect(() => decodeHeader(hex(header)), name).toThrow(/./);
  for (const bad of badRuns) {
    const check = () => {
      const some = bad.events.map((text: string) => parseEvent(value(text)));
      verifyRun({ log, opening }, null, some, parseSignedHead(value(bad.head)));
    };
    expect(check, bad.name).toThrow(/./);
  }
  const proof = { log: log as LogId, opening, a: parseSignedHead(value(fork.a)), b: parseSignedHead(value(fork.b)) };
  const headers = fork.headers.map(hex);
  expect(() => checkForkProof({ ...proof, headers })).not.toThrow();
  const parting = { a: fork.pa.map(hex), b: fork.pb.map(hex) };
  expect(() => checkForkProof({ ...proof, headers, parting })).not.toThrow();
  expect(forkPoint({ ...proof, parting })).toBe(1);
  for (const { name, pa, pb } of badForks)
    expect(() => {
      const ways = pb === undefined ? { a: pa.map(hex), b: [] } : { a: pa.map(hex), b: pb.map(hex) };
      checkForkProof({ ...proof, headers, parting: ways });
    }, name).toThrow();
  const honest = { ...proof, b: parseSignedHead(value(head)), headers: [hex(events[3].header)] };
  expect(() => checkForkProof(honest)).toThrow(/proves nothing/);
});

test("§17 §18 F5 R6 R7: bodies and epoch keys", async () => {
  const { mesh, author, epoch, recipients, bodies, refused, epochKey } = read("bodies");
  for (const { device, sealingPrivateKey } of recipients) {
    const mine = sealingKeyFromSeed(hex(sealingPrivateKey));
    const keys = {
      device,
      epochKey: (id: string) => (id === epoch.id ? hex(epoch.key) : undefined),
      sealingKeys: () => [mine],
    };
    const open = (one: Vectors) => openBody({ mesh, author }, decodeHeader(hex(one.header)), hex(one.body), keys);
    for (const one of bodies) expect(await open(one), one.form).toEqual({ state: "open", value: value(one.value) });
    for (const one of refused) expect((await open(one)).state, one.name).toBe("refused");
    const sealed = parseSealedEpochKey(value(epochKey.sealed));
    if (sealed.device !== device) continue;
    const opened = await openEpochKey(mesh as MeshId, hex(epoch.keyHash), sealed, epochKey.author, mine);
    expect(opened).toEqual(hex(epoch.key));
    expect(await openEpochKey(mesh, hex(epoch.keyHash), sealed, idOf(new Uint8Array(32)), mine)).toBeNull();
  }
});

test("§19: sync frames", () => {
  const { mesh, log, frames, refused } = read("sync");
  for (const { name, payload } of frames) {
    const parsed = parseSyncFrame(hex(payload), mesh);
    expect(toHex(encodeSyncFrame(parsed)), name).toBe(payload);
    if (parsed.type === "vector") for (const entry of parsed.logs) expect(entry.log).toBe(log);
    if (parsed.type === "fork") expect(parsed.proof.log).toBe(log);
  }
  for (const { name, payload } of refused) expect(() => parseSyncFrame(hex(payload), mesh), name).toThrow(/./);
});
