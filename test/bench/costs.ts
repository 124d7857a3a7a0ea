/**
 * What parts of a call cost by themselves, as CPU of the process (all threads): the parts that a kin call has and a bare libp2p
 * call has not. Each is the code that a call runs, on a real node with its log on libSQL. What n calls in flight share (one
 * signature, one commit) is shared here too. A call has each of them once, but two `envelope` and two batches `verify`: one a side.
 */
import { createAuditWriter, argumentsHash, auditEntry, type AuditStarted } from "../../node/guard/audit.ts";
import { authorize } from "../../node/guard/authorize.ts";
import { needMesh } from "../../node/gateway/mesh.ts";
import { createRegistry } from "../../node/tools/registry.ts";
import type { Asker } from "../../node/guard/authorize.ts";
import { encodeEnvelope, openEnvelope, type Envelope } from "../../protocols/envelope.ts";
import { idBytes, type PersonId } from "../../protocols/ids.ts";
import { sealAll, type Sealed } from "../../protocols/signature.ts";
import { systemRandom, systemTime } from "../../node/system.ts";
import { echoTool } from "./calls/echo-tool.ts";
import { makeHome, removeHome, startNode, type BenchNode } from "./kin-node.ts";
import type { Bench, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";
import { usage } from "./usage.ts";

const IN_FLIGHT = [1, 16, 64];
const BYTES = 1024;
const FULL = { rounds: 5, roundMs: 400 };
const QUICK = { rounds: 1, roundMs: 20 };

/** Runs its part once for each of `count` calls in flight. */
type Part = (count: number) => void | Promise<void>;

export const costsBench: Bench = {
  title: `costs: CPU of one process a call, all threads, ${BYTES} bytes; medians of ${FULL.rounds} rounds`,
  columns: { name: "part", inFlight: "in flight", cpuUs: "CPU µs a call" },
  async measure(options) {
    const { rounds, roundMs } = options.quick ? QUICK : FULL;
    const home = makeHome("ben");
    const bench = await startNode(home);
    try {
      const parts = await makeParts(bench);
      const names = Object.keys(parts).filter((name) => options.only.length === 0 || options.only.includes(name));
      const seen = new Map<string, number[]>();
      for (let round = 0; round <= rounds; round++)
        for (const name of names)
          for (const count of IN_FLIGHT) {
            const cpuUs = await measurePart(parts[name]!, count, roundMs);
            // The first round warms up.
            if (round > 0) seen.set(`${name} ${count}`, [...(seen.get(`${name} ${count}`) ?? []), cpuUs]);
          }
      return names.flatMap((name) =>
        IN_FLIGHT.map((count): Row => {
          const cpuUs = rounded(median(seen.get(`${name} ${count}`)!), 1);
          return { name, inFlight: count, cpuUs };
        }),
      );
    } finally {
      await bench.stop();
      removeHome(home);
    }
  },
};

async function measurePart(part: Part, count: number, roundMs: number): Promise<number> {
  const before = usage();
  let calls = 0;
  do {
    await part(count);
    calls += count;
  } while (performance.now() - before.atMs < roundMs);
  return ((usage().cpuMs - before.cpuMs) * 1000) / calls;
}

async function makeParts({ node }: BenchNode): Promise<{ [name: string]: Part }> {
  await node.found("bench", "ben", "bench");
  const mesh = needMesh(node);
  const key = node.keystore.device;
  const tools = createRegistry();
  tools.add(echoTool(true));
  const tool = tools.find(echoTool(true).name)!;
  const asker: Asker = { person: mesh.me.person, me: false, through: null };
  const args = { text: "x".repeat(BYTES) };
  const envelope = (): Uint8Array => encodeEnvelope(envelopeOf(mesh.id, mesh.me, args.text));
  const seal = (messages: Uint8Array[]): Sealed[] => {
    const seals = sealAll(
      key,
      messages.map((bytes) => ({ kind: "envelope/device" as const, bytes })),
    );
    return messages.map((bytes, i) => ({ bytes, seal: seals[i]! }));
  };
  const audit = createAuditWriter((records) => mesh.replica.append([auditEntry(records)]), systemTime);
  return {
    envelope: (count) => {
      for (let i = 0; i < count; i++) envelope();
    },
    "envelope+sign": (count) => void seal(Array.from({ length: count }, envelope)),
    "envelope+sign+verify": (count) => {
      for (const one of seal(Array.from({ length: count }, envelope))) openEnvelope(one, () => true);
    },
    authorize: (count) => {
      for (let i = 0; i < count; i++) {
        const { person, device } = mesh.me;
        if (mesh.replica.membership().devices.get(device)?.member.person !== person) throw new Error("no member");
        if (!authorize(asker, tool.right, undefined, []).allowed) throw new Error("not allowed");
        tool.validate(args);
      }
    },
    audit: async (count) => {
      const written = Array.from({ length: count }, () => {
        const record = startedRecord(mesh.me, argumentsHash(args));
        const { share: _share, arguments: _arguments, ...rest } = record;
        return [audit.record(record, "soon"), audit.record({ ...rest, event: "ended", outcome: "ok", ms: 0 }, "soon")];
      });
      await Promise.all(written.flat());
    },
  };
}

function envelopeOf(
  mesh: Envelope["mesh"],
  me: { person: PersonId; device: Envelope["from"]["device"] },
  text: string,
) {
  const now = systemTime.now();
  const from = { ...me, agent: null };
  const body = {
    target: { tool: "bench.echo" },
    args: JSON.stringify({ text }),
    chain: [[idBytes(me.person), idBytes(me.device), null]],
  };
  const id = systemRandom.bytes(16);
  const hlc = systemRandom.bytes(8);
  return {
    mesh,
    from,
    to: { ...me, agent: "bench.echo" },
    kind: "invoke/request",
    id,
    boot: id,
    iat: now,
    exp: now + 60_000,
    hlc,
    caps: [],
    body,
  } satisfies Envelope;
}

function startedRecord(me: { person: PersonId; device: string }, argumentsHash: string): AuditStarted {
  return {
    event: "started",
    at: systemTime.now(),
    call: me.person,
    caller: { ...me, agent: null },
    target: "tools/bench.echo",
    through: null,
    share: null,
    arguments: argumentsHash,
  };
}
