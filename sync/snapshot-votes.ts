/**
 * Who has said what about snapshots: folded from their events, in any order, to the same. Pure. And the rules over it (R16):
 *
 *   counts    two persons besides the newcomer have each recomputed and signed the same, or the only other person has
 *   held      every living device of every member that no admin calls dormant has signed it, or one that reaches further and is of
 *             at least the same views
 *   dormant   what an admin said last of a person; an admin who is none any more has said nothing
 */
import { KinError } from "../protocols/errors.ts";
import type { DeviceId, MeshId, PersonId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import {
  parseDormant,
  parseProposal,
  parseSigned,
  type SignedHow,
  type Snapshot,
  type SnapshotId,
} from "../protocols/snapshot.ts";
import { compareStamps } from "./clock.ts";
import type { ReadableEvent } from "./replica.ts";
import { reaches } from "./snapshot-state.ts";

export const SNAPSHOT_KINDS: ReadonlySet<string> = new Set(["snapshot-proposed", "snapshot-signed", "dormant"]);
/** Of one device, the newest. A mesh needs two: the one that holds and the one that is to follow it. */
const MAX_PROPOSALS_PER_DEVICE = 8;
const MAX_SIGNATURES_PER_DEVICE = 64;
/** Persons of whom one device has said whether they are dormant: as many as a mesh has. */
const MAX_DORMANT_PER_DEVICE = 1024;

export interface Proposal {
  snapshot: Snapshot;
  by: DeviceId;
  /** Wall ms. */
  at: number;
}

export interface Votes {
  take(event: ReadableEvent): void;
  /** The newest of each device, newest first. The same snapshot may be there several times. */
  proposals(): Proposal[];
  /** Devices that have signed it, its proposers among them. */
  signers(snapshot: SnapshotId): Map<DeviceId, SignedHow>;
  dormant(membership: Membership): Set<PersonId>;
}

/** What of a device's words is kept: the newest `most`, one a key. Depends on no order. */
interface Said<T> {
  key: string;
  what: T;
  hlc: Uint8Array;
  event: string;
  at: number;
}

export function createVotes(mesh: MeshId): Votes {
  const proposed = new Map<DeviceId, Said<Snapshot>[]>();
  const signed = new Map<DeviceId, Said<{ snapshot: SnapshotId; how: SignedHow }>[]>();
  const slept = new Map<DeviceId, Said<{ person: PersonId; on: boolean }>[]>();

  function take(event: ReadableEvent): void {
    try {
      takeWell(event);
    } catch (error) {
      if (!(error instanceof KinError)) throw error; // signed nonsense has no effect
    }
  }

  function takeWell(event: ReadableEvent): void {
    if (event.audience !== "mesh") return;
    switch (event.kind) {
      case "snapshot-proposed": {
        const snapshot = parseProposal(mesh, event.value);
        return keep(proposed, event, snapshot.id, snapshot, MAX_PROPOSALS_PER_DEVICE);
      }
      case "snapshot-signed": {
        const one = parseSigned(event.value);
        return keep(signed, event, `${one.snapshot} ${one.how}`, one, MAX_SIGNATURES_PER_DEVICE);
      }
      case "dormant": {
        const one = parseDormant(event.value);
        return keep(slept, event, one.person, one, MAX_DORMANT_PER_DEVICE);
      }
      default: // not of snapshots
    }
  }

  return {
    take,
    proposals: () =>
      [...proposed]
        .flatMap(([by, said]) => said.map((one) => ({ one, by })))
        .toSorted((a, b) => compareSaid(b.one, a.one))
        .map(({ one, by }) => ({ snapshot: one.what, by, at: one.at })),
    signers(snapshot) {
      const found = new Map<DeviceId, SignedHow>();
      for (const [device, said] of signed)
        for (const { what } of said)
          if (what.snapshot === snapshot && found.get(device) !== "recomputed") found.set(device, what.how);
      for (const [device, said] of proposed)
        if (said.some(({ key }) => key === snapshot)) found.set(device, "recomputed");
      return found;
    },
    dormant(membership) {
      const last = new Map<PersonId, Said<{ person: PersonId; on: boolean }>>();
      for (const [device, said] of slept) {
        if (membership.devices.get(device)?.member.role !== "admin") continue;
        for (const one of said) {
          const other = last.get(one.what.person);
          if (other === undefined || compareSaid(one, other) > 0) last.set(one.what.person, one);
        }
      }
      return new Set(
        [...last].filter(([person, { what }]) => what.on && membership.members.has(person)).map(([person]) => person),
      );
    },
  };
}

function keep<T>(of: Map<DeviceId, Said<T>[]>, event: ReadableEvent, key: string, what: T, most: number): void {
  const said: Said<T> = { key, what, hlc: event.hlc, event: event.id, at: event.at };
  const others = (of.get(event.device) ?? []).filter((one) => one.key !== key || compareSaid(one, said) > 0);
  if (!others.some((one) => one.key === key)) others.push(said);
  of.set(event.device, others.toSorted((a, b) => compareSaid(b, a)).slice(0, most));
}

function compareSaid(a: Said<unknown>, b: Said<unknown>): number {
  return compareStamps(a.hlc, b.hlc) || (a.event < b.event ? -1 : a.event > b.event ? 1 : 0);
}

// ── rules ──

/** Living members who have folded the events themselves and got this. */
export function personsWhoRecomputed(signers: ReadonlyMap<DeviceId, SignedHow>, membership: Membership): Set<PersonId> {
  const persons = new Set<PersonId>();
  for (const [device, how] of signers) {
    const member = membership.devices.get(device)?.member;
    if (member !== undefined && how === "recomputed") persons.add(member.person);
  }
  return persons;
}

/** Whether a snapshot counts for `newcomer`; null: for anybody who may come. */
export function counts(signed: ReadonlySet<PersonId>, membership: Membership, newcomer: PersonId | null): boolean {
  const others = [...membership.members.keys()].filter((person) => person !== newcomer);
  const needed = Math.min(2, others.length);
  return needed > 0 && others.filter((person) => signed.has(person)).length >= needed;
}

/** True if it is made of at least the views of the other: an older kin's is made of fewer, and stands for less. */
export function standsForAll({ views }: Pick<Snapshot, "views">, other: Pick<Snapshot, "views">): boolean {
  return other.views.every(({ name, version }) => views.some((view) => view.name === name && view.version === version));
}

/** Living devices that have not said that they hold all up to there; of dormant members none. */
export function waitingFor(votes: Votes, snapshot: Snapshot, membership: Membership): DeviceId[] {
  const further = new Map(votes.proposals().map((proposal) => [proposal.snapshot.id, proposal.snapshot]));
  further.set(snapshot.id, snapshot);
  const holds = new Set<DeviceId>();
  for (const other of further.values())
    if (reaches(other.at, snapshot.at) && standsForAll(other, snapshot))
      for (const device of votes.signers(other.id).keys()) holds.add(device);
  const dormant = votes.dormant(membership);
  return [...membership.devices]
    .filter(([device, { member }]) => !holds.has(device) && !dormant.has(member.person))
    .map(([device]) => device);
}
