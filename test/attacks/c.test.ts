/** Runs group C, documents: each attack against real replicas that get it in different orders; nothing of theirs changes, and all say the same. */
import { beforeAll, expect, test } from "vitest";
import { hashOf, meet, withDocuments, type Writer } from "../documents/scene.ts";
import { admitMember, foundMesh, testTime } from "../sync/mesh.ts";
import { DOCUMENT_ATTACKS, sceneOf } from "./c.ts";

let ana: Writer;
let ben: Writer;
let mallory: Writer;
beforeAll(async () => {
  ana = await withDocuments(await foundMesh("ana", testTime()));
  mallory = await withDocuments(await admitMember(ana.member, "mallory"));
  ben = await withDocuments(await admitMember(ana.member, "ben"));
});

/** A note of Ana's that all have, and an agent of the attacker's. */
async function newScene(number: number) {
  const note = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(note, { text: "honest words" });
  await meet(ana, mallory);
  await meet(ana, ben);
  return { note, scene: sceneOf(mallory, ana, note, `helper-${number}`) };
}

async function hashes(): Promise<Set<string>> {
  return new Set(await Promise.all([ana, ben, mallory].map(({ documents }) => hashOf(documents))));
}

for (const [number, attack] of DOCUMENT_ATTACKS.entries())
  test(`${attack.id}: ${attack.says} → ${attack.becomes}`, async () => {
    const { note, scene } = await newScene(number);
    const { person } = mallory.member.replica.membership().devices.get(mallory.member.replica.device)!.member;
    const settings = ({ documents }: Writer): string[] =>
      Object.keys(documents.records.get(person, scene.agent)?.state.values() ?? {});
    const { becomes, because = "", good = 0 } = attack;
    const made = attack.entries(scene);
    const isEdit = made[0]!.kind === "note-edited";
    const written = await mallory.member.replica.append(made);
    // Ana gets it before Ben's words, Ben after his own.
    await meet(ana, mallory);
    await ben.documents.notes.edit(note, { append: ", and ben's" });
    await meet(ben, mallory);
    await meet(ana, ben);
    await meet(ana, mallory);

    for (const writer of [ana, ben, mallory]) {
      const refused = writer.documents.refused().filter(({ event }) => written.some(({ id }) => id === event));
      expect(refused.map(({ event }) => event)).toEqual(becomes === "refused" ? [written.at(-1)!.id] : []);
      expect(refused[0]?.message ?? "").toContain(because);
      expect(writer.failures).toEqual([]);
      const text = writer.documents.notes.get(note)!.text.text();
      expect(text.includes("<one>")).toBe(isEdit && good === 1);
      expect(text.replace("<one>", "")).toBe("honest words, and ben's");
      expect(settings(writer)).toEqual(!isEdit && good === 1 ? ["paused"] : []);
    }

    // Who is honest goes on; a refusal does not end its author either.
    await ana.documents.notes.edit(note, { append: "!" });
    if (becomes === "refused") {
      await mallory.documents.notes.edit(note, { append: " (sorry)" });
      await mallory.documents.records.set(scene.agent, "description", "an honest one");
    }
    await meet(ana, mallory);
    await meet(ana, ben);
    await meet(ben, mallory);
    const text = ben.documents.notes.get(note)!.text.text();
    expect(text).toContain("!");
    expect(text.includes("(sorry)")).toBe(becomes === "refused");
    expect(settings(ben).includes("description")).toBe(becomes === "refused");
    expect((await hashes()).size).toBe(1);
  });

test("C18: thousands of edits that wait for ever cost their author's place in the note, and nobody else anything", async () => {
  const { note, scene } = await newScene(999);
  const waiting = DOCUMENT_ATTACKS.find(({ becomes }) => becomes === "waits")!;
  for (let i = 0; i < 8; i++)
    await mallory.member.replica.append(Array.from({ length: 250 }, () => waiting.entries(scene)[0]!));
  await meet(ana, mallory);
  await ana.documents.notes.edit(note, { append: "!" });
  await meet(ana, ben);
  expect(ben.documents.notes.get(note)!).toMatchObject({ waiting: 2000 });
  expect(ben.documents.notes.get(note)!.text.text()).toBe("honest words!");
  await meet(ana, mallory);
  expect((await hashes()).size).toBe(1);
});
