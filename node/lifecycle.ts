/** Stops what was started, the newest first, each within its time; one that hangs or fails never keeps the others from stopping. */

export interface Lifecycle {
  /** Registers how a part stops. One that comes while a stop is under way, or after it, is stopped too. */
  onStop(name: string, stop: () => unknown): void;
  /** Safe to call twice: the second caller waits for the first. Resolves with what went wrong. */
  stop(): Promise<{ name: string; error: Error }[]>;
  /** Fires when a stop begins. */
  readonly signal: AbortSignal;
}

/** Longer than a flush of the log or a goodbye to peers takes; `kin down` waits for all of it. */
const STOP_TIMEOUT_MS = 5_000;

export function createLifecycle(stopTimeoutMs = STOP_TIMEOUT_MS): Lifecycle {
  const parts: { name: string; stop: () => unknown }[] = [];
  const stopping = new AbortController();
  let isOver = false;
  let result: Promise<{ name: string; error: Error }[]> | null = null;

  const stopAll = async (): Promise<{ name: string; error: Error }[]> => {
    stopping.abort(new Error("the node is stopping"));
    const problems: { name: string; error: Error }[] = [];
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const error = await stopOne(part.stop, stopTimeoutMs);
      if (error !== null) problems.push({ name: part.name, error });
    }
    isOver = true;
    return problems;
  };

  return {
    onStop: (name, stop) => {
      if (isOver) void stopOne(stop, stopTimeoutMs);
      else parts.push({ name, stop });
    },
    stop: () => (result ??= stopAll()),
    signal: stopping.signal,
  };
}

async function stopOne(stop: () => unknown, timeoutMs: number): Promise<Error | null> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not stop within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([Promise.resolve().then(stop), timeout]);
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    clearTimeout(timer);
  }
}
