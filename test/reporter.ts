/**
 * The last words of a test run: why each skipped test was skipped, then `N passed, N failed[, N skipped]` as the last line.
 *
 * With `KIN_REQUIRE_ALL=1` (CI) a test that skips because something is missing on the machine counts as failed: a check that
 * quietly does not run is the same as none.
 */
import type { Reporter, TestModule, TestRunEndReason, Vitest } from "vitest/node";

export default class ClosingLine implements Reporter {
  private vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[], reason: TestRunEndReason): void {
    const tally = countTests(modules);
    tally.failed += unhandled.length;
    // With `-t` every test that doesn't match is reported as skipped; that is the user's wish, not a hole.
    const filtered = this.vitest?.config.testNamePattern !== undefined;
    const skips = filtered ? tally.skips.filter((skip) => skip.why !== NO_REASON) : tally.skips;
    for (const { name, why } of skips) console.log(`skipped: ${name}: ${why}`);
    for (const name of tally.flaky) console.log(`flaky: passed only when it was run again: ${name}`);

    const required = process.env["KIN_REQUIRE_ALL"] === "1" && skips.length > 0;
    if (required) {
      console.log(
        `KIN_REQUIRE_ALL=1: ${skips.length} skipped ${skips.length === 1 ? "test counts" : "tests count"} as failed`,
      );
      process.exitCode = 1;
    }
    if (reason === "interrupted") console.log("interrupted before the end");
    const failed = tally.failed + (required ? skips.length : 0);
    const skipped = required || skips.length === 0 ? "" : `, ${skips.length} skipped`;
    console.log(`${tally.passed} passed, ${failed} failed${skipped}`);
  }
}

const NO_REASON = "no reason given";

interface Tally {
  passed: number;
  failed: number;
  skips: { name: string; why: string }[];
  /** Passed at the second try (CI): a race or a machine that was too busy, to be looked at. */
  flaky: string[];
}

function countTests(modules: readonly TestModule[]): Tally {
  const tally: Tally = { passed: 0, failed: 0, skips: [], flaky: [] };
  for (const module of modules) {
    // A file that doesn't load, or a failing beforeAll, has no failed test to show for it.
    tally.failed += module.errors().length;
    for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (test.diagnostic()?.flaky === true) tally.flaky.push(test.fullName);
      if (result.state === "passed") tally.passed++;
      else if (result.state === "failed") tally.failed++;
      else tally.skips.push({ name: test.fullName, why: (result.state === "skipped" && result.note) || NO_REASON });
    }
  }
  return tally;
}
