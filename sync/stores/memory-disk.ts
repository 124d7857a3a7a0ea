/**
 * A disk in memory, with the faults that a real one has: what was not flushed may be lost at a crash, and it may be full.
 */
import { concat } from "../../protocols/bytes.ts";
import type { Disk } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";

export interface MemoryDisk extends Disk {
  /** What is left after a power cut: the flushed bytes and the first `keepUnflushed` of the others. */
  crash(keepUnflushed?: number): MemoryDisk;
  /** The bytes of each file as they are; may be changed, to damage them. */
  readonly files: Map<string, Uint8Array>;
}

/** @param capacityBytes over all files; an append beyond it writes what fits and fails with DISK_FULL, as a real one does */
export function createMemoryDisk(
  options: { capacityBytes?: number; files?: ReadonlyMap<string, Uint8Array> } = {},
): MemoryDisk {
  const { capacityBytes = Infinity } = options;
  const files = new Map(options.files);
  const flushed = new Map([...files].map(([name, bytes]) => [name, bytes.length]));
  const bytesOf = (name: string) => files.get(name) ?? new Uint8Array();

  return {
    files,
    read: async (name) => bytesOf(name).slice(),
    append: async (name, bytes) => {
      const used = [...files.values()].reduce((sum, file) => sum + file.length, 0);
      const fits = bytes.subarray(0, Math.max(0, capacityBytes - used));
      files.set(name, concat(bytesOf(name), fits));
      if (fits.length < bytes.length)
        throw new KinError("DISK_FULL", `the disk is full: ${bytes.length} bytes for ${name}, ${fits.length} left`);
    },
    flush: async (name) => void flushed.set(name, bytesOf(name).length),
    crash: (keepUnflushed = 0) => {
      const left = [...files].map(
        ([name, bytes]) => [name, bytes.slice(0, (flushed.get(name) ?? 0) + keepUnflushed)] as const,
      );
      return createMemoryDisk({ ...options, files: new Map(left) });
    },
  };
}
