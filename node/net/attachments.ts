/** `/kin/blob/1` at a node: serves what was addressed to the asker, fetches what a call brings (F6). */
import { answerBlob, askBlob, BLOB_PROTOCOL } from "../../protocols/blob.ts";
import { fromHex, toHex } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import type { IncomingCall } from "../../protocols/invoke.ts";
import type { Blobs } from "../blobs.ts";
import type { Network } from "./peers.ts";

export interface Attachments {
  /** Bytes of an attachment of this call, from here or from the caller's device. @throws KinError NOT_FOUND, UNREACHABLE, TOO_LARGE */
  read(hash: string, call: IncomingCall, signal: AbortSignal): Promise<Uint8Array>;
}

export function createAttachments(
  network: Pick<Network, "open" | "handleForMembers" | "device">,
  blobs: Blobs,
): Attachments {
  network.handleForMembers(BLOB_PROTOCOL, (peer, wire) =>
    answerBlob(wire, (hash) => blobs.serve(toHex(hash), peer.person)),
  );
  return {
    async read(hash, call, signal) {
      const here = await blobs.read(hash);
      if (here !== undefined) return here;
      const part = call.request.parts.find((part) => "blob" in part && part.blob.hash === hash);
      if (part === undefined || !("blob" in part))
        throw new KinError("NOT_FOUND", `the call brings no attachment ${hash.slice(0, 12)}…`);
      const wire = await network.open(call.from.device, BLOB_PROTOCOL, signal);
      await blobs.take(hash, part.blob.bytes, askBlob(wire, fromHex(hash), 0));
      const fetched = await blobs.read(hash);
      if (fetched === undefined)
        throw new KinError("NOT_FOUND", `the attachment ${hash.slice(0, 12)}… is not there after it was fetched`);
      return fetched;
    },
  };
}
