/**
 * `/kin/card/1`: what do you offer? Members only.
 *
 *   asker                                     asked
 *   { q: "all" }                        →
 *   { q: "name", kind, name }           →
 *   { q: "hash", hash }                 →     hash = SHA-256 of a card's bytes
 *                                       ←     { cards: [sealed…], more: bool }*   the last has more = false
 *
 * One question a stream; the asked closes it. A card says itself whether the asker may use it, so the answer holds only those
 * that he may ask, and his own question can be answered from what travelled here as events, for third devices too.
 *
 * In the DHT a device provides CIDv1(raw, SHA-256("kin/directory/1 " + key)) for keys `agent:<name>`, `tool:<name>`,
 * `skill:<tag>`: whoever looks one up finds devices, dials one and asks for the card here.
 */
import { CID } from "multiformats/cid";
import { create as multihash } from "multiformats/hashes/digest";
import { sha256 } from "#crypto";
import { decode, encode, equal, utf8Bytes } from "./bytes.ts";
import type { Card } from "./agent-card.ts";
import type { Wire } from "./effects.ts";
import { KinError } from "./errors.ts";
import { asMap, parseSealed, sealedValue, type Sealed } from "./signature.ts";

export const CARD_PROTOCOL = "/kin/card/1";

export type CardQuestion =
  | { q: "all" }
  | { q: "name"; kind: Card["kind"]; name: string }
  | { q: "hash"; hash: Uint8Array };

/** Cards in one frame: 64 of at most 40 KiB could pass a frame's limit, so frames are cut by bytes too. */
const CARDS_PER_FRAME = 64;
const FRAME_BYTES = 512 * 1024;
/** What an asker takes from one peer: a peer with more tools than this does not get to fill our memory. */
const MAX_CARDS = 2048;
const RAW = 0x55;
const SHA2_256 = 0x12;

export function directoryKeys(card: Card): string[] {
  const keys = [`${card.kind}:${card.name}`];
  if (card.kind === "agent") for (const skill of card.skills) keys.push(`skill:${skill}`);
  return keys;
}

export function directoryCid(key: string): CID {
  return CID.createV1(RAW, multihash(SHA2_256, sha256(utf8Bytes(`kin/directory/1 ${key}`))));
}

/** Asks one peer. The cards are not verified yet. @throws KinError BAD_REQUEST, TOO_LARGE, and what breaks the wire */
export async function askCards(wire: Wire, question: CardQuestion): Promise<Sealed[]> {
  await wire.send(encode(question));
  const cards: Sealed[] = [];
  for await (const frame of wire.frames()) {
    const map = asMap(decode(frame), "an answer with cards");
    if (!Array.isArray(map["cards"]) || typeof map["more"] !== "boolean")
      throw new KinError("BAD_REQUEST", "an answer with cards is {cards: [sealed…], more}");
    for (const value of map["cards"]) cards.push(parseSealed(value));
    if (cards.length > MAX_CARDS) throw new KinError("TOO_LARGE", `more than ${MAX_CARDS} cards from one peer`);
    if (!map["more"]) break;
  }
  await wire.close();
  return cards;
}

/** Answers one question out of `cards`, which the caller has cut to what the asker may see. */
export async function answerCards(wire: Wire, cards: () => { card: Card; sealed: Sealed }[]): Promise<void> {
  for await (const frame of wire.frames()) {
    const question = parseQuestion(frame);
    const found = cards()
      .filter(({ card, sealed }) => matches(question, card, sealed))
      .map(({ sealed }) => sealedValue(sealed));
    const frames = cut(found);
    for (const [i, part] of frames.entries()) await wire.send(encode({ cards: part, more: i < frames.length - 1 }));
    break;
  }
  await wire.close();
}

function cut(values: { b: Uint8Array }[]): { b: Uint8Array }[][] {
  const frames: { b: Uint8Array }[][] = [[]];
  let bytes = 0;
  for (const value of values) {
    const size = value.b.length + 4096;
    if (frames.at(-1)!.length >= CARDS_PER_FRAME || bytes + size > FRAME_BYTES) {
      frames.push([]);
      bytes = 0;
    }
    frames.at(-1)!.push(value);
    bytes += size;
  }
  return frames;
}

function parseQuestion(frame: Uint8Array): CardQuestion {
  const { q, kind, name, hash } = asMap(decode(frame), "a question for cards");
  if (q === "all") return { q };
  if (q === "name" && (kind === "agent" || kind === "tool") && typeof name === "string") return { q, kind, name };
  if (q === "hash" && hash instanceof Uint8Array && hash.length === 32) return { q, hash };
  throw new KinError("BAD_REQUEST", 'a question for cards is {q: "all"}, {q: "name", kind, name} or {q: "hash", hash}');
}

function matches(question: CardQuestion, card: Card, sealed: Sealed): boolean {
  switch (question.q) {
    case "all":
      return true;
    case "name":
      return card.kind === question.kind && card.name === question.name;
    case "hash":
      return equal(sha256(sealed.bytes), question.hash);
  }
}
