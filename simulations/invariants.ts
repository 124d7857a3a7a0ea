/**
 * What must hold whenever a mesh has healed. Each check is written from the promises (`DESIGN.md`, `RULES.md`), with code of its
 * own where the real code would only agree with itself.
 *
 *   equal        vector, roster, membership, every event with its body and its standing, forks: byte for byte
 *   kept         what was acknowledged is on every node; what a view was told of is on its disk
 *   once         no side effect twice; every call answered; a result only for what was done
 *   rightful     what counts is by members, within their cuts, after what it names, not from the future
 *   shown        the notes that a view shows are those that count, each once
 *   documents    facts, notes, boards, records and cards (`documents.ts`)
 */
import { createHash } from "node:crypto";
import { compareBytes } from "../protocols/bytes.ts";
import { isBodyOf, verifyHead, type StoredEvent } from "../protocols/events.ts";
import { idBytes, type EventId } from "../protocols/ids.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import type { ReadableEvent, Replica } from "../sync/replica.ts";
import { checkDocuments, documentTexts } from "./documents.ts";
import type { Machine, Process } from "./machine.ts";
import type { Team } from "./team.ts";
import type { AskedCall } from "./witness.ts";

/** Cheap: whether all know equally much. The rest is compared once they do. */
export function isEqual(processes: readonly Process[]): boolean {
  const all = new Set(processes.map(({ replica }) => standOf(replica)));
  return all.size <= 1;
}

/** Of a log that was written twice all histories count: who met which first is no difference (R2). */
function standOf(replica: Replica): string {
  const forked = new Map(replica.forkedLogs().map(({ log, ends }) => [log, ends]));
  const logs = [...replica.vector().values()].map(({ log, seq, id }) => {
    const ends = forked.get(log) ?? [{ seq, id }];
    return `${log} ${ends
      .map((end) => `${end.seq} ${end.id}`)
      .toSorted()
      .join()}`;
  });
  return [...replica.rosterHeads().toSorted(), ...logs.toSorted()].join("\n");
}

/** Calls between living machines that nobody has answered. */
export function openAsks(team: Team): AskedCall[] {
  const living = new Map(team.living().map((machine) => [machine.name, machine]));
  return team.witness.asked.filter(({ id, caller, callee, withdrawn }) => {
    const asker = living.get(caller)?.process;
    if (asker == null || !living.has(callee) || withdrawn) return false;
    return asker.outbox.waiting().some((one) => one.id === id);
  });
}

export async function checkInvariants(team: Team, { clocks = true } = {}): Promise<void> {
  const { world } = team;
  const living = team.living();
  const down = living.filter(({ process }) => process === null);
  for (const { name, trouble } of down) world.violate(`${name} does not start: ${trouble?.message ?? "no reason"}`);
  const up = living.filter(({ process }) => process !== null);
  if (up.length === 0) return;
  // A card may be said while this looks.
  const told = new Map([...team.witness.told].map(([name, ids]) => [name, [...ids]]));
  const dumps: Dump[] = [];
  for (const machine of up) dumps.push(await dumpOf(team, machine));
  checkEqual(team, dumps, clocks);
  checkKept(team, dumps, told);
  checkOnce(team, clocks);
  for (const dump of dumps) checkRightful(team, dump);
  for (const dump of dumps) checkShown(team, dump);
  const exempt = new Set(dumps.filter(showsHeld).map(({ machine }) => machine));
  for (const { machine, events } of dumps) if (!exempt.has(machine)) checkDocuments(team, machine, events, exempt);
  world.note(`state ${dumps[0]!.hash}`);
}

interface Dump {
  machine: Machine;
  membership: Membership;
  /** Of all mesh logs and all their histories, in the order of log, seq and id. */
  events: ReadableEvent[];
  byId: ReadonlyMap<string, ReadableEvent>;
  /** Sections that must be the same on every node, each as text. */
  sections: { [name: string]: string };
  /** Of all sections. */
  hash: string;
}

async function dumpOf(team: Team, machine: Machine): Promise<Dump> {
  const { replica } = machine.process!;
  const events = (await team.complete(readAll(team, machine))).toSorted(
    (a, b) => compareText(a.log, b.log) || a.seq - b.seq || compareText(a.id, b.id),
  );
  const membership = replica.membership();
  const sections = {
    vector: standOf(replica),
    membership: membershipText(membership),
    // An event's id is the hash of its header, which holds the hash of its body.
    events: events
      .map(({ id, unreadable }) => `${id}${unreadable === "no-body" ? " without its body" : ""}`)
      .join("\n"),
    standings: events.map(({ id, standing }) => `${id} ${standing.state}`).join("\n"),
    forks: replica
      .forks()
      .map(({ log }) => log)
      .toSorted()
      .join("\n"),
    notes: notesThatCount(events).toSorted().join("\n"),
    ...(await team.complete(documentTexts(machine))),
  };
  const hash = createHash("sha256").update(Object.values(sections).join("\n\n")).digest("hex");
  return { machine, membership, events, byId: new Map(events.map((event) => [event.id, event])), sections, hash };
}

/** Everything of the mesh chains, each stored event checked on the way against its chain, its body's hash and the signed head. */
async function readAll({ world }: Team, machine: Machine): Promise<ReadableEvent[]> {
  const { replica, store } = machine.process!;
  const events: ReadableEvent[] = [];
  for (const { log, head, seq, opening } of await store.logs()) {
    if (opening.chain !== "mesh") continue;
    if (head === null || head.head.seq !== seq || !verifyHead(idBytes(opening.device), head))
      world.violate(`${machine.name}: log ${log.slice(0, 8)} does not end at a signed head`);
    let before: StoredEvent | null = null;
    for (const stored of await store.range(log, 0, seq + 1)) {
      const { header, body, id } = stored;
      if (header.prev !== (before?.id ?? null) || header.seq !== (before === null ? 0 : before.header.seq + 1))
        world.violate(`${machine.name}: event ${id.slice(0, 8)} does not follow the one before it`);
      if (body !== null && !isBodyOf(header, body))
        world.violate(`${machine.name}: event ${id.slice(0, 8)} has another's body`);
      before = stored;
      events.push(await replica.read(stored));
    }
  }
  return [...events, ...(await replica.branchEvents())];
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** Everything that the fold says, in an order of its own. */
function membershipText(membership: Membership): string {
  const members = [...membership.members.values()].map(
    ({ person, name, role, rank, devices }) =>
      `${person} ${name} ${role} ${rank} ${devices
        .map(({ id }) => id)
        .toSorted()
        .join()}`,
  );
  const former = [...membership.formerDevices].map(
    ([device, { person, cuts }]) =>
      `${device} ${person} ${[...cuts]
        .map(([log, { seq, id }]) => `${log}:${seq}:${id}`)
        .toSorted()
        .join()}`,
  );
  const epochs = [...membership.epochs.values()].map(
    ({ id, usable, recipients }) => `${id} ${usable} ${recipients.join()}`,
  );
  const voided = [...membership.void.keys()];
  const invites = [...membership.invites.values()].map(({ record, closed }) => `${record} ${closed}`);
  return [members, former, epochs, voided, invites].map((part) => part.toSorted().join("\n")).join("\n\n");
}

// ── equal ──

/** What views have made of events. */
const SHOWN: ReadonlySet<string> = new Set(["facts", "shared notes", "shared boards", "records", "cards", "documents"]);

/** It has stamped what is not due, and its clock was set right since: what counted on it already is not taken from its screen. */
function showsHeld({ machine, events }: Dump): boolean {
  return events.some(({ device, standing }) => device === machine.device && standing.state === "held");
}

function checkEqual({ world }: Team, dumps: readonly Dump[], clocks: boolean): void {
  const [first, ...others] = dumps;
  for (const other of others)
    for (const [name, text] of Object.entries(first!.sections)) {
      // Whether an event is due is a question of one's own clock.
      if (!clocks && (name === "standings" || name === "notes" || SHOWN.has(name))) continue;
      if (SHOWN.has(name) && (showsHeld(first!) || showsHeld(other))) continue;
      const theirs = other.sections[name]!;
      if (theirs !== text)
        world.violate(
          `${name} of ${first!.machine.name} and ${other.machine.name} differ: ${firstDifference(text, theirs)}`,
        );
    }
}

function firstDifference(a: string, b: string): string {
  const mine = a.split("\n");
  const theirs = b.split("\n");
  const at = mine.findIndex((line, i) => line !== theirs[i]);
  const i = at === -1 ? mine.length : at;
  return `line ${i} of ${mine.length} and ${theirs.length}: "${(mine[i] ?? "").slice(0, 90)}" and "${(theirs[i] ?? "").slice(0, 90)}"`;
}

// ── kept ──

function checkKept(team: Team, dumps: readonly Dump[], told: ReadonlyMap<string, readonly EventId[]>): void {
  const { world, witness } = team;
  const living = new Set(team.living().map(({ name }) => name));
  const { membership } = dumps[0]!;
  for (const { id, log, seq, author, audience, text } of witness.acknowledged) {
    if (audience === "here" || witness.excused.has(id)) continue;
    // What a removed one has written after his cut may never have left his machine.
    const { device } = team.machines.find(({ name }) => name === author)!;
    if (
      !living.has(author) &&
      !(membership.formerDevices.has(device) && isByMember(membership, { device, log, seq, id }))
    )
      continue;
    const without = dumps.find(({ byId }) => !byId.has(id));
    if (without !== undefined)
      world.violate(
        `lost: ${text ?? "an event"} of ${author} was acknowledged (${id.slice(0, 8)}), ${without.machine.name} lacks it`,
      );
  }
  for (const { machine, byId } of dumps)
    for (const id of told.get(machine.name) ?? [])
      if (!byId.has(id))
        world.violate(`${machine.name} told its views of event ${id.slice(0, 8)} and does not have it`);
}

// ── once ──

/** Ends after which the effect may have happened or not: nobody knows, and that is what is said. */
const UNKNOWN_ENDS: ReadonlySet<string> = new Set(["OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "CANCELLED", "EXPIRED"]);

function checkOnce(team: Team, clocks: boolean): void {
  const { world, witness } = team;
  const living = new Set(team.living().map(({ name }) => name));
  for (const [once, all] of witness.effects) {
    const machines = all.filter((name) => living.has(name)); // what a traitor does at home is her own business
    if (machines.length > 1)
      world.violate(`twice: the call ${once.slice(-8)} had its effect ${machines.length} times, on ${machines.join()}`);
  }
  if (clocks)
    for (const { id, caller, callee } of openAsks(team))
      world.violate(`unanswered: the call ${id.slice(0, 8)} of ${caller} to ${callee}`);
  for (const [once, ends] of witness.ends)
    for (const end of ends) {
      const wasDone = witness.effects.has(once);
      if (end.type === "result" && !wasDone)
        world.violate(`made up: call ${once.slice(-8)} has a result and no effect`);
      if (end.type === "failure" && wasDone && !UNKNOWN_ENDS.has(end.error.code))
        world.violate(`denied: call ${once.slice(-8)} had its effect and ended with ${end.error.code}`);
    }
}

// ── rightful ──

function checkRightful({ world, witness, mesh }: Team, { machine, membership, events, byId }: Dump): void {
  const now = machine.clock.now();
  const wrong = (read: ReadableEvent, why: string): void =>
    world.violate(`${machine.name} lets ${read.kind} ${read.id.slice(0, 8)} count: ${why}`);
  for (const read of events) {
    if (read.standing.state !== "good") continue;
    const outlaw = witness.outlaws.get(read.device);
    if (outlaw !== undefined) wrong(read, outlaw);
    if (!isByMember(membership, read)) wrong(read, "its author was no member then");
    if (read.kind !== "roster" && read.at > now + SKEW_LIMIT_MS) wrong(read, "it is from the future");
    const late = read.deps.find((dep) => {
      const named = byId.get(dep);
      return named !== undefined && compareBytes(named.hlc, read.hlc) >= 0;
    });
    if (late !== undefined) wrong(read, `it is stamped before ${late.slice(0, 8)}, which it names`);
  }
  if (membership.mesh !== mesh) world.violate(`${machine.name} folds another mesh`);
}

/** R5, written once more. */
function isByMember(
  { devices, formerDevices }: Membership,
  { device, log, seq, id }: Pick<ReadableEvent, "device" | "log" | "seq" | "id">,
): boolean {
  const former = formerDevices.get(device);
  if (former === undefined) return devices.has(device);
  const cut = former.cuts.get(log);
  if (cut === undefined) return false;
  return seq < cut.seq || (seq === cut.seq && id === cut.id);
}

// ── shown ──

function notesThatCount(events: Dump["events"]): string[] {
  return events
    .filter(({ kind, standing, value }) => kind === "note" && standing.state === "good" && typeof value === "string")
    .map(({ value }) => value as string);
}

function checkShown({ world }: Team, { machine, events }: Dump): void {
  const counts = new Map<string, number>();
  for (const text of notesThatCount(events)) counts.set(text, (counts.get(text) ?? 0) + 1);
  const { notes } = machine.process!;
  for (const [text, count] of counts)
    if (notes.get(text) !== count)
      world.violate(
        `${machine.name} shows "${text.slice(0, 20)}" ${notes.get(text) ?? 0} times, it counts ${count} times`,
      );
  // One's own clock was set back since: what counted already is not taken from the screen.
  const held = new Set(events.filter(({ standing }) => standing.state === "held").map(({ value }) => value));
  for (const text of notes.keys())
    if (!counts.has(text) && !held.has(text))
      world.violate(`${machine.name} shows "${text.slice(0, 20)}": ${whyNot(events, text)}`);
}

function whyNot(events: Dump["events"], text: string): string {
  const found = events.find(({ value }) => value === text);
  if (found === undefined) return "there is no such event";
  const { standing } = found;
  return standing.state === "quarantined" ? `it is quarantined: ${standing.why}` : `it is ${standing.state}`;
}
