/**
 * Tells the mesh what this device offers: keys of its agents and cards, as events when something changed and in the DHT.
 * Nobody asked for these events, so they wait until a peer was heard: before that there is nobody to read them.
 * Cards of what is only mine are sealed too, for my own listing, and told to nobody.
 */
import type { LocalCard } from "./advertise.ts";
import { changedCards } from "./advertise.ts";
import { makeAgentKey, type AgentKeyRecord } from "../../protocols/agent-key.ts";
import { cardSlot, parseCard } from "../../protocols/agent-card.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { Random, Time } from "../../protocols/effects.ts";
import { idOf, type AgentKey, type DeviceId, type PersonId } from "../../protocols/ids.ts";
import { sealedValue, type Sealed } from "../../protocols/signature.ts";
import { createQueue } from "../../sync/ground.ts";
import type { NewEntry, Replica } from "../../sync/replica.ts";
import type { LogCards } from "./log-cards.ts";

export interface OwnCardsDeps {
  me: { person: PersonId; device: DeviceId };
  deviceKey: SigningKey;
  replica: Pick<Replica, "mesh" | "append" | "stamp" | "membership">;
  logCards: LogCards;
  /** False: cards are not told as events (`discovery.log`). */
  log: boolean;
  /** False: nobody has told since our start how far our log goes. If this store is an old copy, what is written now forks it (R2). */
  hasHeard(): boolean;
  agentKey(agent: string): { key: SigningKey; generation: number };
  /** Deletes the private key of an agent that is gone. */
  endAgent(agent: string): void;
  /** What others may know, and what is only mine. */
  offered(): { shared: LocalCard[]; mine: LocalCard[] };
  time: Time;
  random: Random;
}

export interface OwnCards {
  /** Shared ones and mine, sealed. */
  all(): Sealed[];
  keyRecords(): Sealed[];
  /** Issues what changed, and tells what is untold. One refresh at a time; one that is asked for meanwhile runs after. */
  refresh(): Promise<void>;
}

export function createOwnCards(deps: OwnCardsDeps): OwnCards {
  const { me, replica, logCards } = deps;
  const shared = new Map<string, Sealed>(
    logCards.cardsOf(me.device).map((sealed) => [cardSlot(parseCard(sealed.bytes)), sealed]),
  );
  /** What of it the log has. */
  const told = new Map(shared);
  /** Keys are bound when they are made; others who connect learn them from our hello. */
  const untoldKeys: AgentKeyRecord[] = [];
  let mine: Sealed[] = [];
  const inTurn = createQueue();

  const advertiser = {
    mesh: replica.mesh,
    ...me,
    deviceKey: deps.deviceKey,
    now: () => deps.time.now(),
    agentKey: (agent: string) => {
      const { key, generation } = deps.agentKey(agent);
      return { key: idOf<"agent-key">(key.publicKey), generation };
    },
  };

  async function refresh(): Promise<void> {
    const offered = deps.offered();
    const everything = [...offered.shared, ...offered.mine].filter((card) => card.kind === "agent");
    untoldKeys.push(...newKeys(everything), ...endedKeys(everything));
    for (const sealed of changedCards([...shared.values()], offered.shared, advertiser))
      shared.set(cardSlot(parseCard(sealed.bytes)), sealed);
    const known = new Set(offered.shared.map((card) => `${card.kind}/${card.name}`));
    mine = changedCards(
      [],
      offered.mine.filter((card) => !known.has(`${card.kind}/${card.name}`)),
      advertiser,
    );
    await tell();
  }

  async function tell(): Promise<void> {
    if (!deps.hasHeard() || !replica.membership().devices.has(me.device)) return;
    const keys = [...untoldKeys];
    const cards = deps.log ? [...shared].filter(([slot, sealed]) => told.get(slot) !== sealed) : [];
    if (keys.length + cards.length === 0) return;
    await replica.append([
      ...keys.map(({ sealed }) => ({ ...entryOf("agent-key", sealed), clear: true })),
      ...cards.map(([, sealed]) => entryOf("card", sealed)),
    ]);
    untoldKeys.splice(0, keys.length);
    for (const [slot, sealed] of cards) told.set(slot, sealed);
  }

  /** An end record for each agent of ours that is gone, so that its key speaks no more (R17). */
  function endedKeys(cards: LocalCard[]): AgentKeyRecord[] {
    const agents = new Set(cards.map((card) => card.name));
    const names = new Set(logCards.keys.ofDevice(me.device).map((record) => record.agent));
    return [...names].flatMap((agent) => {
      const current = logCards.keys.current(me.device, agent);
      if (agents.has(agent) || current === undefined) return [];
      deps.endAgent(agent);
      return [keyRecord(agent, null, current.generation)];
    });
  }

  function keyRecord(agent: string, key: AgentKey | null, generation: number): AgentKeyRecord {
    const fields = {
      mesh: replica.mesh,
      person: me.person,
      agent,
      key,
      generation,
      hlc: replica.stamp(),
      n: deps.random.bytes(16),
    };
    const record = makeAgentKey(deps.deviceKey, fields);
    logCards.keys.bind(record.sealed);
    return record;
  }

  /** A key record for each agent whose current key is not bound yet (F3). */
  function newKeys(cards: LocalCard[]): AgentKeyRecord[] {
    const agents = new Set(cards.map((card) => card.name));
    return [...agents].flatMap((agent) => {
      const { key, generation } = deps.agentKey(agent);
      const id = idOf<"agent-key">(key.publicKey);
      if (logCards.keys.current(me.device, agent)?.key === id) return [];
      return [keyRecord(agent, id, generation)];
    });
  }

  return {
    all: () => [...shared.values(), ...mine],
    keyRecords: () => logCards.keys.ofDevice(me.device).map((record) => record.sealed),
    refresh: () => inTurn(refresh),
  };
}

function entryOf(kind: "agent-key" | "card", sealed: Sealed): NewEntry {
  return { kind, audience: "mesh", value: sealedValue(sealed) as NewEntry["value"] };
}
