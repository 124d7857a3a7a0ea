/** What of a log that was written twice counts (R2), by itself: events by hand, whatever a device may write. */
import { expect, test } from "vitest";
import type { StoredEvent } from "../../protocols/events.ts";
import type { DeviceId, EventId, LogId } from "../../protocols/ids.ts";
import { allowedLog, type Membership } from "../../protocols/membership.ts";
import { createWitness } from "../../sync/witness.ts";

interface Named {
  log: LogId;
  seq: number;
  deps: EventId[];
}

const li = "li" as DeviceId;
const ana = "ana" as DeviceId;
const [old, fresh, anas] = ["li 1", "li 2", "ana 1"] as [LogId, LogId, LogId];
const idAt = (log: LogId, seq: number): EventId => `${log}/${seq}` as EventId;

/** Li's first log was written twice after 2 and is here up to 5; her second is allowed. */
function witnessOf() {
  const openings = new Map([
    [old, li],
    [fresh, li],
    [anas, ana],
  ]);
  const events = new Map<EventId, Named>();
  for (let seq = 0; seq <= 5; seq++) events.set(idAt(old, seq), { log: old, seq, deps: [] });
  const ground = {
    store: { event: async (id: EventId) => asStored(id), since: async () => [] },
    logs: new Map([...openings].map(([log, device]) => [log, { opening: { device, chain: "mesh" } }])),
    forks: new Map([[old, { opening: { device: li }, a: { head: { seq: 3 } } }]]),
  };
  const branches = { has: () => false, place: () => undefined, idsOf: () => [] };
  const membership = { allowedLogs: new Set([allowedLog(li, fresh)]) };
  const asStored = (id: EventId): StoredEvent | undefined => {
    const header = events.get(id);
    return header && ({ id, header } as unknown as StoredEvent);
  };
  return {
    witness: createWitness(ground as never, branches as never, () => membership as unknown as Membership),
    write(log: LogId, seq: number, ...deps: EventId[]): StoredEvent {
      events.set(idAt(log, seq), { log, seq, deps });
      return asStored(idAt(log, seq))!;
    },
  };
}

test("R2: what only the device itself names, in a log of hers that counts, has no witness until another builds on that [fork-witness]", async () => {
  const { witness, write } = witnessOf();
  await witness.lookAgain();
  const counts = (): boolean[] => [2, 3, 4, 5].map((seq) => witness.stands(old, seq, idAt(old, seq)));
  expect(counts()).toEqual([true, false, false, false]);
  await witness.look([write(fresh, 1, idAt(old, 4))]);
  expect(counts()).toEqual([true, false, false, false]);
  expect(witness.stands(fresh, 1, idAt(fresh, 1))).toBe(true);
  expect(await witness.look([write(anas, 1, idAt(fresh, 1))])).toContain(old);
  expect(counts()).toEqual([true, true, true, false]);
});
