/**
 * What kin promises, one sentence each, with where the promise was made. `test/requirements.test.ts` fails on a promise that no
 * test cites (by its id as a word of the test's name) or that has no fault in `test/faults.ts` which turns such a test red.
 * Ids of the design's rules (F, R), attacks (A, B, L, …) and promises (P) are kept; the others are words.
 */
export interface Requirement {
  id: string;
  sentence: string;
  /** Where it was promised: "RULES R3", "ATTACKS A15", "issue 3 part 9", "DESIGN §5". */
  source: string;
}

export const REQUIREMENTS: readonly Requirement[] = [
  {
    id: "architecture",
    sentence: "An import that breaks the table of the house fails the tests.",
    source: "issue 3 part 1",
  },
];
