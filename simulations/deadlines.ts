/**
 * `AbortSignal.timeout` for a simulation: it fires in virtual time. On the real clock it would depend on how busy the machine is
 * whether a dialogue ends or is given up, and two runs of one seed would differ.
 */
import type { World } from "./world.ts";

export function seedDeadlines(after: World["after"]): void {
  AbortSignal.timeout = (delayMs) => {
    const late = new AbortController();
    after(delayMs, "deadline", () => late.abort(new DOMException(`it took over ${delayMs} ms`, "TimeoutError")));
    return late.signal;
  };
}
