/** Vectors of event bodies and epoch keys (§17, §18). The ephemeral keys of HPKE come from seeds. */
import { aeadSeal, hkdf, sealingKeyFromSeed } from "#crypto";
import { concat, encode, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { epochKeyHash } from "../../protocols/epoch.ts";
import { makeEvent, unsealedValue, type UnsealedHeader } from "../../protocols/events.ts";
import { idBytes, idOf, type MeshId } from "../../protocols/ids.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { bytesOf, hexOf } from "./basics.ts";
import { LOG, OPENING } from "./events.ts";
import { hpkeSealWith } from "./hpke.ts";
import type { VectorFile } from "./make.ts";

const MESH: MeshId = idOf(bytesOf("mesh"));
const EPOCH = bytesOf("epoch id");
const EPOCH_KEY = bytesOf("epoch key");
const VALUE = { re: bytesOf("re"), text: "hello" };

export async function bodyVectors(): Promise<{ [file: string]: VectorFile }> {
  const n = bytesOf("body n", 16);
  const header: UnsealedHeader = {
    log: LOG,
    seq: 5,
    prev: idOf(bytesOf("prev event")),
    deps: [idOf(bytesOf("dep"))],
    hlc: stampOf(1_800_000_000_000, 5),
    kind: "here-head",
    audience: "mesh",
  };
  const aad = encode({ mesh: idBytes(MESH), header: unsealedValue(header), epoch: EPOCH });
  const meshKey = hkdf(EPOCH_KEY, new Uint8Array(), concat(utf8Bytes("kin/mesh/1"), idBytes(LOG)), 32);
  const meshBody = encode({ n, e: EPOCH, x: aeadSeal(meshKey, n.subarray(0, 12), encode(VALUE), aad) });
  const keyHash = epochKeyHash(EPOCH_KEY);
  const recipient = sealingKeyFromSeed(bytesOf("ana sealing"));
  const device = bytesOf("ana device id");
  const author = bytesOf("ben device id");
  const info = encode(["kin/epoch-key/1", idBytes(MESH), keyHash, author, device]);
  const epochSealed = await hpkeSealWith(bytesOf("ekm epoch"), recipient.publicKey, info, new Uint8Array(), EPOCH_KEY);
  const direct = await directBody({ ...header, kind: "invocation-asked", audience: "direct" }, n);
  const clear: UnsealedHeader = { ...header, kind: "agent-key" };
  return {
    "bodies.json": {
      section: "17, 18",
      about:
        "bodies: an event's header and body open, with the keys given, to value (canonical CBOR). refused: these do not open with the same keys. epochKey: a sealed epoch key that opens for the recipient.",
      mesh: MESH,
      author: OPENING.device,
      epoch: { id: toHex(EPOCH), key: toHex(EPOCH_KEY), keyHash: toHex(keyHash) },
      meshKey: toHex(meshKey),
      aad: toHex(aad),
      recipients: RECIPIENTS.map(({ name }) => ({
        device: toHex(bytesOf(`${name} device id`)),
        sealingPrivateKey: toHex(bytesOf(`${name} sealing`)),
      })),
      bodies: [
        { form: "clear", ...eventOf(clear, encode({ n, c: VALUE })), value: hexOf(VALUE) },
        { form: "mesh", ...eventOf(header, meshBody), value: hexOf(VALUE) },
        {
          form: "direct",
          ...eventOf({ ...header, kind: "invocation-asked", audience: "direct" }, direct),
          value: hexOf(VALUE),
        },
      ],
      refused: [
        { name: "under another seq", ...eventOf({ ...header, seq: 6 }, meshBody) },
        { name: "under another kind", ...eventOf({ ...header, kind: "card" }, meshBody) },
        {
          name: "a direct body under another seq",
          ...eventOf({ ...header, seq: 6, kind: "invocation-asked", audience: "direct" }, direct),
        },
        {
          name: "a clear body where it must be sealed",
          ...eventOf({ ...header, kind: "invocation-asked" }, encode({ n, c: VALUE })),
        },
        { name: "a mesh body of a kind that is clear", ...eventOf(clear, meshBody) },
        { name: "a direct body for the mesh", ...eventOf(header, direct) },
        { name: "a short n", ...eventOf(clear, encode({ n: n.subarray(1), c: VALUE })) },
      ],
      epochKey: {
        author: toHex(author),
        sealed: hexOf([device, epochSealed.enc, epochSealed.ciphertext]),
        info: toHex(info),
      },
    },
  };
}

const RECIPIENTS = [{ name: "ana" }, { name: "cem" }];

async function directBody(header: UnsealedHeader, n: Uint8Array): Promise<Uint8Array> {
  const key = bytesOf("content key");
  const recipients = RECIPIENTS.map(({ name }) => ({
    device: bytesOf(`${name} device id`),
    sealing: sealingKeyFromSeed(bytesOf(`${name} sealing`)).publicKey,
    ekm: bytesOf(`ekm ${name}`),
  })).toSorted((a, b) => (toHex(a.device) < toHex(b.device) ? -1 : 1));
  const aad = encode({ mesh: idBytes(MESH), header: unsealedValue(header) });
  const devices = recipients.map(({ device }) => device);
  const info = encode(["kin/direct/1", idBytes(MESH), idBytes(OPENING.device), idBytes(LOG), header.seq, devices]);
  const r = [];
  for (const { device, sealing, ekm } of recipients) {
    const { enc, ciphertext } = await hpkeSealWith(ekm, sealing, info, aad, key);
    r.push([device, enc, ciphertext]);
  }
  return encode({ n, r, x: aeadSeal(key, n.subarray(0, 12), encode(VALUE), aad) });
}

function eventOf(header: UnsealedHeader, body: Uint8Array) {
  return { header: toHex(makeEvent(header, body).headerBytes), body: toHex(body) };
}
