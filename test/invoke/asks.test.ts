/** What is said of asks that have not come yet waits for them: of each device so much, whatever others say. */
import { expect, test } from "vitest";
import { equal } from "../../protocols/bytes.ts";
import { idBytes, type EnvelopeId } from "../../protocols/ids.ts";
import { courseOf } from "../../sync/asks.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import { bytesOf } from "../sync/chains.ts";
import { allEvents, benAndAna } from "../sync/mesh.ts";
import { ask, asksOf, startActor } from "./durable-scene.ts";

/** As `sync/asks.ts` has it. */
const MAX_EARLY_PER_DEVICE = 256;

test("of what a device says about asks that have not come, its newest 256 words wait; what another device says stays", async () => {
  const { ben, ana } = await benAndAna();
  const anas = await startActor(ana);
  const first = await ask(anas, ben);
  const second = await ask(anas, ben);
  await anas.outbox.drop(first);
  await anas.outbox.drop(second);
  const events = await allEvents(ana);
  await anas.stop();
  const about = (kind: string, id: EnvelopeId): ReadableEvent =>
    events.find(({ kind: other, value }) => {
      const { re } = value as { re?: Uint8Array };
      return other === kind && re !== undefined && equal(re, idBytes(id));
    })!;
  const asked = events.filter(({ kind }) => kind === "invocation-asked");
  const withdrawn = about("invocation-withdrawn", first);
  const { person } = ben.replica.membership().devices.get(ben.replica.device)!.member;
  const declined: ReadableEvent = {
    ...withdrawn,
    kind: "invocation-declined",
    device: ben.replica.device,
    person,
    value: { re: idBytes(first), code: "NOT_FOUND", message: "it is not offered here" },
  };

  const asks = asksOf(anas);
  for (const event of [declined, withdrawn, about("invocation-withdrawn", second)]) asks.fold(event);
  // As many as leave room for one of the two withdrawals: the older one goes.
  for (let i = 1; i < MAX_EARLY_PER_DEVICE; i++)
    asks.fold({ ...withdrawn, value: { re: bytesOf(`never asked ${i}`) } });
  for (const event of asked) asks.fold(event);
  expect(asks.asked.get(first)).toMatchObject({ isWithdrawn: false });
  expect(asks.asked.get(second)).toMatchObject({ isWithdrawn: true });
  expect(courseOf(asks.asked.get(first)!)).toMatchObject({ state: "ended", device: ben.replica.device });
});
