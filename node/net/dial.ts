/**
 * Reaching one peer at several addresses: the next address starts when the one before has failed or taken 250 ms (RFC 8305's
 * way), the first that proves to be the peer wins, and when none does, the failure says for each what happened.
 */
import type { Time } from "../../protocols/effects.ts";
import { sortByTransport, withoutPeer } from "./addresses.ts";

/** Head start of an address before the next is tried beside it. */
const HEAD_START_MS = 250;
/** Addresses of one peer tried in one dial. */
export const MAX_DIALLED_ADDRESSES = 12;

export type DialOutcome = "timed-out" | "refused" | "another-peer" | "no-route" | "ended" | "failed";

export interface DialAttempt {
  address: string;
  outcome: DialOutcome;
  /** The library's own words. */
  detail: string;
}

export class DialFailure extends Error {
  override readonly name = "DialFailure";
  readonly attempts: DialAttempt[];
  constructor(attempts: DialAttempt[]) {
    super(attempts.map(describeAttempt).join("; "));
    this.attempts = attempts;
  }
}

export interface DialDeps<Connection> {
  time: Time;
  /** Dials one address and proves who answers; must give up when `signal` fires. */
  dial(address: string, signal: AbortSignal): Promise<Connection>;
  /** A connection that came too late. */
  drop(connection: Connection): void;
  /** Told of each address that has failed, while others are still tried. */
  onFailed?(attempt: DialAttempt): void;
  /** @default 5 s */
  addressTimeoutMs?: number;
}

const ADDRESS_TIMEOUT_MS = 5_000;

/** @throws DialFailure with one attempt per address; the reason of `signal` when that fires */
export function dialAddresses<Connection>(
  deps: DialDeps<Connection>,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<Connection> {
  const todo = sortByTransport([...new Set(addresses)]).slice(0, MAX_DIALLED_ADDRESSES);
  const attempts: DialAttempt[] = [];
  const tries = new Set<AbortController>();
  let running = 0;
  let settled = false;

  return new Promise((resolve, reject) => {
    let cancelStart: (() => void) | undefined;
    const finish = (): void => {
      settled = true;
      cancelStart?.();
      signal.removeEventListener("abort", stop);
      for (const one of tries) one.abort(new Error("no longer needed"));
    };
    const stop = (): void => {
      finish();
      reject(signal.reason as Error);
    };

    function next(): void {
      cancelStart?.();
      if (settled) return;
      const address = todo.shift();
      if (address === undefined) {
        if (running > 0) return;
        finish();
        reject(new DialFailure(attempts));
        return;
      }
      running++;
      void tryOne(address);
      cancelStart = deps.time.after(HEAD_START_MS, next);
    }

    async function tryOne(address: string): Promise<void> {
      const attempt = new AbortController();
      tries.add(attempt);
      const stopTimer = deps.time.after(deps.addressTimeoutMs ?? ADDRESS_TIMEOUT_MS, () => attempt.abort(timedOut()));
      try {
        const connection = await deps.dial(address, attempt.signal);
        // A socket listens to its dial's signal for as long as it lives: the winner's must never fire.
        tries.delete(attempt);
        if (settled) return deps.drop(connection);
        finish();
        resolve(connection);
      } catch (error) {
        tries.delete(attempt);
        const outcome = attempt.signal.aborted ? "timed-out" : classify(error);
        const failed = { address: withoutPeer(address), outcome, detail: messageOf(error) };
        attempts.push(failed);
        if (!settled) deps.onFailed?.(failed);
      } finally {
        stopTimer();
        running--;
      }
      if (!settled) next();
    }

    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    next();
  });
}

function timedOut(): Error {
  return new DOMException("no answer in time", "TimeoutError");
}

/** A WebSocket fails with an event that holds the error; Node's says no more than that it failed. */
function unwrapped(error: unknown): unknown {
  if (error instanceof Error || typeof error !== "object" || error === null) return error;
  const { error: inner, message } = error as { error?: unknown; message?: unknown };
  if (inner instanceof Error) return inner;
  return new Error(typeof message === "string" ? message : "");
}

/** What an error of a dial means to a person. */
export function classify(thrown: unknown): DialOutcome {
  const error = unwrapped(thrown);
  const text = `${nameOf(error)} ${messageOf(error)}`;
  if (/ECONNREFUSED/.test(text)) return "refused";
  if (/UnexpectedPeer|payload identity key|Unexpected peer|does not match expected remote/i.test(text))
    return "another-peer";
  if (/ETIMEDOUT|TimeoutError|timed? ?out|AbortError|aborted/i.test(text)) return "timed-out";
  if (/EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL/.test(text)) return "no-route";
  if (/ECONNRESET|EPIPE|UnexpectedEOF|closed|reset/i.test(text)) return "ended";
  return "failed";
}

const WORDS: Record<Exclude<DialOutcome, "failed">, string> = {
  "timed-out": "timed out (a firewall drops it, or it is on another network)",
  refused: "refused (kin is not running there)",
  "another-peer": "answered as another peer (the address belongs to another device now)",
  "no-route": "no route to it (it is on another network)",
  ended: "ended the connection (it may not know us, or be overloaded)",
};

/** "192.168.1.5 tcp 4001: refused (kin is not running there)". */
export function describeAttempt(attempt: DialAttempt): string {
  const { outcome, detail } = attempt;
  const what = outcome !== "failed" ? WORDS[outcome] : detail === "" ? "failed" : `failed (${detail.slice(0, 120)})`;
  return `${shortAddress(attempt.address)}: ${what}`;
}

/** `/ip4/192.168.1.5/tcp/4001` as people write it: "192.168.1.5 tcp 4001". */
export function shortAddress(address: string): string {
  const found = /^\/ip[46]\/([^/]+)\/(tcp|udp)\/(\d+)(\/.*)?$/.exec(address);
  if (found === null) return address;
  const [, host, transport, port, rest = ""] = found;
  const over = rest.startsWith("/ws") ? "WebSocket" : rest.startsWith("/webrtc") ? "WebRTC" : transport;
  return `${host} ${over} ${port}`;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const inner = error.cause === undefined ? "" : nameOf(error.cause);
  const errors = error instanceof AggregateError ? error.errors.map((one) => `${nameOf(one)} ${messageOf(one)}`) : [];
  return [error.name, code, inner, ...errors].join(" ");
}

function messageOf(thrown: unknown): string {
  const error = unwrapped(thrown);
  return error instanceof Error ? error.message : String(error);
}
