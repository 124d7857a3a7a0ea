/**
 * The part of an export's check that is about the exporter's own actions (docs/protocol.md §26, 9): his `here` chains against the
 * heads of them that his mesh chains carry (R9). Others hold those, so nobody shortens or rewrites what was witnessed unseen.
 */
import type { Value } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import { parseSignedHead, verifyHead, type StoredEvent } from "../protocols/events.ts";
import type { LogRange } from "../protocols/export.ts";
import { idBytes, type DeviceId, type EventId, type LogId } from "../protocols/ids.ts";
import { asMap } from "../protocols/signature.ts";

/** What is said of one log: the id at each seq. */
type Heads = Map<number, EventId>;

export function createAudits() {
  /** Heads by who says them and of which log: only its own device's word of a log counts. */
  const witnessed = new Map<DeviceId, Map<LogId, Heads>>();
  const broken: { device: DeviceId; event: EventId }[] = [];
  const twice: { device: DeviceId; log: LogId; seq: number }[] = [];
  const found = new Map<LogId, LogRange>();

  return {
    takeWitness(device: DeviceId, value: Value | null, { id }: StoredEvent): void {
      if (value === null) return; // sealed, by an older kin
      try {
        const signed = parseSignedHead(asMap(value, "a here-head")["h"]);
        if (!verifyHead(idBytes(device), signed)) throw new KinError("BAD_SIGNATURE", "a foreign here-head");
        const { log, seq } = signed.head;
        const logs = witnessed.get(device) ?? new Map<LogId, Heads>();
        const heads: Heads = logs.get(log) ?? new Map<number, EventId>();
        // A second history of the audit could be witnessed just as well: that there are two is what shows it.
        if ((heads.get(seq) ?? signed.head.id) !== signed.head.id) twice.push({ device, log, seq });
        witnessed.set(device, logs.set(log, heads.set(seq, signed.head.id)));
      } catch (error) {
        if (!(error instanceof KinError)) throw error;
        broken.push({ device, event: id });
      }
    },
    takeHere({ log, opening }: LogRange, { id, header }: StoredEvent): void {
      const head = witnessed.get(opening.device)?.get(log)?.get(header.seq);
      if (head !== undefined && head !== id)
        throw bad(
          `event ${header.seq} of the audit (log ${log}) is not the one that the mesh chain witnessed: it was rewritten`,
        );
    },
    endHere(range: LogRange): void {
      found.set(range.log, range);
    },
    /** @throws KinError BAD_REQUEST if what was witnessed is missing */
    check(exporter: DeviceId): void {
      const nonsense = broken.find(({ device }) => device === exporter);
      if (nonsense !== undefined) throw bad(`the here-head event ${nonsense.event} is no head of the exporter's`);
      const rewritten = twice.find(({ device }) => device === exporter);
      if (rewritten !== undefined)
        throw bad(
          `the mesh chain witnessed two different events ${rewritten.seq} of the audit (log ${rewritten.log}): it was rewritten`,
        );
      for (const [log, heads] of witnessed.get(exporter) ?? []) {
        const range = found.get(log);
        const most = Math.max(...heads.keys());
        if (range === undefined)
          throw bad(`the audit (log ${log}) is missing, and the mesh chain witnessed ${most + 1} events of it`);
        if (range.from > 0 || range.to < most)
          throw bad(
            `the audit (log ${log}) goes from ${range.from} to ${range.to}, and the mesh chain witnessed it from 0 to ${most}: it was cut`,
          );
      }
    },
    report: () =>
      [...found.values()].map(({ log, opening, from, to }) => {
        const heads = witnessed.get(opening.device)?.get(log);
        return { log, events: to - from + 1, witnessedTo: heads === undefined ? null : Math.max(...heads.keys()) };
      }),
  };
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}
