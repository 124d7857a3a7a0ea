/** A peer that says to a node what it likes, frame by frame: for everything that our own caller would never send. */
import {
  encodeEnvelope,
  decodeEnvelope,
  envelopeId,
  type Envelope,
  type EnvelopeKind,
  type Sender,
} from "../../protocols/envelope.ts";
import type { EnvelopeId } from "../../protocols/ids.ts";
import { parseRefused, requestBody } from "../../protocols/invoke-bodies.ts";
import {
  decodeInvokeFrame,
  encodeInvokeFrame,
  type CallerFrame,
  type InvokeFrame,
} from "../../protocols/invoke-frames.ts";
import type { CallRequest, CallTarget } from "../../protocols/invoke.ts";
import type { Sealed } from "../../protocols/signature.ts";
import { wirePair, type WirePair } from "../wire-pair.ts";
import { MESH, random, request, type TestNode } from "./world.ts";

export interface RawPeer {
  send(frame: InvokeFrame): Promise<void>;
  sendBytes(bytes: Uint8Array): Promise<void>;
  /** Seals an envelope of `as` and sends it in a frame of its kind. */
  say(kind: CallerFrame["t"], change?: Partial<Envelope>, options?: { as?: Sender; key?: TestNode }): Promise<Sealed>;
  /** The next answer: `refused:REPLAYED`, `accepted`, … ; undefined: the stream has ended. */
  hear(): Promise<string | undefined>;
  last: Sealed | undefined;
  pair: WirePair;
  call: number;
}

/** A stream from `from` to `to`. */
export function rawPeer(from: TestNode, to: TestNode): RawPeer {
  const pair = wirePair({});
  void to.invocations.serve(from.device, pair.right);
  const answers = pair.left.frames()[Symbol.asyncIterator]();
  const peer: RawPeer = {
    pair,
    call: 0,
    last: undefined,
    send: (frame) => pair.left.send(encodeInvokeFrame(frame)),
    sendBytes: (bytes) => pair.left.send(bytes),
    async say(kind, change = {}, { as = from.me(), key = from } = {}) {
      const sealed = await sealAs(key, as, envelope(to, `invoke/${kind}`, as, change));
      await peer.send({ t: kind, call: ++peer.call, sealed });
      return sealed;
    },
    async hear() {
      const next = await answers.next().catch(() => ({ done: true as const, value: undefined }));
      if (next.done === true) return undefined;
      const frame = decodeInvokeFrame(next.value);
      if (frame.t === "ack") return "ack";
      peer.last = frame.sealed;
      const { body } = decodeEnvelope(frame.sealed.bytes);
      return frame.t === "refused" ? `refused:${parseRefused(body).code}` : frame.t;
    },
  };
  return peer;
}

export function envelope(to: TestNode, kind: EnvelopeKind, from: Sender, change: Partial<Envelope>): Envelope {
  const iat = Date.now();
  return {
    mesh: MESH,
    from,
    to: { person: to.person, device: to.device, agent: "echo" },
    kind,
    id: random.bytes(16),
    boot: to.boot,
    iat,
    exp: iat + 60_000,
    hlc: new Uint8Array(8),
    caps: [],
    body: kind === "invoke/request" ? body(from, { tool: "echo" }) : {},
    ...change,
  };
}

export function body(
  from: Sender,
  target: CallTarget,
  change: Partial<CallRequest> = {},
): NonNullable<Envelope["body"]> {
  return requestBody(request(from, target, change));
}

export function sealAs(node: TestNode, as: Sender, said: Envelope): Promise<Sealed> {
  return node.seal(as.agent)!(encodeEnvelope(said));
}

export function idOfSealed(sealed: Sealed): EnvelopeId {
  return envelopeId(sealed, decodeEnvelope(sealed.bytes).from);
}
