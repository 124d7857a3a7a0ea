/**
 * A machine's disk: it outlives the processes that write on it. What was not flushed may be lost when the machine dies, it may
 * be full, fail, be slow, and flip bits. The memory store's journal stands on it (`Disk` of `protocols/effects.ts`).
 *
 *   append ─▶ page cache (at once, seen by `read`) ─── flush ─▶ durable (when it resolves)
 *                  └── crash: the durable bytes stay, of the others a part that the dice choose, maybe with rubbish in it
 */
import type { Disk } from "../protocols/effects.ts";
import type { Dice, Life, World } from "./world.ts";

export interface DiskFaults {
  /** Appends fail with ENOSPC after writing a part of theirs. */
  full: boolean;
  /** Chance that an append or a flush fails with EIO. */
  errorChance: number;
}

export interface SimDisk {
  readonly faults: DiskFaults;
  /** The disk as a process sees it: when the process is dead, nothing resolves any more. */
  port(life: Life): Disk;
  /** The power goes. */
  crash(): void;
  /** Flips bits in what is durable. Returns how many; 0 if there is nothing. */
  flipBits(count: number): number;
  /** A copy of what is durable now: a backup. */
  backup(): ReadonlyMap<string, Uint8Array>;
  restore(files: ReadonlyMap<string, Uint8Array>): void;
  /** Durable and other bytes. */
  size(): { durable: number; all: number };
}

interface File {
  bytes: Buffer;
  length: number;
  durable: number;
}

/** A read of a file takes one seek; an append stays in memory; a flush goes to the device (FACTS: 146–206 µs on an SSD). */
const READ_MS = [0.05, 0.3] as const;
const APPEND_MS = [0.01, 0.05] as const;
const FLUSH_MS = [0.15, 2] as const;
/** Now and then a device is busy with itself. */
const STALL_CHANCE = 0.01;
const STALL_MS = [20, 400] as const;
/** What was on its way to the platter when the power went may be rubbish. */
const TORN_CHANCE = 0.3;

export function createSimDisk(world: World, name: string): SimDisk {
  const dice = world.dice(`${name} disk`);
  const faults: DiskFaults = { full: false, errorChance: 0 };
  const files = new Map<string, File>();

  function fileOf(path: string): File {
    const file = files.get(path) ?? { bytes: Buffer.alloc(1024), length: 0, durable: 0 };
    files.set(path, file);
    return file;
  }

  function write(path: string, bytes: Uint8Array): void {
    const file = fileOf(path);
    const length = file.length + bytes.length;
    if (length > file.bytes.length) file.bytes = Buffer.concat([file.bytes.subarray(0, file.length)], 2 * length);
    file.bytes.set(bytes, file.length);
    file.length = length;
  }

  function port(life: Life): Disk {
    /** Resolves after the time that it takes; never if the process has died meanwhile. */
    const later = <T>(what: string, ms: readonly [number, number], done: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        world.after(delay(dice, ms), `${name} ${what}`, () => {
          if (!life.alive) return;
          try {
            resolve(done());
          } catch (error) {
            reject(error);
          }
        });
      });

    return {
      read: (path) =>
        later(`read ${path}`, READ_MS, () => {
          const file = files.get(path);
          return file === undefined ? new Uint8Array() : Uint8Array.from(file.bytes.subarray(0, file.length));
        }),
      append(path, bytes) {
        if (!life.alive) return new Promise(() => undefined);
        const failure = faultOf("append");
        const part = failure === null ? bytes : bytes.subarray(0, dice.int(0, Math.max(0, bytes.length - 1)));
        write(path, part);
        world.note(`${name} append ${path}`, part);
        return later(`append ${path}`, APPEND_MS, () => {
          if (failure !== null) throw failure;
        });
      },
      flush(path) {
        if (!life.alive) return new Promise(() => undefined);
        const failure = faultOf("flush");
        const file = fileOf(path);
        const upTo = file.length;
        return later(`flush ${path}`, FLUSH_MS, () => {
          if (failure !== null) throw failure;
          file.durable = Math.max(file.durable, upTo);
        });
      },
    };
  }

  function faultOf(what: "append" | "flush"): Error | null {
    if (what === "append" && faults.full) {
      world.count("disk ENOSPC");
      return errno("ENOSPC", "no space left on device");
    }
    if (faults.errorChance > 0 && dice.chance(faults.errorChance)) {
      world.count("disk EIO");
      return errno("EIO", `${what}: input/output error`);
    }
    return null;
  }

  function crash(): void {
    for (const file of files.values()) {
      const loose = file.length - file.durable;
      if (loose === 0) continue;
      const kept = dice.int(0, loose);
      world.count("disk bytes lost at a crash", loose - kept);
      if (kept > 0 && dice.chance(TORN_CHANCE)) {
        const at = file.durable + dice.int(0, kept - 1);
        file.bytes[at]! ^= 1 << dice.int(0, 7);
        world.count("disk torn writes");
      }
      file.length = file.durable + kept;
      file.durable = file.length;
    }
  }

  return {
    faults,
    port,
    crash,
    flipBits(count) {
      const whole = [...files.values()].filter((file) => file.durable > 0);
      if (whole.length === 0) return 0;
      for (let i = 0; i < count; i++) {
        const file = dice.pick(whole);
        file.bytes[dice.int(0, file.durable - 1)]! ^= 1 << dice.int(0, 7);
      }
      return count;
    },
    backup: () =>
      new Map([...files].map(([path, file]) => [path, Uint8Array.from(file.bytes.subarray(0, file.durable))])),
    restore(from) {
      files.clear();
      for (const [path, bytes] of from)
        files.set(path, { bytes: Buffer.from(bytes), length: bytes.length, durable: bytes.length });
    },
    size() {
      const all = [...files.values()];
      return {
        durable: all.reduce((sum, file) => sum + file.durable, 0),
        all: all.reduce((sum, file) => sum + file.length, 0),
      };
    },
  };
}

function delay(dice: Dice, [from, to]: readonly [number, number]): number {
  return dice.chance(STALL_CHANCE) ? dice.between(...STALL_MS) : dice.between(from, to);
}

function errno(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
