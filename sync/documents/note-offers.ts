/**
 * What was said of a note: its opening, and what shares it. All members see the id of a private note, so any of them can write a
 * `note-shared` of it with a key that he made up. A note has one key: what says another one does not count.
 */
import { compareBytes, equal } from "../../protocols/bytes.ts";
import type { NoteForm, NotePrivacy } from "../../protocols/document.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";

export interface Offer {
  title: string;
  form: NoteForm;
  privacy: NotePrivacy | null;
  /** The opening is worth more than what somebody who shared it says. */
  isOpening: boolean;
  device: DeviceId;
  /** null: a snapshot says it. */
  person: PersonId | null;
  at: number;
  hlc: Uint8Array;
}

export interface Offers {
  /** By stamp. */
  offers: Offer[];
  /** Who opened the note; null: not known yet. Its opening need not be for this device. */
  opener: PersonId | null;
}

/** The opening if it can be read; else the first share by who opened it; else the first share, which may be made up. */
export function best({ offers, opener }: Offers): Offer | undefined {
  return offers.find(({ isOpening }) => isOpening) ?? offers.find(({ person }) => isBy(person, opener)) ?? offers[0];
}

/** Whether it says the note's key for sure. */
export function isCertain({ opener }: Offers, { isOpening, person }: Offer): boolean {
  return isOpening || isBy(person, opener);
}

function isBy(person: PersonId | null, opener: PersonId | null): boolean {
  return person !== null && person === opener;
}

/** Those that say the note's key. */
export function counting(said: Offers): Offer[] {
  const first = best(said);
  return first === undefined ? [] : said.offers.filter((one) => hasSameKey(one, first));
}

function hasSameKey({ privacy: a }: Offer, { privacy: b }: Offer): boolean {
  return a === null || b === null ? a === b : equal(a.key, b.key);
}

/** True: edits that were decided before are decided again. */
export function add(said: Offers, offer: Offer): boolean {
  return changes(said, () => {
    said.offers.push(offer);
    said.offers.sort((a, b) => compareBytes(a.hlc, b.hlc));
  });
}

/** As {@link add}. */
export function openedBy(said: Offers, person: PersonId): boolean {
  return changes(said, () => (said.opener = person));
}

function changes(said: Offers, change: () => void): boolean {
  const [before, wasCertain] = lookAt(said);
  change();
  const [now, certain] = lookAt(said);
  if (before === undefined || now === undefined) return false;
  // What the note's key for sure does not open waits no longer.
  return before.form !== now.form || !hasSameKey(before, now) || wasCertain !== certain;
}

function lookAt(said: Offers): [Offer | undefined, isCertain: boolean] {
  const first = best(said);
  return [first, first !== undefined && isCertain(said, first)];
}
