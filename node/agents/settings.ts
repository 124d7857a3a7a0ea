/**
 * What an agent's owner may set while it runs: the record of the agent (sync/documents/records.ts), the same on all of his devices
 * and with its history. What is not set is as `AGENT.md` says.
 */
import { KinError } from "../../protocols/errors.ts";
import type { Setting } from "../../sync/documents/automerge.ts";
import { didYouMean } from "../did-you-mean.ts";

export interface AgentSettings {
  /** In its card, in the place of that of `AGENT.md`. */
  description?: string;
  /** Nobody may ask it. */
  paused?: boolean;
  /** An answer that takes longer is given up. */
  maxSeconds?: number;
}

const MAX_DESCRIPTION_CHARS = 300;
const MAX_SECONDS = 3600;

interface Known {
  field: keyof AgentSettings;
  expected: string;
  parse(word: string): Setting | undefined;
  isRight(value: Setting): boolean;
}

/** By the name that people type. */
const KNOWN: { [name: string]: Known } = {
  description: {
    field: "description",
    expected: `one line of 1 to ${MAX_DESCRIPTION_CHARS} characters`,
    parse: (word) => word.trim(),
    isRight: (value) =>
      typeof value === "string" && value.length > 0 && value.length <= MAX_DESCRIPTION_CHARS && !/\p{Cc}/u.test(value),
  },
  paused: {
    field: "paused",
    expected: "true or false",
    parse: (word) => ({ true: true, false: false })[word],
    isRight: (value) => typeof value === "boolean",
  },
  "max-seconds": {
    field: "maxSeconds",
    expected: `a number from 1 to ${MAX_SECONDS}`,
    parse: (word) => (/^\d{1,6}$/.test(word) ? Number(word) : undefined),
    isRight: (value) => typeof value === "number" && value >= 1 && value <= MAX_SECONDS,
  },
};

/** What of a record is understood; a newer node may have set more. */
export function readSettings(values: { [key: string]: Setting }): AgentSettings {
  const settings: { [field: string]: Setting } = {};
  for (const [name, known] of Object.entries(KNOWN)) {
    const value = values[name];
    if (value !== undefined && known.isRight(value)) settings[known.field] = value;
  }
  return settings;
}

/** A word of the command line as the setting's value. @throws KinError USAGE */
export function parseSetting(name: string, word: string): Setting {
  const known = knownSetting(name);
  const value = known.parse(word);
  if (value === undefined || !known.isRight(value))
    throw new KinError("USAGE", `${name} is "${word.slice(0, 60)}", expected ${known.expected}`);
  return value;
}

/** @throws KinError USAGE */
export function knownSetting(name: string): Known {
  const known = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined;
  if (known !== undefined) return known;
  const near = didYouMean(name, Object.keys(KNOWN));
  throw new KinError("USAGE", `agents have no setting "${name.slice(0, 60)}"`, {
    hint: near === null ? `there are: ${Object.keys(KNOWN).join(", ")}` : `did you mean ${near}?`,
  });
}
