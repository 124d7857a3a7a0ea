/**
 * The fold (R3–R5): any set of roster records → the same membership on every node, in any order, with any duplicates.
 *
 *   1. A record whose parents are missing waits, with all that builds on it.
 *   2. Each record is judged in its own past (`roster-rules.ts`): had its author the right, by what he knew? Else it is void.
 *   3. Pass 1: what ends something (removal, leave, demotion, removed device, rekeying, closed invite), the most senior author
 *      first. One is accepted unless an accepted one that it did not know hits its author or a grant in his chain.
 *   4. Pass 2: the rest, causes first. One is void if an accepted ender that did not know it hits its author or his chain.
 *   5. What still clashes (one device admitted twice, one use taken twice, no admin left) is decided by seniority, and 3–4 again.
 *
 * "Hits" counts only between records that did not know each other: who removes somebody and has seen his acts lets them
 * stand, so a removal does not undo the years before it. An invite's closing is the exception of R10: an admission counts
 * only if the closing knew it.
 *
 * Cost: one signature (0.1 ms) and three curve checks per new key, once. A record on top of one head copies the tables
 * (members + devices + invites); one that merges heads folds all records again, records × accepted enders steps.
 */
import { KinError, errorShape, type ErrorShape } from "./errors.ts";
import type { DeviceId, MeshId, RecordId } from "./ids.ts";
import { MAX_PRESENT_BYTES, MAX_PRESENT_RECORDS } from "./limits.ts";
import type { Membership } from "./membership.ts";
import {
  byCause,
  bySeniority,
  isEnder,
  isInPast,
  maximal,
  hasBit,
  pastOf,
  voids,
  endsPerson,
  endsDevice,
  bringsDevice,
  type Node,
} from "./roster-graph.ts";
import { parseRosterRecord, recordIdOf, type RosterRecord } from "./roster-record.ts";
import { clash, judge, LAST_ADMIN, newDevicesOf } from "./roster-rules.ts";
import {
  adminCount,
  applyRecord,
  copyTables,
  membershipOf,
  roleBefore,
  startTables,
  type Tables,
} from "./roster-tables.ts";
import type { Sealed } from "./signature.ts";

export interface RosterOptions {
  /** Folds kept for the next record or merge: enough for some branches at once, small beside the records. 0: each is folded from the start. @default 64 */
  keptFolds?: number;
}

/** The membership that a set of records amounts to. @throws KinError BAD_REQUEST without their genesis, WRONG_MESH if they are of two meshes */
export function foldRoster(records: Iterable<RosterRecord>): Membership {
  const all = [...records];
  const first = all[0];
  if (first === undefined) throw new KinError("BAD_REQUEST", "no roster records: a membership starts with a genesis");
  const roster = createRoster(first.mesh);
  roster.addRecords(all);
  if (roster.membership === null)
    throw new KinError("BAD_REQUEST", `no genesis of the mesh ${first.mesh} among ${all.length} roster records`);
  return roster.membership;
}

export interface Roster {
  readonly mesh: MeshId;
  /** null until the genesis is here. A new object whenever records were added. */
  readonly membership: Membership | null;
  /** Checks and adds records in any order; what is refused is named and changes nothing. */
  add(sealed: Iterable<Sealed>): RosterAddition;
  /** @throws KinError WRONG_MESH */
  addRecords(records: Iterable<RosterRecord>): RosterRecord[];
  has(id: RecordId): boolean;
  get(id: RecordId): RosterRecord | undefined;
  /** All that are in their place, causes first: what a newcomer gets. */
  records(): RosterRecord[];
  /**
   * R14: would these records make `device` a living member's? Adds nothing. `keep`: those that are new, in their place and
   * rightful, causes first — all that is worth storing of what a stranger sends.
   */
  consider(device: DeviceId, sealed: Iterable<Sealed>): { isMember: boolean; keep: RosterRecord[] };
  /**
   * The records that prove a device's membership with all that they build on, causes first, without what the other side
   * knows (`theirHeads` and their past). null if they are more than fit into one `present` (R14).
   */
  proofFor(device: DeviceId, theirHeads?: Iterable<RecordId>): RosterRecord[] | null;
  /** R14: the record that ended this device, with all that it builds on as {@link proofFor}; null if it has not ended. */
  removalOf(device: DeviceId, theirHeads?: Iterable<RecordId>): RosterRecord[] | null;
}

export interface RosterAddition {
  added: RosterRecord[];
  refused: { sealed: Sealed; error: ErrorShape }[];
  membership: Membership | null;
}

export function createRoster(mesh: MeshId, { keptFolds = 64 }: RosterOptions = {}): Roster {
  const nodes = new Map<RecordId, Node>();
  const inOrder: Node[] = [];
  const waiting = new Map<RecordId, RosterRecord>();
  /** Missing parent → who waits for it. */
  const waitingFor = new Map<RecordId, RecordId[]>();
  const folds = new Map<string, Tables>();
  let heads: Node[] = [];
  let membership: Membership | null = null;

  function insert(record: RosterRecord): boolean {
    if (nodes.has(record.id) || waiting.has(record.id)) return false;
    if (record.mesh !== mesh)
      throw new KinError("WRONG_MESH", `a roster record of the mesh ${record.mesh}, expected ${mesh}`);
    if (!place(record)) return true;
    const ready = [record.id];
    for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
      const next = waitingFor.get(id) ?? [];
      waitingFor.delete(id);
      for (const child of next) {
        const waiter = waiting.get(child);
        if (waiter === undefined) continue;
        waiting.delete(child);
        if (place(waiter)) ready.push(child);
      }
    }
    return true;
  }

  /** Puts a record into the graph, or lets it wait for one of its missing parents. */
  function place(record: RosterRecord): boolean {
    const missing = record.parents.find((parent) => !nodes.has(parent));
    if (missing !== undefined) {
      waiting.set(record.id, record);
      const queue = waitingFor.get(missing);
      if (queue === undefined) waitingFor.set(missing, [record.id]);
      else queue.push(record.id);
      return false;
    }
    const node = makeNode(record);
    nodes.set(node.id, node);
    inOrder.push(node);
    heads = [...heads.filter((head) => !isInPast(head, node)), node];
    return true;
  }

  function makeNode(record: RosterRecord): Node {
    const named = record.parents.map((parent) => nodes.get(parent)!);
    const base = {
      record,
      id: record.id,
      body: record.body,
      index: inOrder.length,
      depth: named.reduce((max, parent) => Math.max(max, parent.depth + 1), 0),
      past: pastOf(named),
      parents: maximal(named),
    };
    if (record.body.type === "genesis")
      return {
        ...base,
        verdict: null,
        needsAdmin: false,
        rank: { grants: 0, grant: record.id, deviceGrants: 0, deviceGrant: "" },
        grants: { required: [], anyOf: [] },
      };
    return { ...base, ...judge(record, foldAt(base.parents)) };
  }

  /** The fold of everything that `tips` know, themselves included. */
  function foldAt(tips: Node[]): Tables {
    const key = tips
      .map((tip) => tip.id)
      .toSorted()
      .join();
    const kept = folds.get(key);
    if (kept !== undefined) return kept;
    const tables = extend(tips) ?? foldAll(closure(tips));
    if (folds.size >= keptFolds && folds.size > 0) folds.delete(folds.keys().next().value!);
    if (keptFolds > 0) folds.set(key, tables);
    return tables;
  }

  /** A lone tip is concurrent with nothing in its past, so its own verdict is the fold's. */
  function extend(tips: Node[]): Tables | undefined {
    const [tip] = tips;
    if (tip === undefined || tips.length > 1) return undefined;
    const key = tip.parents
      .map((parent) => parent.id)
      .toSorted()
      .join();
    const kept = folds.get(key);
    if (kept === undefined) return undefined;
    const tables = copyTables(kept);
    if (tip.verdict === null) applyRecord(tables, tip);
    else tables.void.set(tip.id, tip.verdict);
    return tables;
  }

  function closure(tips: Node[]): Node[] {
    const past = pastOf(tips);
    return inOrder.filter((node) => hasBit(past, node.index)).toSorted(byCause);
  }

  function refold(): void {
    if (heads.length === 0) return;
    const ids = heads.map((head) => head.id).toSorted();
    membership = membershipOf(foldAt(heads), ids, [...waiting.keys()].toSorted());
  }

  function addRecords(records: Iterable<RosterRecord>): RosterRecord[] {
    const added: RosterRecord[] = [];
    for (const record of records) if (insert(record)) added.push(record);
    if (added.length > 0) refold();
    return added;
  }

  function add(sealed: Iterable<Sealed>): RosterAddition {
    const added: RosterRecord[] = [];
    const refused: RosterAddition["refused"] = [];
    for (const item of sealed) {
      try {
        if (nodes.has(recordIdOf(item, "roster"))) continue;
        const record = parseRosterRecord(item);
        if (insert(record)) added.push(record);
      } catch (error) {
        refused.push({ sealed: item, error: errorShape(error) });
      }
    }
    if (added.length > 0) refold();
    return { added, refused, membership };
  }

  /** Adds, looks and takes everything back: what a stranger sends costs no more than its own records. */
  function consider(device: DeviceId, sealed: Iterable<Sealed>): { isMember: boolean; keep: RosterRecord[] } {
    const before = { count: inOrder.length, heads, membership };
    const kept = [new Map(waiting), new Map(folds), new Map(waitingFor)] as const;
    for (const [parent, queue] of waitingFor) waitingFor.set(parent, [...queue]);
    const { membership: after } = add(sealed);
    const isMember = after !== null && after.devices.has(device);
    const keep = inOrder.slice(before.count).filter((node) => node.verdict === null);
    for (const node of inOrder.splice(before.count)) nodes.delete(node.id);
    ({ heads, membership } = before);
    restore(waiting, kept[0]);
    restore(folds, kept[1]);
    restore(waitingFor, kept[2]);
    return { isMember, keep: keep.map((node) => node.record) };
  }

  function proofFor(device: DeviceId, theirHeads: Iterable<RecordId> = []): RosterRecord[] | null {
    if (membership?.devices.has(device) !== true) return null;
    const entry = foldAt(heads).devices.get(device)!;
    return leadingTo(entry.grant, theirHeads);
  }

  function removalOf(device: DeviceId, theirHeads: Iterable<RecordId> = []): RosterRecord[] | null {
    const former = membership?.formerDevices.get(device);
    if (former === undefined) return null;
    const ender = nodes.get(former.record)!;
    return leadingTo(ender, theirHeads) ?? [ender.record];
  }

  function leadingTo(tip: Node, theirHeads: Iterable<RecordId>): RosterRecord[] | null {
    const known = pastOf([...theirHeads].flatMap((id) => nodes.get(id) ?? []));
    const records = closure([tip]).filter((node) => !hasBit(known, node.index));
    const bytes = records.reduce((sum, node) => sum + node.record.sealed.bytes.length + SEAL_BYTES, 0);
    if (records.length > MAX_PRESENT_RECORDS || bytes > MAX_PRESENT_BYTES) return null;
    return records.map((node) => node.record);
  }

  return {
    mesh,
    get membership() {
      return membership;
    },
    add,
    addRecords,
    has: (id) => nodes.has(id),
    get: (id) => nodes.get(id)?.record,
    records: () => inOrder.toSorted(byCause).map((node) => node.record),
    consider,
    proofFor,
    removalOf,
  };
}

function restore<K, V>(map: Map<K, V>, from: Map<K, V>): void {
  map.clear();
  for (const [key, value] of from) map.set(key, value);
}

/** Key, signature and framing of a lone seal. */
const SEAL_BYTES = 112;

// ── the two passes ──────────────────────────────────────────────────────────────────────────────────────────────────

/** A record that has to give way although its own past allows it, and why. */
interface Loser {
  node: Node;
  why: string;
}

/** `nodes`: a causally closed set, causes first. Ends: every round excludes one more record. */
function foldAll(nodes: Node[]): Tables {
  const excluded = new Map<Node, string>();
  for (;;) {
    const voided = new Map<RecordId, string>();
    const accepted = passOne(nodes, excluded, voided);
    const outcome = passTwo(nodes, accepted, excluded, voided);
    if ("tables" in outcome) return outcome.tables;
    excluded.set(outcome.node, outcome.why);
  }
}

/** Accepts enders, most senior author first; why one is not goes into `voided`. */
function passOne(nodes: Node[], excluded: Map<Node, string>, voided: Map<RecordId, string>): Node[] {
  const accepted: Node[] = [];
  const enders = nodes.filter((node) => isEnder(node) && node.verdict === null && !excluded.has(node));
  for (const node of enders.toSorted(bySeniority)) {
    const hit = accepted.find((ender) => voids(ender, node));
    if (hit !== undefined) voided.set(node.id, hitBy(hit));
    else if (isChainBroken(node, accepted, new Map())) voided.set(node.id, BROKEN_CHAIN);
    else accepted.push(node);
  }
  return accepted;
}

const BROKEN_CHAIN = "a grant that its author's right comes from is void";

function hitBy(ender: Node): string {
  return `a concurrent ${ender.body.type} (${ender.id.slice(0, 8)}) ended its author's right`;
}

/** True if an accepted ender takes a grant that `node` stands on, directly or further up. */
function isChainBroken(node: Node, accepted: Node[], known: Map<Node, boolean>): boolean {
  const isBroken = (grant: Node): boolean => {
    const before = known.get(grant);
    if (before !== undefined) return before;
    const broken = accepted.some((ender) => voids(ender, grant)) || isChainBroken(grant, accepted, known);
    known.set(grant, broken);
    return broken;
  };
  const { required, anyOf } = node.grants;
  return required.some(isBroken) || (anyOf.length > 0 && anyOf.every(isBroken));
}

function passTwo(
  nodes: Node[],
  accepted: Node[],
  excluded: Map<Node, string>,
  voided: Map<RecordId, string>,
): { tables: Tables } | Loser {
  const tables = startTables(nodes[0]!);
  const isAccepted = new Set(accepted);
  const valid = new Set<Node>([nodes[0]!]);
  const broughtIn = new Map<DeviceId, Node>();
  for (const device of newDevicesOf(nodes[0]!)) broughtIn.set(device, nodes[0]!);
  for (const node of nodes.slice(1)) {
    let why = node.verdict ?? excluded.get(node) ?? voided.get(node.id) ?? null;
    if (why === null) {
      why = isAccepted.has(node) ? lostGround(node, accepted, valid, tables) : weigh(node, accepted, valid, tables);
      if (why !== null && isAccepted.has(node)) return { node, why };
    }
    if (why !== null) {
      tables.void.set(node.id, why);
      continue;
    }
    const loser = secondToBring(node, broughtIn);
    if (loser !== undefined) return loser;
    valid.add(node);
    applyRecord(tables, node);
  }
  if (adminCount(tables) === 0) {
    const loser = lastToEnd(accepted);
    if (loser !== undefined) return { node: loser, why: LAST_ADMIN };
  }
  return { tables };
}

/** Why a record of pass 2 has no effect in this fold, or null. */
function weigh(node: Node, accepted: Node[], valid: Set<Node>, tables: Tables): string | null {
  const hit = accepted.find((ender) => voids(ender, node));
  if (hit !== undefined) return hitBy(hit);
  return lostGround(node, accepted, valid, tables) ?? clash(node, tables);
}

/**
 * Why a record's author has no right in this fold although he had it in his own past, or null: what he knew as void may be valid
 * here, because what voided it is void here.
 */
function lostGround(node: Node, accepted: Node[], valid: Set<Node>, tables: Tables): string | null {
  const { person, device } = node.record.author;
  if (node.grants.required.some((grant) => !valid.has(grant))) return BROKEN_CHAIN;
  const grant = node.grants.required.find((granting) => bringsDevice(granting, device));
  for (const ender of accepted) {
    if (!isInPast(ender, node)) continue;
    if (endsPerson(ender, person) || (grant !== undefined && endsDevice(ender, { id: device, person, grant })))
      return "its author had been removed";
  }
  const author = tables.persons.get(person);
  if (node.needsAdmin && (author === undefined || roleBefore(author, node) !== "admin"))
    return "its author is not an admin";
  return targetGone(node, tables);
}

/** Records that need an entry that another record makes: void with it. */
function targetGone(node: Node, tables: Tables): string | null {
  const { body } = node;
  if ("person" in body && !tables.persons.has(body.person)) return "whom it is about was never admitted";
  if ("device" in body && body.type !== "admit" && body.type !== "device-added" && body.type !== "genesis")
    if (!tables.devices.has(body.device)) return "the device was never added";
  if (body.type === "invite-closed" && !tables.invites.has(body.invite)) return "the invite was never opened";
  return null;
}

/** One device comes in once: of two that bring it, the more senior author's record stays. */
function secondToBring(node: Node, broughtIn: Map<DeviceId, Node>): Loser | undefined {
  for (const device of newDevicesOf(node)) {
    const other = broughtIn.get(device);
    if (other === undefined) {
      broughtIn.set(device, node);
      continue;
    }
    if (isInPast(other, node)) continue;
    const loser = bySeniority(other, node) < 0 ? node : other;
    return { node: loser, why: "its device was admitted by another record at the same time" };
  }
  return undefined;
}

/** Of the records that ended an admin's right, the one that knew most and is least senior gives way. */
function lastToEnd(accepted: Node[]): Node | undefined {
  const enders = accepted.filter(
    (node) => node.body.type === "remove" || node.body.type === "leave" || node.body.type === "role",
  );
  return maximal(enders).toSorted(bySeniority).at(-1);
}
