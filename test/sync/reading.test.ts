/** What a stored event says, when somebody asks. */
import { expect, test } from "vitest";
import { sealBody } from "../../protocols/event-body.ts";
import type { UnsealedHeader } from "../../protocols/events.ts";
import { createClock } from "../../sync/clock.ts";
import { openLog } from "../../sync/log.ts";
import { openProjection } from "../../sync/projection.ts";
import { runFrom } from "../../sync/runs.ts";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { createTally } from "../../sync/tally.ts";
import { bytesOf, seededRandom } from "./chains.ts";
import { benAndAna, type TestMember } from "./mesh.ts";

/** Notes of Ana in a log of their own; "damaged" is sealed for the place after its own. */
async function notesOfAna(ana: TestMember, texts: readonly string[]) {
  const { mesh, device: author } = ana.replica;
  const [epoch, key] = [...ana.epochKeys.held][0]!;
  const random = seededRandom("notes of ana");
  const store = await openMemoryStore(createMemoryDisk());
  const incarnation = bytesOf("a life of ana").subarray(0, 16);
  const clock = createClock({ time: ana.time });
  const log = await openLog({ store, mesh, key: ana.keys.device, incarnation, chain: "mesh", clock, random });
  const seal = (value: string) => (header: UnsealedHeader) => {
    const place = value === "damaged" ? { ...header, seq: header.seq + 1 } : header;
    return sealBody({ mesh, author }, place, { form: "mesh", epoch, key, value }, random);
  };
  await log.append(texts.map((text) => ({ kind: "note", audience: "mesh", body: seal(text) })));
  return { run: (await runFrom(store, log.log, 0))!.run, opening: log.opening };
}

test("a body that turns out to be sealed for another event when it is asked for stops nothing and is shown as damaged [opened-when-asked]", async () => {
  const { ben, ana } = await benAndAna();
  await ana.replica.append([{ kind: "note", audience: "mesh", value: "opens the epoch" }]);
  for (const [epoch, key] of ana.epochKeys.held) ben.epochKeys.held.set(epoch, key);
  const folded: unknown[] = [];
  const view = await openProjection(ben.replica, {
    kinds: new Set(["note"]),
    fold: ({ value }) => void folded.push(value),
    clear: () => void folded.splice(0),
  });
  const { run, opening } = await notesOfAna(ana, ["one", "damaged", "two"]);
  expect(await ben.replica.receive(run, opening)).toMatchObject({ stored: 4 });
  await view.settled();
  expect(folded).toEqual(["one", "two"]);
  const found = await ben.replica.event(run.events[2]!.id);
  expect(found).toMatchObject({ standing: { state: "good" }, value: undefined, unreadable: "damaged" });
  const counts = await createTally(ben.replica).look(() => true);
  expect(counts.flaws).toMatchObject({ damaged: 1, "no-key": 0 });
});
