/** Vectors of documents (§28): who writes inside one, a private note's update, what facts fold to. */
import { toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import {
  automergeActorOf,
  factSetValue,
  recordDocumentId,
  sealUpdate,
  yjsClientOf,
  type FactSet,
} from "../../protocols/document.ts";
import { idBytes, idOf, type DeviceId, type EventId, type LogId, type MeshId, type PersonId } from "../../protocols/ids.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { createFacts } from "../../sync/documents/facts.ts";
import { bytesOf, hexOf } from "./basics.ts";
import type { VectorFile } from "./make.ts";

const MESH: MeshId = idOf(bytesOf("mesh"));
const NOTE: EventId = idOf(bytesOf("note"));
const LOG: LogId = idOf(bytesOf("writing log"));
const [ANA, BEN] = ["ana", "ben"].map((name) => idOf<"person">(bytesOf(`${name} person id`))) as [PersonId, PersonId];
const AUTHOR: DeviceId = idOf(bytesOf("ana device id"));

export function documentVectors(): { [file: string]: VectorFile } {
  const record = recordDocumentId(MESH, ANA, "agent", "reviewer");
  const update = utf8Bytes("an update");
  const sealed = sealUpdate({ mesh: MESH, note: NOTE, author: AUTHOR }, bytesOf("note key"), update, {
    bytes: (count) => bytesOf("note nonce", count),
  }) as { nonce: Uint8Array; sealed: Uint8Array };
  return {
    "document.json": {
      section: "28",
      about:
        "client and actor: as whom log writes in note and in the record of ana's agent reviewer. privateUpdate: x opens under key for that author. facts: events, in any order, amount to standing (newest first); refused: values that are none.",
      mesh: MESH,
      log: LOG,
      note: NOTE,
      person: ANA,
      client: yjsClientOf(LOG, NOTE),
      record,
      actor: automergeActorOf(LOG, record),
      privateUpdate: {
        author: AUTHOR,
        key: toHex(bytesOf("note key")),
        n: toHex(sealed.nonce),
        x: toHex(sealed.sealed),
        update: toHex(update),
      },
      facts: facts(),
      refused: refused(),
    },
  };
}

function eventId(name: string): EventId {
  return idOf(bytesOf(`fact ${name}`));
}

function facts() {
  const set = (name: string, ms: number, person: PersonId, fact: Partial<FactSet> & { key: string }, ...replaced: string[]) => ({
    id: eventId(name),
    person,
    device: AUTHOR,
    hlc: stampOf(ms),
    value: factSetValue({ scope: null, json: `"${name}"`, ...fact, replaces: replaced.map(eventId) }),
  });
  const agents = { person: ANA, agent: "reviewer" };
  const events = [
    set("a", 10, ANA, { key: "deploy/window" }),
    set("b", 20, BEN, { key: "deploy/window" }, "a"),
    set("c", 30, ANA, { key: "deploy/window" }, "a"),
    set("unset", 40, ANA, { key: "gone", json: null }),
    set("before what it replaces", 50, BEN, { key: "late" }, "late one"),
    set("late one", 60, ANA, { key: "late" }),
    set("of an agent", 70, ANA, { key: "style", scope: agents }),
    set("by somebody else", 80, BEN, { key: "style", scope: agents }),
  ];
  const folded = createFacts();
  for (const event of events) folded.fold(event);
  const registers = [
    [null, "deploy/window"],
    [null, "gone"],
    [null, "late"],
    [agents, "style"],
  ] as const;
  return {
    events: events.map(({ id, person, device, hlc, value }) => ({
      id,
      person,
      device,
      hlc: toHex(hlc),
      value: hexOf(value),
    })),
    standing: registers.map(([scope, key]) => ({
      scope: scope === null ? null : [scope.person, scope.agent],
      key,
      ids: folded.standing(scope, key),
    })),
  };
}

function refused() {
  const good = { s: null, k: "deploy/window", v: "1", r: [] as Value[] };
  const ids = [bytesOf("b"), bytesOf("a")].toSorted((a, b) => b[0]! - a[0]!);
  const wrong: [string, { [field: string]: Value }][] = [
    ["an empty key", { ...good, k: "" }],
    ["white space in a key", { ...good, k: "a key" }],
    ["a key of 129 bytes", { ...good, k: "k".repeat(129) }],
    ["a value that is no JSON", { ...good, v: "{" }],
    ["a value nested 33 deep", { ...good, v: "[".repeat(33) + "]".repeat(33) }],
    ["ids that are not ascending", { ...good, r: ids }],
    ["a scope without an agent", { ...good, s: [idBytes(ANA)] }],
    ["an unknown field", { ...good, x: 1 }],
    ["no r", { s: null, k: "key", v: "1" }],
  ];
  return wrong.map(([name, value]) => ({ name, value: hexOf(value) }));
}
