/** A device whose log was written twice goes on in others that the roster allows: its person's key once, then an admin (R2). */
import { expect, test } from "vitest";
import { idOf, type LogId } from "../../protocols/ids.ts";
import { isLogAllowed } from "../../protocols/membership.ts";
import { makeLogWord } from "../../protocols/roster-record.ts";
import { foldRoster } from "../../protocols/roster.ts";
import { act, admit, found, meshOf, someBytes, syncAll, type Person } from "./people.ts";

const log = idOf<"log">(someBytes(32));

function allow(by: Person, of: Person, logs: LogId[], signer: Person | null = by): void {
  const allowed = { device: of.machine.id, logs };
  const word = signer === null ? {} : { word: makeLogWord(signer.key, meshOf(by), allowed, someBytes(16)) };
  act(by, { type: "log-allowed", ...allowed, ...word });
}

function team(): { ben: Person; ana: Person; li: Person } {
  const ben = found("ben");
  const ana = admit(ben, "ana");
  const li = admit(ben, "li", "member", ana);
  syncAll(ben, ana, li);
  return { ben, ana, li };
}

test("a word for one's own device lets no other device's log count (R2) [log-allowed]", () => {
  const { ben, ana, li } = team();
  allow(li, li, [log]);
  const after = foldRoster(syncAll(ben, ana, li));
  expect(isLogAllowed(after, li.machine.id, log)).toBe(true);
  expect(isLogAllowed(after, ana.machine.id, log)).toBe(false);
  // … nor does it take away what the log's own device is allowed.
  allow(ana, ana, [log]);
  expect(isLogAllowed(foldRoster(syncAll(ana)), ana.machine.id, log)).toBe(true);
});

test("the person's key opens a device's logs once; the second time it takes an admin (R2) [log-allowed]", () => {
  const { ben, ana } = team();
  const [second, third] = [idOf<"log">(someBytes(32)), idOf<"log">(someBytes(32))];
  allow(ana, ana, [log]);
  allow(ana, ana, [second]);
  const once = foldRoster(syncAll(ana, ben));
  expect([log, second].map((one) => isLogAllowed(once, ana.machine.id, one))).toEqual([true, false]);
  allow(ben, ana, [second], null);
  allow(ana, ana, [third], null);
  const again = foldRoster(syncAll(ben, ana));
  expect([second, third].map((one) => isLogAllowed(again, ana.machine.id, one))).toEqual([true, false]);
});

test("somebody else's word allows nothing (R2) [log-allowed]", () => {
  const { ben, ana, li } = team();
  allow(li, ana, [log], li);
  expect(isLogAllowed(foldRoster(syncAll(li, ben)), ana.machine.id, log)).toBe(false);
});
