/** Ana's log of many events in her `log.db`, and what Ben needs to be a member of her mesh: written once, read by both sides. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemRandom, systemTime } from "../../../node/system.ts";
import { decode, encode } from "../../../protocols/bytes.ts";
import { sealBody } from "../../../protocols/event-body.ts";
import { logIdOf, makeEvent, signHead, type LogOpening, type StoredEvent } from "../../../protocols/events.ts";
import { idBytes, idOf, type EpochId, type MeshId } from "../../../protocols/ids.ts";
import { parseSealed, sealedValue, type Sealed } from "../../../protocols/signature.ts";
import { encodeStamp } from "../../../sync/clock.ts";
import { openReplica, type EpochKeys, type Replica } from "../../../sync/replica.ts";
import { openLibsqlStore } from "../../../sync/stores/libsql.ts";
import { bytesOf } from "../../sync/chains.ts";
import { admitMember, foundMesh, keysOf } from "../../sync/mesh.ts";

/** Words of a short note; with the seal an event's body has about 160 bytes. */
const TEXT = "a note of about a hundred bytes, as people and agents write them to each other all day long: ";
/** Events of one transaction while it is prepared. */
const BATCH_EVENTS = 4096;
const HOUR_MS = 3_600_000;

export interface Prepared {
  mesh: MeshId;
  records: Sealed[];
  epoch: EpochId;
  epochKey: Uint8Array;
}

/** The mesh of Ana and Ben, made once in `folder`. */
async function prepareMesh(folder: string): Promise<void> {
  const ana = await foundMesh("ana", systemTime);
  await ana.replica.append([{ kind: "note", audience: "mesh", value: "the first note opens the first epoch" }]);
  await admitMember(ana, "ben");
  await ana.replica.idle();
  const [epoch, epochKey] = [...ana.epochKeys.held][0]!;
  const value = {
    m: idBytes(ana.replica.mesh),
    r: ana.replica.records().map(sealedValue),
    e: idBytes(epoch),
    k: epochKey,
  };
  await ana.replica.close();
  writeFileSync(join(folder, "mesh"), encode(value));
}

export function readPrepared(folder: string): Prepared {
  const value = decode(readFileSync(join(folder, "mesh"))) as {
    m: Uint8Array;
    r: unknown[];
    e: Uint8Array;
    k: Uint8Array;
  };
  return { mesh: idOf(value.m), records: value.r.map(parseSealed), epoch: idOf(value.e), epochKey: value.k };
}

/** Ana's `log.db` with `count` events, a signed head after each `flush` of them. */
export async function prepareLog(folder: string, count: number, flush: number): Promise<string> {
  mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, "mesh"))) await prepareMesh(folder);
  const { mesh, epoch, epochKey } = readPrepared(folder);
  const { device, id } = keysOf("ana");
  const opening: LogOpening = { device: id, incarnation: bytesOf("bench").subarray(0, 16), chain: "mesh" };
  const log = logIdOf(mesh, opening);
  const file = join(folder, `ana-${flush}.db`);
  const store = await openLibsqlStore({ file });
  let last: StoredEvent | null = null;
  const bornAt = Date.now() - HOUR_MS;
  for (let from = 0; from < count; from += BATCH_EVENTS) {
    const events: StoredEvent[] = [];
    const heads = [];
    for (let seq = from; seq < Math.min(count, from + BATCH_EVENTS); seq++) {
      const hlc = encodeStamp({ ms: bornAt + Math.floor(seq / 100), counter: seq % 100 });
      const kind = seq === 0 ? "log-opened" : "note";
      const header = { log, seq, prev: last?.id ?? null, deps: [], hlc, kind, audience: "mesh" as const };
      const { device: author, incarnation, chain } = opening;
      const plan =
        seq === 0
          ? ({ form: "clear", value: { device: idBytes(author), incarnation, chain } } as const)
          : ({ form: "mesh", epoch, key: epochKey, value: `${TEXT}${seq}` } as const);
      const event: StoredEvent = makeEvent(header, await sealBody({ mesh, author: id }, header, plan, systemRandom));
      events.push(event);
      last = event;
      if ((seq + 1) % flush === 0 || seq === count - 1) heads.push(signHead(device, { log, seq, id: event.id, hlc }));
    }
    await store.append({ logs: from === 0 ? [{ log, opening }] : [], events, heads });
  }
  await store.close();
  return file;
}

/** Somebody's replica on a `log.db` that is there or is made. */
export async function openSide(folder: string, name: "ana" | "ben", file: string): Promise<Replica> {
  const { mesh, records, epoch, epochKey } = readPrepared(folder);
  const { device, sealing } = keysOf(name);
  const held = new Map<EpochId, Uint8Array>([[epoch, epochKey]]);
  const epochKeys: EpochKeys = { get: (id) => held.get(id), put: async (id, key) => void held.set(id, key) };
  const incarnation = { id: bytesOf(`${name} now`).subarray(0, 16), first: true, bornAt: 0, fresh: true };
  return openReplica({
    store: await openLibsqlStore({ file }),
    mesh,
    deviceKey: device,
    sealingKeys: [sealing],
    epochKeys,
    incarnation,
    renewIncarnation: async () => incarnation,
    time: systemTime,
    random: systemRandom,
    records,
  });
}
