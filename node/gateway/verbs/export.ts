/** `kin export`: what this node has, or a part of it, as one file that proves itself (docs/protocol.md §26). */
import { rmSync } from "node:fs";
import { open, rename, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { toHex } from "../../../protocols/bytes.ts";
import type { Random } from "../../../protocols/effects.ts";
import { errorShape, KinError, tellableReason } from "../../../protocols/errors.ts";
import { formatText, idBytes, type DeviceId } from "../../../protocols/ids.ts";
import type { Membership } from "../../../protocols/membership.ts";
import { writeExport } from "../../../sync/export.ts";
import { diskError, syncFolder } from "../../atomic-file.ts";
import type { Item, Params, Result } from "../control-api.ts";
import { needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { parseEventId, resolveDevices, resolveMember } from "../resolve.ts";
import { parseCallId } from "./calls.ts";

/** Frames are gathered up to this before they are written: many of them are short. */
const WRITE_BYTES = 1024 * 1024;
/** How often the file's growth is told. */
const TELL_BYTES = 16 * 1024 * 1024;

export async function exportFile(
  node: MeshNode,
  params: Params<"export">,
  item: (item: Item<"export">) => void,
  signal: AbortSignal,
): Promise<Result<"export">> {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  const { out, people, events, calls, here } = params;
  if (!params.replace && (await stat(out).catch(() => null)) !== null)
    throw new KinError("USAGE", `${out} is there already`, { hint: "name another file, or say --force" });
  const request = {
    all: people.length + events.length + calls.length === 0,
    devices: people.flatMap((who) => devicesOf(membership, who)),
    events: events.map(parseEventId),
    calls: calls.map(parseCallId),
    here,
    open: !params.sealed,
  };
  const summary = await intoFile(out, node.random, item, (write) =>
    writeExport({ ...exporter(node, mesh), write, signal }, request),
  );
  return {
    file: out,
    mesh: formatText("kinm", idBytes(mesh.id)),
    meshName: membership.name,
    all: request.all,
    ...summary,
  };
}

function exporter({ keystore, time, random }: MeshNode, { replica }: Mesh) {
  return { replica, deviceKey: keystore.device, sealingKeys: () => keystore.sealingKeys(), time, random };
}

/** `ana`, `ana@laptop`; of who was removed all devices. @throws KinError USAGE, NOT_FOUND */
function devicesOf(membership: Membership, typed: string): DeviceId[] {
  const found = /^([a-z][a-z0-9-]{0,31})(?:~([a-z2-7]{4}))?(?:@([a-z][a-z0-9-]{0,31}))?$/.exec(typed);
  if (found === null) throw new KinError("USAGE", `--log is "${typed}", expected a member such as ana or ana@laptop`);
  const [, person, tag, device] = found;
  const gone = [...membership.removed].filter(([, { name }]) => name === person).map(([id]) => id);
  const theirs = [...membership.formerDevices].filter(([, former]) => gone.includes(former.person)).map(([id]) => id);
  const isMember = [...membership.members.values()].some(({ name }) => name === person);
  if (!isMember && theirs.length > 0 && device === undefined) return theirs;
  return resolveDevices(resolveMember(membership, { person: person!, tag }), device).map(({ id }) => id);
}

/** Whole or not there: written beside its place, flushed, then renamed. */
async function intoFile<T>(
  file: string,
  random: Random,
  item: (item: Item<"export">) => void,
  make: (write: (bytes: Uint8Array) => Promise<void>) => Promise<T>,
): Promise<T> {
  const temporary = `${file}.${toHex(random.bytes(8))}.part`;
  // Nobody else's file or link, where others may write into the folder.
  const handle = await open(temporary, "wx", 0o600).catch((error: unknown) => {
    throw noFolder(error, file);
  });
  try {
    let made: T;
    try {
      const writer = createWriter(handle, item);
      made = await make((bytes) => writer.write(bytes));
      await writer.flush();
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    syncFolder(dirname(file));
    return made;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw diskError(error, file);
  }
}

function noFolder(error: unknown, file: string): Error {
  const said = diskError(error, file);
  if (errorShape(said).code === "DISK_FULL") return said;
  return new KinError("USAGE", `can't write into the folder ${dirname(file)}: ${tellableReason(error)}`, {
    hint: "name a file in another folder: --out FILE",
    cause: error,
  });
}

function createWriter(handle: FileHandle, item: (item: Item<"export">) => void) {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let written = 0;
  let told = 0;

  async function flush(): Promise<void> {
    const all = Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
    for (let at = 0; at < all.length;) at += (await handle.write(all, at)).bytesWritten;
    written += all.length;
    if (written - told < TELL_BYTES) return;
    told = written;
    item({ bytes: written });
  }

  return {
    flush,
    async write(piece: Uint8Array): Promise<void> {
      waiting.push(piece);
      bytes += piece.length;
      if (bytes >= WRITE_BYTES) await flush();
    },
  };
}
