/** What an admin or an owner does after a log was written twice, or after a removal (R2, R5). */
import { KinError } from "../../../protocols/errors.ts";
import { formatText, idBytes, parseAddress, type EventId } from "../../../protocols/ids.ts";
import { isLogAllowed } from "../../../protocols/membership.ts";
import { allowLogs } from "../../../sync/acts.ts";
import type { Params, Result } from "../control-api.ts";
import { needMembership, type Mesh, type MeshNode } from "../mesh.ts";
import { parseEventId, peerName, resolveDevices, resolveMember } from "../resolve.ts";

/** Lets a device's logs count that was run twice. */
export async function syncAllow(node: MeshNode, { who }: Params<"sync-allow">): Promise<Result<"sync-allow">> {
  const { replica } = needMembership(node);
  const membership = replica.membership();
  const to = parseAddress(`${who}/x`);
  const devices = resolveDevices(resolveMember(membership, to), to.device);
  if (devices.length !== 1)
    throw new KinError("USAGE", `${who} has ${devices.length} devices`, {
      hint: `say which: ${devices.map(({ id }) => peerName(membership, id)).join(" or ")}`,
    });
  const { id } = devices[0]!;
  if (!replica.forks().some(({ opening }) => opening.device === id))
    throw new KinError("USAGE", `no log of ${peerName(membership, id)} was written twice: all of it counts`);
  const [record] = await allowLogs(replica, id);
  const logs = record?.body.type === "log-allowed" ? record.body.logs.length : 0;
  return { device: peerName(membership, id), logs };
}

/** Says again what has no effect where it stands. */
export async function syncReissue(node: MeshNode, { events }: Params<"sync-reissue">): Promise<Result<"sync-reissue">> {
  const { replica } = needMembership(node);
  const ids = events.map(parseEventId);
  const copies = await replica.reissue(ids);
  return { items: copies.map(({ id }, i) => ({ event: textOf(ids[i]!), again: textOf(id) })) };
}

function textOf(id: EventId): string {
  return formatText("kine", idBytes(id));
}

/** What is wrong with the histories that are here, in words: devices that have written two, and damaged rows. */
export function historyWarnings({ replica }: Pick<Mesh, "replica">): string[] {
  const membership = replica.membership();
  const forked = new Set(replica.forks().map(({ log }) => log));
  const devices = new Set(replica.forks().map(({ opening }) => opening.device));
  const said = [...devices].map((device) => {
    const who = peerName(membership, device);
    const waits = [...replica.vector().values()].some(
      ({ log, opening }) => opening.device === device && !forked.has(log) && !isLogAllowed(membership, device, log),
    );
    const next =
      waits && membership.devices.has(device) ? `; to let it go on, an admin says kin sync allow ${who}` : "";
    return `${who} has written two histories, as a folder does that is run twice: what others had built on counts${next}`;
  });
  const damaged = [...replica.damage().values()].reduce(
    (sum, { events, heads }) => sum + events.length + heads.length,
    0,
  );
  if (damaged > 0)
    said.push(
      damaged === 1
        ? "a row of log.db is damaged and left out: it is fetched again from whoever has it"
        : `${damaged} rows of log.db are damaged and left out: they are fetched again from whoever has them`,
    );
  return said;
}
