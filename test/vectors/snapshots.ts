/**
 * Vectors of snapshots (§27): what events say, the state's bytes, a state on its way, and the rows of a note and a record. The
 * state on its way is written out here by hand.
 */
import { aeadSeal, hkdf } from "#crypto";
import { concat, encode, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { idBytes, idOf, type MeshId } from "../../protocols/ids.ts";
import { dormantValue, proposalValue, signedValue, snapshotOf, stateHash } from "../../protocols/snapshot.ts";
import { automergeActorOf, recordDocumentId, type Seen } from "../../protocols/document.ts";
import { createRecord } from "../../sync/documents/automerge.ts";
import { noteRows } from "../../sync/documents/note-rows.ts";
import { createNoteText, TEXT_SHAPE, writeText } from "../../sync/documents/note-text.ts";
import { recordRows } from "../../sync/documents/record-rows.ts";
import { diffText } from "../../sync/documents/text-diff.ts";
import { canonicalState } from "../../sync/documents/yjs-state.ts";
import { parseUpdate } from "../../sync/documents/yjs.ts";
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
        "rows, in any order, are the facts of a state that has no cards; proposal, signed and dormant are what events say (canonical CBOR); id is the snapshot's; frames are what asker and holder say of this state, whose one part opens with partKey, nonce and aad. note: updates of clients, each after what it had seen, are the rows, in any order, with the text; record: changes of one log, in their order, are the row.",
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
      note: note(),
      record: record(),
    },
  };
}

/** Two write at once, then one cuts into the words of the other, who has not seen all of it. */
function note() {
  const devices = ["ana device id", "ben device id"].map((name) => idOf<"device">(bytesOf(name)));
  const clients = [2 ** 53 - 1, 7];
  const known = clients.map(() => createNoteText());
  const ends = new Map(clients.map((client) => [client, new Map<number, Seen>()]));
  const editors = new Map(devices.map((device) => [device, { edits: 0, at: 0 }]));
  const updates: { client: number; device: string; at: number; seen: [number, number][]; update: string }[] = [];
  const bytes: Uint8Array[] = [];
  const write = (who: number, text: string): void => {
    const [mine, client, device] = [known[who]!, clients[who]!, devices[who]!];
    for (const one of writeText(mine.state(), client, mine.runs(), diffText(mine.text(), text))) {
      const at = 1_000 + updates.length;
      const { to } = parseUpdate(one.bytes, client, one.seen, TEXT_SHAPE);
      if (to > (one.seen.get(client) ?? 0)) ends.get(client)!.set(to, one.seen);
      editors.set(device, { edits: editors.get(device)!.edits + 1, at });
      const seen = [...one.seen].toSorted(([a], [b]) => a - b);
      updates.push({ client, device, at, seen, update: toHex(one.bytes) });
      bytes.push(one.bytes);
      mine.apply([one.bytes]);
    }
  };
  const learn = (who: number): void => known[who]!.apply(bytes);
  write(0, "milk 😀\n");
  learn(1);
  write(0, "oat milk 😀\n");
  write(1, "milk 😀\nbread\n");
  learn(0);
  write(0, "oat milk\nbread\n");
  write(1, "milk 😀 and tea\nbread\n");
  write(1, "milk 😀 or tea\nbread\n");
  learn(0);
  const id = idOf<"event">(bytesOf("note"));
  const state = canonicalState(known[0]!.state());
  const opened = { id, form: "text", title: "plan", openedBy: devices[0]!, hlc: HLC } as const;
  const rows = [...noteRows({ ...opened, state, ends, editors })];
  return {
    note: id,
    title: opened.title,
    openedBy: opened.openedBy,
    hlc: toHex(HLC),
    updates,
    text: known[0]!.text(),
    rows: rows.map(toHex),
  };
}

function record() {
  const person = idOf<"person">(bytesOf("ana person id"));
  const [log, device] = [idOf<"log">(bytesOf("writing log")), idOf<"device">(bytesOf("ana device id"))];
  const actor = automergeActorOf(log, recordDocumentId(MESH, person, "agent", "reviewer"));
  const made = createRecord();
  const changes = ["one", "two"].map((word, i) => {
    const change = made.change(actor, new Map([["description", word]]))!;
    made.apply([change]);
    return { event: idOf<"event">(bytesOf(`change ${i}`)), log, device, at: 1_000 + i, change };
  });
  return {
    person,
    name: "reviewer",
    log,
    device,
    changes: changes.map(({ event, at, change }) => ({ event, at, change: toHex(change) })),
    rows: [...recordRows({ person, name: "reviewer", changes })].map(toHex),
  };
}

function lengthOf(item: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, item.length);
  return bytes;
}
