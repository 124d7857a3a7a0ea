/** Addresses of members over restarts: a small file beside the log. It can be deleted; then peers are found again. */
import { readFileSync } from "node:fs";
import type { Time } from "../../protocols/effects.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { writeAtomic } from "../atomic-file.ts";
import type { AddressBook } from "./peers.ts";

/** Addresses change in bursts when peers connect. */
const WRITE_AFTER_MS = 1_000;
const MAX_DEVICES = 4_096;

/** A file that cannot be read counts as empty. `stop` writes what is not written yet. */
export function openAddressBook(file: string, time: Pick<Time, "after">): AddressBook & { stop(): void } {
  const book = new Map<DeviceId, readonly string[]>(read(file));
  let cancel: (() => void) | null = null;

  function write(): void {
    cancel = null;
    writeAtomic(file, `${JSON.stringify({ v: 1, devices: Object.fromEntries(book) })}\n`);
  }

  return {
    load: () => book,
    save(device, addresses) {
      book.delete(device);
      book.set(device, addresses);
      if (book.size > MAX_DEVICES) book.delete(book.keys().next().value!);
      cancel ??= time.after(WRITE_AFTER_MS, write);
    },
    stop() {
      if (cancel === null) return;
      cancel();
      write();
    },
  };
}

function read(file: string): [DeviceId, string[]][] {
  try {
    const { devices } = JSON.parse(readFileSync(file, "utf8")) as { devices: { [device: string]: unknown } };
    return Object.entries(devices)
      .filter(
        (entry): entry is [DeviceId, string[]] =>
          /^[0-9a-f]{64}$/.test(entry[0]) &&
          Array.isArray(entry[1]) &&
          entry[1].every((address) => typeof address === "string"),
      )
      .slice(0, MAX_DEVICES);
  } catch {
    return [];
  }
}
