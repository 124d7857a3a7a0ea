/**
 * Who offers what: the cards of the mesh from three sources, each with a switch of its own (`discovery` in the config).
 *
 *   log    cards that arrived as events: a local look-up, works with the network down
 *   dht    providers of `agent:<name>` in the mesh's own DHT, then the card from the provider by /kin/card/1
 *   mdns   members found on this LAN are dialled and asked for their cards
 *
 * A card's `via` says how it was found. Every card is verified against the membership on each look-up, so a removed
 * member's cards are gone at once.
 */
import type { CID } from "multiformats/cid";
import { cardSlot, isAllowed, openCard, type Card, type OpenedCard } from "../../protocols/agent-card.ts";
import { answerCards, askCards, directoryCid, directoryKeys, type CardQuestion } from "../../protocols/directory.ts";
import type { Wire } from "../../protocols/effects.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import type { Sealed } from "../../protocols/signature.ts";

export type CardVia = "self" | "log" | "dht" | "mdns" | "direct";
export interface FoundCard extends OpenedCard {
  via: CardVia;
}

export interface DirectoryDeps {
  me: { person: PersonId; device: DeviceId };
  membership(): Membership;
  /** Cards of this device, sealed. */
  own(): Sealed[];
  /** Cards that came as events; empty when `discovery.log` is off. */
  logged(): Sealed[];
  dht: null | {
    provide(cid: CID, signal: AbortSignal): Promise<void>;
    findProviders(cid: CID, signal: AbortSignal): AsyncIterable<{ device: DeviceId }>;
  };
  /** Dials if needed. @throws KinError UNREACHABLE */
  open(device: DeviceId, signal: AbortSignal): Promise<Wire>;
  /** How this device was found, if mDNS or the DHT brought it. */
  foundBy(device: DeviceId): "mdns" | "dht" | undefined;
  /** False: nobody is there to keep provider records. */
  hasPeers(): boolean;
  after(delayMs: number, run: () => void): () => void;
  random(): number;
  warn(message: string): void;
}

/** Cards kept of peers that we asked ourselves; the oldest make room. */
const MAX_FETCHED = 8192;
/** One `provide` is about 46 RPCs: few at a time, spread out, again before the records' 24 h end. */
const PROVIDE_TIMEOUT_MS = 20_000;
const PROVIDE_SPREAD_MS = 2000;
const PROVIDE_AGAIN_MS = 12 * 3_600_000;
/** Providers asked for one look-up. */
const MAX_PROVIDERS = 8;

export interface Directory {
  /** Everything known without asking anybody; others' before mine, then by name. Newest of each slot. */
  list(): FoundCard[];
  /** Known cards of that name; if there is none and the DHT is on, asks it. Empty: nobody offers it. */
  find(kind: Card["kind"], name: string, signal: AbortSignal): Promise<FoundCard[]>;
  /** Asks a connected peer for all its cards and keeps them. */
  fetch(device: DeviceId, signal: AbortSignal): Promise<FoundCard[]>;
  /** Serves one question of `/kin/card/1`. */
  serve(person: PersonId, wire: Wire): Promise<void>;
  /** Provides the own cards' keys in the DHT, in the background. */
  publish(): void;
  stop(): void;
}

export function createDirectory(deps: DirectoryDeps): Directory {
  const fetched = new Map<string, { sealed: Sealed; via: CardVia }>();
  const stopped = new AbortController();
  let cancelPublish = (): void => {};

  function keep(sealed: Sealed, via: CardVia): FoundCard | undefined {
    const opened = open(sealed);
    if (opened === undefined) return undefined;
    const slot = cardSlot(opened.card);
    const old = fetched.get(slot);
    const oldAt = old === undefined ? -1 : (open(old.sealed)?.card.issuedAt ?? -1);
    if (oldAt > opened.card.issuedAt) return undefined;
    fetched.delete(slot);
    fetched.set(slot, { sealed, via: oldAt === opened.card.issuedAt ? old!.via : via });
    if (fetched.size > MAX_FETCHED) fetched.delete(fetched.keys().next().value!);
    return { ...opened, via: fetched.get(slot)!.via };
  }

  /** Undefined: not a good card of a living member. One bad card does not hide the others. */
  function open(sealed: Sealed): OpenedCard | undefined {
    try {
      return openCard(sealed, deps.membership());
    } catch {
      return undefined;
    }
  }

  function list(): FoundCard[] {
    const bySlot = new Map<string, FoundCard>();
    const sources: { sealed: Sealed; via: CardVia }[] = [
      ...deps.own().map((sealed) => ({ sealed, via: "self" as const })),
      ...deps.logged().map((sealed) => ({ sealed, via: "log" as const })),
      ...fetched.values(),
    ];
    for (const { sealed, via } of sources) {
      const opened = open(sealed);
      if (opened === undefined) continue;
      const { card } = opened;
      const slot = cardSlot(card);
      if ((bySlot.get(slot)?.card.issuedAt ?? -1) >= card.issuedAt) continue;
      bySlot.set(slot, { ...opened, via: card.device === deps.me.device ? "self" : via });
    }
    return [...bySlot.values()].filter(({ card }) => !card.ended).sort(byReader(deps.me.device));
  }

  async function ask(
    device: DeviceId,
    question: CardQuestion,
    via: CardVia,
    signal: AbortSignal,
  ): Promise<FoundCard[]> {
    const wire = await deps.open(device, signal);
    const cards = await askCards(wire, question);
    return cards.map((sealed) => keep(sealed, via)).filter((card) => card !== undefined);
  }

  async function find(kind: Card["kind"], name: string, signal: AbortSignal): Promise<FoundCard[]> {
    const known = list().filter(({ card }) => card.kind === kind && card.name === name);
    if (known.length > 0 || deps.dht === null) return known;
    const found: FoundCard[] = [];
    let asked = 0;
    for await (const { device } of deps.dht.findProviders(directoryCid(`${kind}:${name}`), signal)) {
      if (device === deps.me.device || !deps.membership().devices.has(device)) continue;
      try {
        found.push(...(await ask(device, { q: "name", kind, name }, "dht", signal)));
      } catch (error) {
        deps.warn(`card ${kind}:${name} from ${device.slice(0, 8)}: ${(error as Error).message}`);
      }
      if (++asked >= MAX_PROVIDERS) break;
    }
    return found.filter(({ card }) => card.kind === kind && card.name === name && !card.ended);
  }

  function publish(): void {
    cancelPublish();
    if (deps.dht === null || !deps.hasPeers()) return;
    const dht = deps.dht;
    const keys = new Set(
      deps.own().flatMap((sealed) => {
        const opened = open(sealed);
        return opened === undefined || opened.card.ended ? [] : directoryKeys(opened.card);
      }),
    );
    const waiting = [...keys];
    const next = (): void => {
      const key = waiting.shift();
      if (key === undefined) {
        cancelPublish = deps.after(PROVIDE_AGAIN_MS * (0.75 + deps.random() / 2), publish);
        return;
      }
      const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(PROVIDE_TIMEOUT_MS)]);
      dht
        .provide(directoryCid(key), signal)
        .catch((error: unknown) => {
          if (!stopped.signal.aborted) deps.warn(`could not provide ${key} in the DHT: ${(error as Error).message}`);
        })
        .finally(() => {
          if (!stopped.signal.aborted)
            cancelPublish = deps.after(
              waiting.length === 0 ? 0 : (deps.random() * PROVIDE_SPREAD_MS) / keys.size,
              next,
            );
        });
    };
    cancelPublish = deps.after(0, next);
  }

  return {
    list,
    find,
    fetch: (device, signal) => ask(device, { q: "all" }, deps.foundBy(device) ?? "direct", signal),
    serve: (person, wire) =>
      answerCards(
        wire,
        () =>
          deps
            .own()
            .map(open)
            .filter(
              (opened) => opened !== undefined && (opened.card.ended || isAllowed(opened.card.allowed, person)),
            ) as OpenedCard[],
      ),
    publish,
    stop: () => {
      stopped.abort();
      cancelPublish();
    },
  };
}

function byReader(me: DeviceId): (a: FoundCard, b: FoundCard) => number {
  const mine = ({ card }: FoundCard): number => (card.device === me ? 1 : 0);
  return (a, b) =>
    mine(a) - mine(b) || a.card.name.localeCompare(b.card.name) || (a.card.device < b.card.device ? -1 : 1);
}
