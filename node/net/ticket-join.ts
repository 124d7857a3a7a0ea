/**
 * Both ends of `/kin/join/1` at a node: a guest dials by ticket, a member's device admits guests and listens to proofs (R10, R14).
 */
import type { SealingKey, SigningKey } from "../../protocols/crypto/keys.ts";
import type { Random, Time } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Fields } from "../../protocols/fields.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { joinDevice } from "../../protocols/join-device.ts";
import { joinMesh, serveJoin, type AdmitAnswer, type Conversation, type JoinResult } from "../../protocols/join.ts";
import type { Ticket } from "../../protocols/ticket.ts";
import { admit } from "../../sync/acts.ts";
import type { EpochKeys, Replica } from "../../sync/replica.ts";
import type { OwnMachines } from "./own-machines.ts";
import type { Network } from "./peers.ts";

/** Dial and dialogue; the roster of a large mesh takes a while to send. */
const JOIN_TIMEOUT_MS = 60_000;
/** What a stranger may take of us. */
const SERVE_TIMEOUT_MS = 10_000;
/** Guests served at once, in all. */
const MAX_GUESTS = 16;

export interface GuestDeps {
  personKey: SigningKey;
  device: { key: SigningKey; sealing: SealingKey; name: string };
  random: Random;
}

/** @throws KinError JOIN_FAILED naming each address and what happened there; a lying peer, a broken wire */
export async function joinByTicket(
  network: Pick<Network, "dialForJoin">,
  ticket: Ticket,
  name: string,
  deps: GuestDeps,
  signal: AbortSignal,
): Promise<JoinResult> {
  const both = AbortSignal.any([signal, AbortSignal.timeout(JOIN_TIMEOUT_MS)]);
  const wire = await network.dialForJoin(ticket.addresses, ticket.inviter, both, ticket.mesh);
  const asked = { ...deps, ticket, peer: ticket.inviter };
  return ticket.role === "device" ? joinDevice(wire, asked, both) : joinMesh(wire, { ...asked, name }, both);
}

export interface DoorDeps {
  network: Pick<Network, "handleJoin">;
  replica: Replica;
  deviceKey: SigningKey;
  epochKeys: Pick<EpochKeys, "get">;
  time: Time;
  random: Random;
  /** Who was admitted or presented himself: the gate decides again. */
  changed: () => Promise<void>;
  warn: (message: string) => void;
  /** Lets in further machines of our own person. @default none */
  ownMachines?: OwnMachines;
}

/** Serves `/kin/join/1` for this mesh. */
export function openDoor(deps: DoorDeps): void {
  const { replica, time, random } = deps;
  let guests = 0;
  deps.network.handleJoin(async (peer, wire) => {
    if (guests >= MAX_GUESTS)
      return wire.abort(new KinError("OVERLOADED", `${MAX_GUESTS} guests are at the door already`));
    guests++;
    try {
      const served = await serveJoin(
        wire,
        {
          mesh: replica.mesh,
          peer,
          device: deps.deviceKey,
          random,
          now: () => time.now(),
          membership: () => replica.membership(),
          admit: async (request) => {
            const answer = await admit(replica, request, time.now(), deps.epochKeys);
            await deps.changed();
            return answer;
          },
          present: async (records) => {
            const { isMember, keep } = replica.roster.consider(peer, records);
            if (isMember && keep.length > 0) await replica.learn(keep.map((record) => record.sealed));
            await deps.changed();
            return { isMember: replica.membership().devices.has(peer) };
          },
          removal: (theirHeads) => replica.roster.removalOf(peer, theirHeads),
          others: deps.ownMachines === undefined ? {} : { "join-device": letInMachine(deps, deps.ownMachines, peer) },
        },
        AbortSignal.timeout(SERVE_TIMEOUT_MS),
      );
      if (served.error !== undefined)
        deps.warn(`${served.kind} of ${peer.slice(0, 8)} refused: ${served.error.message}`);
    } finally {
      guests--;
    }
  });
}

function letInMachine({ changed }: DoorDeps, machines: OwnMachines, peer: DeviceId) {
  return async (guest: Conversation, fields: Fields): Promise<AdmitAnswer> => {
    const answer = await machines.serve(peer, guest, fields);
    await changed();
    return answer;
  };
}
