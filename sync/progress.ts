/**
 * How far the other devices are: what each had of every log when it last told us, and when we were last in step with it. Read off
 * the session while there is one, kept in the store over its end and over restarts. It is what we believe: what was sent counts
 * as had until the next session's vector says otherwise.
 */
import { decode, encode } from "../protocols/bytes.ts";
import type { Time } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type LogId } from "../protocols/ids.ts";
import { asMap } from "../protocols/signature.ts";
import { MAX_VECTOR_LOGS } from "../protocols/sync.ts";
import type { PeerLog } from "./reconcile.ts";
import type { Replica } from "./replica.ts";

const PREFIX = "synced/";

export interface Standing {
  /** Wall ms at which both had the same; null: never seen so. While a session is on and in step, now. */
  inStepAt: number | null;
  /** A session is on in which the device has told what it has. */
  isOn: boolean;
  /** Events that it has and we lack, and the reverse. */
  weLack: number;
  theyLack: number;
}

export interface Progress {
  /** A session with this device begins; call what is returned when it is over. */
  begin(device: DeviceId, logs: ReadonlyMap<LogId, Readonly<PeerLog>>): () => Promise<void>;
  /** All that the device named is here. */
  caughtUp(device: DeviceId): Promise<void>;
  /** Undefined: nothing was ever heard of it. */
  of(device: DeviceId): Standing | undefined;
  /** How much of a log the device has, as far as we know; −1: nothing. */
  has(device: DeviceId, log: LogId): number;
  /** Has any peer told since our start what it has, and have we got it? True where there is, or was at our start, no other device. */
  hasHeard(): boolean;
  /** Keeps what the sessions say now; what ends later is not kept. */
  close(): Promise<void>;
}

interface Known {
  inStepAt: number | null;
  has: Map<LogId, number>;
}

export async function openProgress(
  replica: Pick<Replica, "store" | "membership" | "vector" | "accepts" | "device">,
  time: Pick<Time, "now">,
): Promise<Progress> {
  const known = new Map<DeviceId, Known>();
  const sessions = new Map<DeviceId, Set<ReadonlyMap<LogId, Readonly<PeerLog>>>>();
  /** Devices of which a session has ended while another goes on: what it said counts beside that one's word. */
  const told = new Set<DeviceId>();
  let heard = isAlone();
  let closed = false;

  for (const { key, value } of await replica.store.values(PREFIX)) {
    const device = key.slice(PREFIX.length) as DeviceId;
    if (replica.membership().devices.has(device)) known.set(device, parseRow(key, value));
    else await replica.store.append({ values: [{ key, value: null }] });
  }

  function isAlone(): boolean {
    return [...replica.membership().devices.keys()].every((device) => device === replica.device);
  }

  function begin(device: DeviceId, logs: ReadonlyMap<LogId, Readonly<PeerLog>>): () => Promise<void> {
    const open = sessions.get(device) ?? new Set();
    sessions.set(device, open.add(logs));
    return async () => {
      if (closed) return;
      const kept = keep([device]);
      open.delete(logs);
      told.add(device);
      if (open.size === 0) {
        sessions.delete(device);
        told.delete(device);
      }
      await kept;
    };
  }

  /** Takes over what the sessions say, durably. */
  async function keep(devices: Iterable<DeviceId>): Promise<void> {
    const values = [...devices].map((device) => {
      const value = formatRow(takeOver(device));
      return { key: `${PREFIX}${device}`, value };
    });
    if (values.length > 0) await replica.store.append({ values });
  }

  function takeOver(device: DeviceId): Known {
    const inStepAt = of(device)?.inStepAt ?? null;
    const has = new Map<LogId, number>();
    for (const log of logsWith(device)) {
      const seq = hasOf(device, log);
      if (seq >= 0) has.set(log, seq);
    }
    const now = { inStepAt, has };
    known.set(device, now);
    return now;
  }

  /** Logs that count: ours, and those of the device that we would take. */
  function logsWith(device: DeviceId): Set<LogId> {
    const all = new Set<LogId>(replica.vector().keys());
    for (const logs of sessions.get(device) ?? [])
      for (const [log, { opening }] of logs) if (replica.accepts(log, opening)) all.add(log);
    if (!sessions.has(device)) for (const log of known.get(device)?.has.keys() ?? []) all.add(log);
    return new Set([...all].slice(0, MAX_VECTOR_LOGS));
  }

  function hasOf(device: DeviceId, log: LogId): number {
    const mine = replica.vector().get(log);
    // Whoever has brought it, a device has what it wrote itself.
    return Math.max(saidOf(device, log), mine?.opening.device === device ? mine.seq : -1);
  }

  /** A session's word is newer than what was kept. */
  function saidOf(device: DeviceId, log: LogId): number {
    const open = sessions.get(device);
    const kept = known.get(device)?.has.get(log) ?? -1;
    if (open === undefined || !isToldIn(open)) return kept;
    return Math.max(told.has(device) ? kept : -1, ...[...open].map((logs) => logs.get(log)?.has ?? -1));
  }

  /** Before its first vector a session knows nothing of the peer. */
  function isToldIn(open: Set<ReadonlyMap<LogId, Readonly<PeerLog>>>): boolean {
    for (const logs of open) for (const { claimed } of logs.values()) if (claimed !== null) return true;
    return false;
  }

  function of(device: DeviceId): Standing | undefined {
    const open = sessions.get(device);
    const kept = known.get(device);
    if (open === undefined && kept === undefined) return undefined;
    let weLack = 0;
    let theyLack = 0;
    for (const log of logsWith(device)) {
      const ahead = hasOf(device, log) - (replica.vector().get(log)?.seq ?? -1);
      if (ahead > 0) weLack += ahead;
      else theyLack -= ahead;
    }
    const isOn = open !== undefined && isToldIn(open);
    const inStepAt = isOn && weLack + theyLack === 0 ? time.now() : (kept?.inStepAt ?? null);
    return { inStepAt, isOn, weLack, theyLack };
  }

  return {
    begin,
    async caughtUp(device) {
      heard = true;
      if (!closed) await keep([device]);
    },
    of,
    has: hasOf,
    async close() {
      const kept = keep(closed ? [] : sessions.keys());
      closed = true;
      await kept;
    },
    hasHeard: () => heard || isAlone(),
  };
}

/** `{ v: 1, at: ms | null, logs: [[log, seq] …] }` */
function formatRow({ inStepAt, has }: Known): Uint8Array {
  return encode({ v: 1, at: inStepAt, logs: [...has].map(([log, seq]) => [idBytes(log), seq]) });
}

/** @throws KinError CORRUPT */
function parseRow(key: string, bytes: Uint8Array): Known {
  const { v, at, logs } = asMap(decode(bytes), `the row ${key}`);
  if (v !== 1 || !Array.isArray(logs) || (at !== null && typeof at !== "number"))
    throw new KinError("CORRUPT", `the row ${key} is {v: 1, at, logs}`);
  return {
    inStepAt: at,
    has: new Map((logs as [Uint8Array, number][]).map(([log, seq]) => [idOf<"log">(log), seq])),
  };
}
