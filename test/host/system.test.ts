import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemTime } from "../../node/system.ts";

const DAY_MS = 24 * 3_600_000;

// As Node's own they run at once what is longer than 2^31 - 1 ms.
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("what is to run after 24.8 days and longer runs then, once, and can be cancelled all the time [long-times]", () => {
  const ran: number[] = [];
  for (const days of [1, 24, 30, 100]) systemTime.after(days * DAY_MS, () => ran.push(days));
  const cancel = systemTime.after(90 * DAY_MS, () => ran.push(90));
  vi.advanceTimersByTime(30 * DAY_MS - 1);
  expect(ran).toEqual([1, 24]);
  vi.advanceTimersByTime(1);
  expect(ran).toEqual([1, 24, 30]);
  cancel();
  vi.advanceTimersByTime(300 * DAY_MS);
  expect(ran).toEqual([1, 24, 30, 100]);
  expect(vi.getTimerCount()).toBe(0);
});
