/** What people do with their nodes, at random moments: notes, documents and boards, durable calls, live calls, now and then a new epoch. */
import { KinError } from "../protocols/errors.ts";
import { requestBody } from "../protocols/invoke-bodies.ts";
import { sealEnvelope } from "../protocols/invoke-deps.ts";
import type { CallRequest } from "../protocols/invoke.ts";
import { openEpoch } from "../sync/acts.ts";
import { createEditing, isEditingAct } from "./editing.ts";
import { EFFECT_TOOL, type Machine, type Process } from "./machine.ts";
import { upOnes, type Team } from "./team.ts";
import { onceOf } from "./witness.ts";

/** How likely each act is; weights, not chances. */
export interface WorkMix {
  note: number;
  /** An event for one other device only. */
  letter: number;
  ask: number;
  /** A second request under the key of an earlier one. */
  askAgain: number;
  withdraw: number;
  call: number;
  epoch: number;
  /** What stays on the machine: the `here` chain. */
  here: number;
  fact: number;
  /** A shared or a private note, which more people edit. */
  open: number;
  edit: number;
  share: number;
  setting: number;
  /** Another board, or columns for one. */
  board: number;
  /** Something is done to a card. */
  card: number;
  /** Another card of its tool. */
  offer: number;
  snapshot: number;
  prune: number;
}

const USUAL: WorkMix = {
  note: 7,
  letter: 2,
  ask: 2,
  askAgain: 1,
  withdraw: 0.3,
  call: 1,
  epoch: 0.2,
  here: 1,
  fact: 2.5,
  open: 0.6,
  edit: 3,
  share: 0.3,
  setting: 0.4,
  board: 0.3,
  card: 6,
  offer: 0.3,
  snapshot: 0.3,
  prune: 0.3,
};

export interface Work {
  /** From now on for so long, about one act every `everyMs`, of `who` towards `whom`. Who is down does nothing. */
  go(forMs: number, everyMs: number, mix?: Partial<WorkMix>, who?: readonly Machine[], whom?: readonly Machine[]): void;
  note(machine: Machine, text?: string): Promise<void>;
  ask(from: Machine, to: Machine, key?: Uint8Array, lifeMs?: number): Promise<void>;
}

/** A durable request lives so long: longer than any scenario's absence. */
const ASK_LIFE_MS = 20 * 86_400_000;
const NOTE_BYTES = [4, 600] as const;
const CALL_DEADLINE_MS = 30_000;

export function createWork(team: Team): Work {
  const { world, witness } = team;
  const dice = world.dice("work");
  const editing = createEditing(team, world.dice("editing"));
  let notes = 0;
  const keysUsed: { from: Machine; to: Machine; key: Uint8Array }[] = [];

  function go(
    forMs: number,
    everyMs: number,
    mix: Partial<WorkMix> = {},
    who: readonly Machine[] = team.machines,
    whom: readonly Machine[] = team.machines,
  ): void {
    const weights: [string, number][] = Object.entries({ ...USUAL, ...mix });
    const until = world.now() + forMs;
    const next = (): void => {
      const wait = -Math.log(1 - dice.next()) * everyMs;
      if (world.now() + wait > until) return;
      world.after(wait, "work", () => {
        next();
        const able = upOnes(team).filter((machine) => who.includes(machine));
        if (able.length > 0 && !team.isHealing) attempt(draw(weights), dice.pick(able), whom);
      });
    };
    next();
  }

  function draw(weights: readonly [string, number][]): string {
    let left = dice.next() * weights.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of weights) if ((left -= weight) < 0) return name;
    return weights[0]![0];
  }

  /** Refusals are answers; what else is thrown is a fault of the code under test. */
  function attempt(what: string, machine: Machine, whom: readonly Machine[]): void {
    const others = team.living().filter((other) => other !== machine && whom.includes(other));
    act(what, machine, others).catch((error: unknown) => {
      if (!(error instanceof KinError))
        return world.violate(`${what} of ${machine.name} threw ${String((error as Error).stack)}`);
      world.count(`${what} refused with ${error.code}`);
    });
  }

  async function act(what: string, machine: Machine, others: Machine[]): Promise<void> {
    if (isEditingAct(what)) return editing.act(what, machine);
    const process = machine.process!;
    switch (what) {
      case "note":
        return note(machine);
      case "here":
        return append(machine, process, { kind: "audit-started", audience: "here", value: { n: notes++ } });
      case "letter": {
        if (others.length === 0) return;
        const to = dice.pick(others).device;
        return append(machine, process, { kind: "letter", audience: "direct", value: `letter ${notes++}`, to: [to] });
      }
      case "ask":
        return others.length === 0 ? undefined : ask(machine, dice.pick(others));
      case "askAgain": {
        const mine = keysUsed.filter(({ from }) => from === machine);
        if (mine.length === 0) return;
        const { to, key } = dice.pick(mine);
        return ask(machine, to, key);
      }
      case "withdraw":
        return withdraw(machine, process);
      case "call":
        return others.length === 0 ? undefined : call(machine, process, dice.pick(others));
      case "epoch":
        world.count("epochs opened");
        await openEpoch(process.replica);
        return;
      default:
        throw new Error(`no such act: ${what}`);
    }
  }

  async function append(
    machine: Machine,
    process: Process,
    entry: Parameters<Process["replica"]["append"]>[0][number],
  ): Promise<void> {
    const done = await process.replica.append([entry]);
    witness.acknowledge(machine.name, done);
  }

  async function note(machine: Machine, text?: string): Promise<void> {
    const padding = text ?? "x".repeat(dice.int(...NOTE_BYTES));
    const value = `${machine.name} ${notes++} ${padding}`;
    world.count("notes");
    await append(machine, machine.process!, { kind: "note", audience: "mesh", value });
  }

  function requestOf(process: Process, key: Uint8Array): CallRequest {
    return {
      target: { tool: EFFECT_TOOL },
      parts: [],
      arguments: {},
      key,
      deadlineMs: CALL_DEADLINE_MS,
      budget: { depth: 4 },
      chain: [{ ...process.invoke.self, agent: null }],
    };
  }

  async function ask(from: Machine, to: Machine, key = dice.bytes(16), lifeMs = ASK_LIFE_MS): Promise<void> {
    const process = from.process!;
    const { invoke, outbox, replica } = process;
    const person = replica.membership().devices.get(to.device)?.member.person;
    if (person === undefined) return;
    const body = requestBody(requestOf(process, key));
    const envelope = { to: { person, device: to.device, agent: EFFECT_TOOL }, kind: "invoke/request" as const, body };
    const sealing = sealEnvelope(invoke, null, envelope, lifeMs);
    const id = await outbox.ask(await sealing.sealed, "simulated");
    const once = onceOf(invoke.self.person, key);
    world.count("asks");
    keysUsed.push({ from, to, key });
    const expiresAt = sealing.iat + lifeMs;
    witness.asked.push({ id, once, caller: from.name, callee: to.name, expiresAt, withdrawn: false });
    const events = await outbox.answer(id, new AbortController().signal);
    const end = events?.at(-1);
    if (end === undefined) return; // the process ends
    world.count(`asks ended with ${end.type === "failure" ? end.error.code : end.type}`);
    witness.ended(once, end);
  }

  async function withdraw(machine: Machine, { outbox }: Process): Promise<void> {
    const [first] = outbox.waiting();
    if (first === undefined) return;
    await outbox.drop(first.id);
    for (const asked of witness.asked) if (asked.id === first.id) asked.withdrawn = true;
    world.count(`withdrawals`);
    world.note(`${machine.name} withdrew`);
  }

  async function call(from: Machine, process: Process, to: Machine): Promise<void> {
    const { invoke, replica, calls } = process;
    const person = replica.membership().devices.get(to.device)?.member.person;
    if (person === undefined) return;
    const key = dice.bytes(16);
    const once = onceOf(invoke.self.person, key);
    world.count("calls");
    const outgoing = {
      from: { ...invoke.self, agent: null },
      to: { person, device: to.device },
      request: requestOf(process, key),
    };
    for await (const event of calls.invoke(outgoing, new AbortController().signal)) {
      if (event.type !== "result" && event.type !== "failure") continue;
      world.count(`calls ended with ${event.type === "failure" ? event.error.code : event.type}`);
      witness.ended(once, event);
    }
    world.note(`call of ${from.name} ended`);
  }

  return { go, note, ask };
}
