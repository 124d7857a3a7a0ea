import { afterEach, expect, test, vi } from "vitest";
import ClosingLine from "./reporter.ts";

/** As much of vitest's tree as the reporter reads. */
function modulesOf(states: readonly ("passed" | "failed" | "skipped")[], errors: unknown[] = [], flaky = false) {
  const tests = states.map((state, index) => ({
    fullName: `test ${index}`,
    result: () => ({ state }),
    diagnostic: () => ({ flaky }),
  }));
  return [{ errors: () => errors, children: { allSuites: () => [], allTests: () => tests } }];
}

function lastLine(modules: ReturnType<typeof modulesOf>, unhandled: unknown[] = []): string {
  const said = vi.spyOn(console, "log").mockImplementation(() => {});
  const before = process.exitCode;
  new ClosingLine().onTestRunEnd(modules as never, unhandled, "passed");
  process.exitCode = before;
  const line = String(said.mock.calls.at(-1)?.[0]);
  said.mockRestore();
  return line;
}

afterEach(() => vi.unstubAllEnvs());

test("closing-line: the last line counts what passed and failed, also a file that does not load", () => {
  vi.stubEnv("KIN_REQUIRE_ALL", undefined);
  expect(lastLine(modulesOf(["passed", "passed", "failed"]))).toBe("2 passed, 1 failed");
  expect(lastLine(modulesOf([], [new Error("does not load")]))).toBe("0 passed, 1 failed");
  expect(lastLine(modulesOf(["passed"]), [new Error("unhandled")])).toBe("1 passed, 1 failed");
  expect(lastLine(modulesOf(["passed", "skipped"]))).toBe("1 passed, 0 failed, 1 skipped");
});

test("closing-line: where all is required a test that skips counts as failed", () => {
  vi.stubEnv("KIN_REQUIRE_ALL", "1");
  expect(lastLine(modulesOf(["passed", "skipped"]))).toBe("1 passed, 1 failed");
});

test("closing-line: a test that passed only at the second try is named", () => {
  vi.stubEnv("KIN_REQUIRE_ALL", undefined);
  const said = vi.spyOn(console, "log").mockImplementation(() => {});
  new ClosingLine().onTestRunEnd(modulesOf(["passed"], [], true) as never, [], "passed");
  const lines = said.mock.calls.map(([line]) => String(line));
  said.mockRestore();
  expect(lines).toEqual(["flaky: passed only when it was run again: test 0", "1 passed, 0 failed"]);
});
