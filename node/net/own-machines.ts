/**
 * Tickets for a second machine of one's own, at the device that makes them: each remembered in the store under `device-ticket/<id>`
 * until it expires, good for one machine.
 */
import { decode, encode } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { Random, Time } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Fields } from "../../protocols/fields.ts";
import { idBytes, idOf, type DeviceId, type RecordId } from "../../protocols/ids.ts";
import { serveDevice, type DeviceInvite } from "../../protocols/join-device.ts";
import { refusal, type AdmitAnswer, type Conversation } from "../../protocols/join.ts";
import type { NewDevice } from "../../protocols/roster-record.ts";
import { asMap } from "../../protocols/signature.ts";
import { addDevice } from "../../sync/acts.ts";
import { createQueue } from "../../sync/ground.ts";
import type { EpochKeys, Replica } from "../../sync/replica.ts";

const PREFIX = "device-ticket/";
/** Open at once: nobody gets so many machines in a day. */
const MAX_TICKETS = 16;

export interface OwnMachinesDeps {
  replica: Replica;
  /** Asked each time: it may be changed. */
  personKey(): SigningKey;
  deviceKey: SigningKey;
  epochKeys: Pick<EpochKeys, "get">;
  time: Time;
  random: Random;
}

export interface OwnMachines {
  /** Remembers a ticket, durable when it resolves. `key`: its public key. @throws KinError OVERLOADED */
  open(key: Uint8Array, expiresAt: number): Promise<RecordId>;
  /** Answers a machine at the door. */
  serve(peer: DeviceId, guest: Conversation, fields: Fields): Promise<AdmitAnswer>;
}

export function createOwnMachines(deps: OwnMachinesDeps): OwnMachines {
  const { replica, time, random } = deps;
  /** One after the other: a ticket is good for one machine. */
  const inTurn = createQueue();

  async function open(key: Uint8Array, expiresAt: number): Promise<RecordId> {
    const rows = await replica.store.values(PREFIX);
    const old = rows.filter(({ value }) => parseRow(value).expiresAt < time.now());
    if (rows.length - old.length >= MAX_TICKETS)
      throw new KinError("OVERLOADED", `${MAX_TICKETS} tickets for machines of yours are open`, {
        hint: "each ends when it expires",
      });
    const id = idOf<"record">(random.bytes(32));
    const gone = old.map((row) => ({ key: row.key, value: null }));
    await replica.store.append({ values: [...gone, row(id, { key, expiresAt, device: null })] });
    return id;
  }

  async function find(id: RecordId): Promise<DeviceInvite | undefined> {
    const value = await replica.store.value(`${PREFIX}${id}`);
    return value === undefined ? undefined : parseRow(value);
  }

  function serve(peer: DeviceId, guest: Conversation, fields: Fields): Promise<AdmitAnswer> {
    return serveDevice(guest, fields, {
      mesh: replica.mesh,
      peer,
      device: deps.deviceKey,
      random,
      now: () => time.now(),
      membership: () => replica.membership(),
      invite: find,
      add: (device, id) => inTurn(() => use(id, device)),
    });
  }

  /** The ticket is spent, durably, before the record is written: a crash in between lets the same machine ask again. */
  async function use(id: RecordId, device: NewDevice): Promise<AdmitAnswer> {
    const invite = await find(id);
    if (invite === undefined || (invite.device !== null && invite.device !== device.id))
      return refusal("INVITE_USED", "another machine has used the ticket", "make a new one: kin device add");
    await replica.store.append({ values: [row(id, { ...invite, device: device.id })] });
    const by = { personKey: deps.personKey(), n: random.bytes(16), epochKeys: deps.epochKeys };
    return addDevice(replica, device, by);
  }

  return { open, serve };
}

function row(id: RecordId, { key, expiresAt, device }: DeviceInvite) {
  const value = { v: 1, k: key, x: expiresAt, d: device === null ? null : idBytes(device) };
  return { key: `${PREFIX}${id}`, value: encode(value) };
}

/** @throws KinError CORRUPT */
function parseRow(bytes: Uint8Array): DeviceInvite {
  const { v, k, x, d } = asMap(decode(bytes), "a ticket of an own machine");
  if (v !== 1 || !(k instanceof Uint8Array) || typeof x !== "number")
    throw new KinError("CORRUPT", "a row of an own machine's ticket is {v: 1, k, x, d}");
  return { key: k, expiresAt: x, device: d === null ? null : idOf<"device">(d) };
}
