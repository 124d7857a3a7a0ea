/**
 * Strict reading of a decoded map: every field is asked for once, with its shape; what nobody asked for is refused. Used by the
 * records that are signed and kept (roster, agent keys, tickets, join), where an unknown field must never be guessed around.
 */
import { KinError } from "./errors.ts";
import { idOf, isName, type Id } from "./ids.ts";
import { asMap } from "./signature.ts";

export interface Fields {
  bytes(name: string, length: number): Uint8Array;
  id<Kind extends string>(name: string): Id<Kind>;
  /** F7. */
  name(name: string): string;
  nameOrNull(name: string): string | null;
  integer(name: string, min: number, max: number): number;
  oneOf<T extends string>(name: string, allowed: readonly T[]): T;
  list<T>(name: string, min: number, max: number, item: (value: unknown) => T): T[];
  has(name: string): boolean;
  raw(name: string): unknown;
  /** @throws KinError BAD_REQUEST if the map has a field that was not read. */
  end(): void;
}

/** @throws KinError BAD_REQUEST that names `what` and the field, from every reader. */
export function readFields(value: unknown, what: string): Fields {
  const map = asMap(value, what);
  const seen = new Set<string>();
  const raw = (name: string): unknown => {
    seen.add(name);
    return map[name];
  };
  const refuse = (name: string, expected: string): never => {
    throw new KinError("BAD_REQUEST", `${what}: ${name} is ${expected}, got ${shown(map[name])}`);
  };
  const readName = (name: string): string => {
    const text = raw(name);
    return typeof text === "string" && isName(text)
      ? text
      : refuse(name, "a name: a-z first, then a-z, 0-9, -, up to 32");
  };
  return {
    raw,
    has: (name) => map[name] !== undefined,
    bytes(name, length) {
      const bytes = raw(name);
      return bytes instanceof Uint8Array && bytes.length === length ? bytes : refuse(name, `${length} bytes`);
    },
    id(name) {
      const bytes = raw(name);
      return bytes instanceof Uint8Array && bytes.length === 32 ? idOf(bytes) : refuse(name, "an id of 32 bytes");
    },
    name: readName,
    nameOrNull: (name) => (raw(name) === null ? null : readName(name)),
    integer(name, min, max) {
      const number = raw(name);
      return typeof number === "number" && Number.isSafeInteger(number) && number >= min && number <= max
        ? number
        : refuse(name, `an integer from ${min} to ${max}`);
    },
    oneOf(name, allowed) {
      const text = raw(name);
      return allowed.find((item) => item === text) ?? refuse(name, `one of ${allowed.join(", ")}`);
    },
    list(name, min, max, item) {
      const items = raw(name);
      if (!Array.isArray(items) || items.length < min || items.length > max)
        return refuse(name, `a list of ${min} to ${max}`);
      return items.map((value) => item(value));
    },
    end() {
      for (const key of Object.keys(map))
        if (!seen.has(key)) throw new KinError("BAD_REQUEST", `${what} has no field "${key}"`);
    },
  };
}

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return JSON.stringify(value)?.slice(0, 80) ?? typeof value;
}
