/**
 * One small fault for each promise of `test/requirements.ts`: a text that stands exactly once in a file, and what to put in its
 * place so that the promise is broken. `npm run faults` applies them one by one in a copy and prints which test goes red.
 */
export interface Fault {
  /** A requirement's id. */
  requirement: string;
  /** Relative to the project. */
  file: string;
  /** Occurs exactly once in the file. */
  search: string;
  replace: string;
}

export const FAULTS: readonly Fault[] = [
  {
    requirement: "architecture",
    file: "test/architecture-rules.ts",
    search: "  protocols: [],",
    replace: '  protocols: ["node", "sync"],',
  },
];
