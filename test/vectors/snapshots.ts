/** Vectors of snapshots (§27): what events say, the state's bytes, and a state on its way. The state is written out here by hand. */
import { aeadSeal, hkdf } from "#crypto";
import { concat, encode, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { idBytes, idOf, type MeshId } from "../../protocols/ids.ts";
import { dormantValue, proposalValue, signedValue, snapshotOf, stateHash } from "../../protocols/snapshot.ts";
import { bytesOf } from "./basics.ts";
import type { VectorFile } from "./make.ts";

const MESH: MeshId = idOf(bytesOf("mesh"));
const EPOCH = bytesOf("epoch id");
const EPOCH_KEY = bytesOf("epoch key");
const HLC = Uint8Array.of(1, 163, 24, 92, 80, 0, 0, 5);

export function snapshotVectors(): { [file: string]: VectorFile } {
  const fact = encode([1, null, "deploy/window", bytesOf("fact event"), bytesOf("ana device id"), HLC, '"friday"']);
  const replaced = encode([2, null, "deploy/window", [bytesOf("replaced event")]]);
  const rows = [fact, replaced].toSorted((a, b) => (toHex(a) < toHex(b) ? -1 : 1));
  const state = concat(
    ...[encode(["cards", 1, 0]), encode(["facts", 1, rows.length]), ...rows].flatMap((item) => [lengthOf(item), item]),
  );
  const at = new Map([
    [idOf<"log">(bytesOf("log b")), { seq: 41, id: idOf<"event">(bytesOf("event b 41")) }],
    [idOf<"log">(bytesOf("log a")), { seq: 7, id: idOf<"event">(bytesOf("event a 7")) }],
  ]);
  const views = [
    { name: "cards", version: 1 },
    { name: "facts", version: 1 },
  ];
  const snapshot = snapshotOf(MESH, { at, views, state: stateHash(state), bytes: state.length });
  const s = idBytes(snapshot.id);
  const key = hkdf(EPOCH_KEY, new Uint8Array(), concat(utf8Bytes("kin/snapshot/1"), s), 32);
  const nonce = bytesOf("part nonce", 12);
  const aad = encode({ mesh: idBytes(MESH), s, n: 0, of: 1 });
  return {
    "snapshot.json": {
      section: "27",
      about:
        "rows, in any order, are the facts of a state that has no cards; proposal, signed and dormant are what events say (canonical CBOR); id is the snapshot's; frames are what asker and holder say of this state, whose one part opens with partKey, nonce and aad.",
      mesh: MESH,
      rows: [replaced, fact].map(toHex),
      state: toHex(state),
      stateHash: toHex(snapshot.state),
      id: snapshot.id,
      proposal: toHex(encode(proposalValue(snapshot))),
      signed: toHex(encode(signedValue(snapshot.id, "recomputed"))),
      dormant: toHex(encode(dormantValue(idOf(bytesOf("cem person id")), true))),
      epoch: { id: toHex(EPOCH), key: toHex(EPOCH_KEY) },
      partKey: toHex(key),
      nonce: toHex(nonce),
      aad: toHex(aad),
      frames: [
        { from: "asker", frame: toHex(encode({ s })) },
        { from: "holder", frame: toHex(encode({ of: 1, e: EPOCH })) },
        { from: "holder", frame: toHex(encode({ n: 0, i: nonce, x: aeadSeal(key, nonce, state, aad) })) },
      ],
    },
  };
}

function lengthOf(item: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, item.length);
  return bytes;
}
