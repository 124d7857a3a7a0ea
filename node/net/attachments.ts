/** `/kin/blob/1` at a node: serves what was addressed to the asker, fetches what a call brings (F6). */
import { answerBlob, askBlob, BLOB_PROTOCOL } from "../../protocols/blob.ts";
import { fromHex, toHex } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import type { IncomingCall } from "../../protocols/invoke.ts";
import type { Blobs } from "../blobs.ts";
import type { Network } from "./peers.ts";

/** An attachment that does not arrive by then does not come any more: 64 MiB at 1 MB/s. */
const FETCH_TIMEOUT_MS = 70_000;

export interface Attachments {
  /** Bytes of an attachment of this call, from here or from the caller's device. @throws KinError NOT_FOUND, UNREACHABLE, CLOSED, TOO_LARGE, OVERLOADED */
  read(hash: string, call: IncomingCall, signal: AbortSignal): Promise<Uint8Array>;
}

export function createAttachments(
  network: Pick<Network, "open" | "handleForMembers" | "device">,
  blobs: Blobs,
): Attachments {
  network.handleForMembers(BLOB_PROTOCOL, (peer, wire) =>
    answerBlob(wire, (hash) => blobs.serve(toHex(hash), peer.person)),
  );

  /** A caller that stops sending holds neither the call nor its stream longer than `signal` allows. */
  async function fetch(hash: string, bytes: number, { from }: IncomingCall, signal: AbortSignal): Promise<void> {
    const wire = await network.open(from.device, BLOB_PROTOCOL, signal);
    const stop = (): void => wire.abort(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      await blobs.take(hash, bytes, askBlob(wire, fromHex(hash), 0), from.person);
    } catch (error) {
      wire.abort(error as Error);
      throw error;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /** @throws KinError UNREACHABLE if it takes too long */
  async function fetchInTime(hash: string, bytes: number, call: IncomingCall, signal: AbortSignal): Promise<void> {
    const late = AbortSignal.timeout(FETCH_TIMEOUT_MS);
    try {
      await fetch(hash, bytes, call, AbortSignal.any([signal, late]));
    } catch (error) {
      if (!late.aborted || signal.aborted) throw error;
      const why = `the attachment ${hash.slice(0, 12)}… did not arrive within ${FETCH_TIMEOUT_MS / 1000} s`;
      throw new KinError("UNREACHABLE", why, { cause: error });
    }
  }

  return {
    async read(hash, call, signal) {
      const part = call.request.parts.find((part) => "blob" in part && part.blob.hash === hash);
      if (part === undefined || !("blob" in part))
        throw new KinError("NOT_FOUND", `the call brings no attachment ${hash.slice(0, 12)}…`);
      const { person, device } = call.from;
      const here = await blobs.read(hash, person);
      if (here !== undefined) return here;
      if (device !== network.device) await fetchInTime(hash, part.blob.bytes, call, signal);
      const fetched = await blobs.read(hash, person);
      if (fetched === undefined)
        throw new KinError("NOT_FOUND", `the attachment ${hash.slice(0, 12)}… of the call is not there any more`);
      return fetched;
    },
  };
}
