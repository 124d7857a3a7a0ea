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
  { requirement: "requirements", file: "test/citations.ts", search: "(^|[^A-Za-z0-9-])${id", replace: "${id" },
  {
    requirement: "bench-figures",
    file: "test/bench/main.ts",
    search: "{ bench: name, machine: machine(), commit: commit() }",
    replace: "{ bench: name, machine: machine() }",
  },
  {
    requirement: "bench-figures",
    file: "test/bench/measure.ts",
    search: "sorted.length * ratio) - 1)",
    replace: "sorted.length * ratio))",
  },
  {
    requirement: "interop-go",
    file: "protocols/connection.ts",
    search: 'encrypters: readonly Encrypter[] = ["tls", "noise"]',
    replace: 'encrypters: readonly Encrypter[] = ["noise", "tls"]',
  },
  {
    requirement: "interop-successors",
    file: "protocols/connection.ts",
    search: "const ENCRYPTERS = { tls, noise };",
    replace: "const ENCRYPTERS = { tls, noise: tls };",
  },
  {
    requirement: "F1",
    file: "protocols/bytes.ts",
    search: "if (!Number.isSafeInteger(value) || Object.is(value, -0))",
    replace: "if (Number.isNaN(value))",
  },
  {
    requirement: "F4",
    file: "protocols/events.ts",
    search: 'const HEAD_DOMAIN = utf8Bytes("kin/head/1");',
    replace: 'const HEAD_DOMAIN = utf8Bytes("");',
  },
  {
    requirement: "F5",
    file: "protocols/event-body.ts",
    search: "    header: unsealedValue({ ...header, deps: sortedDeps(header.deps) }),\n",
    replace: "",
  },
  {
    requirement: "R2",
    file: "protocols/events.ts",
    search: "idBytes(mesh), ...logOpeningValue(opening) })",
    replace: "idBytes(mesh), ...logOpeningValue({ ...opening, incarnation: new Uint8Array(16) }) })",
  },
  {
    requirement: "R6",
    file: "protocols/event-body.ts",
    search: "epoch: epoch === undefined ? undefined : idBytes(epoch),",
    replace: "epoch: undefined,",
  },
  {
    requirement: "R7",
    file: "protocols/event-body.ts",
    search: "idBytes(log), seq, devices.map(idBytes)]",
    replace: "idBytes(log), seq, []]",
  },
  {
    requirement: "R9",
    file: "sync/log.ts",
    search: 'const stranger = events.find((event) => (event.audience === "here") !== (chain === "here"));',
    replace: 'const stranger = events.find((event) => event.audience === "here" && event.deps === null);',
  },
  {
    requirement: "R10",
    file: "node/net/addresses.ts",
    search: "(all.length > 0 ? all : loopback).slice(0, MAX_TICKET_ADDRESSES)",
    replace: "all.length > 0 ? all : loopback",
  },
  {
    requirement: "R13",
    file: "sync/clock.ts",
    search: "return decodeStamp(bytes).ms > wallMs(time) + SKEW_LIMIT_MS;",
    replace: "return decodeStamp(bytes).ms === MAX_STAMP_MS;",
  },
  {
    requirement: "R13",
    file: "sync/clock.ts",
    search: "for (const bytes of after) floor = later(floor, decodeStamp(bytes));",
    replace: "",
  },
  {
    requirement: "R15",
    file: "protocols/crypto/points.ts",
    search: "return !point.isSmallOrder() && point.isTorsionFree();",
    replace: "return !point.isSmallOrder();",
  },
  {
    requirement: "R18",
    file: "protocols/signature.ts",
    search: "toHex(concat(seal.key, root, seal.sig))",
    replace: "toHex(concat(seal.key, seal.sig))",
  },
  {
    requirement: "A1",
    file: "protocols/events.ts",
    search: "if (!verifyHead(idBytes(of.opening.device), signed))",
    replace: "if (signed.sig.length === 0)",
  },
  {
    requirement: "A1",
    file: "protocols/envelope.ts",
    search: "if (!isSealed(kind, sealed.bytes, sealed.seal))",
    replace: "if (sealed.bytes.length === 0)",
  },
  {
    requirement: "A1",
    file: "protocols/events.ts",
    search: "return body.length <= MAX_EVENT_BODY_BYTES && equal(sha256(body), header.bodyHash);",
    replace: "return body.length <= MAX_EVENT_BODY_BYTES;",
  },
  {
    requirement: "A3",
    file: "protocols/signature.ts",
    search: 'const SEAL_DOMAIN = utf8Bytes("kin/seal/1");',
    replace: 'const SEAL_DOMAIN = utf8Bytes("");',
  },
  {
    requirement: "A4",
    file: "protocols/signature.ts",
    search: "const name = utf8Bytes(kind);",
    replace: "const name = utf8Bytes(kind.slice(0, 0));",
  },
  {
    requirement: "A5",
    file: "protocols/envelope.ts",
    search: "if (!keyMaySpeakFor(sealed.seal.key, envelope.from))",
    replace: "if (sealed.seal.key.length === 0)",
  },
  {
    requirement: "A6",
    file: "protocols/crypto/points.ts",
    search: "return !point.isSmallOrder() && point.isTorsionFree();",
    replace: "return point.toBytes().length === 32;",
  },
  {
    requirement: "A12",
    file: "protocols/envelope.ts",
    search: "if (envelope.exp <= now)",
    replace: "if (envelope.exp <= now - 1000)",
  },
  {
    requirement: "A13",
    file: "protocols/envelope.ts",
    search: "if (envelope.iat > now + SKEW_LIMIT_MS)",
    replace: "if (envelope.iat > now + 2 * SKEW_LIMIT_MS)",
  },
  {
    requirement: "A14",
    file: "protocols/envelope.ts",
    search: "envelope.exp - envelope.iat > MAX_ENVELOPE_LIFE_MS",
    replace: "envelope.exp - envelope.iat > 2 * MAX_ENVELOPE_LIFE_MS",
  },
  {
    requirement: "A21",
    file: "protocols/envelope.ts",
    search: 'if (map["v"] !== 1)',
    replace: 'if (map["v"] === null)',
  },
  {
    requirement: "A22",
    file: "protocols/envelope.ts",
    search: "if (!KEYS.has(key)) throw",
    replace: 'if (key === "") throw',
  },
  {
    requirement: "A24",
    file: "protocols/events.ts",
    search: "return body.length <= MAX_EVENT_BODY_BYTES && equal(sha256(body), header.bodyHash);",
    replace: "return equal(header.bodyHash, header.bodyHash) || body.length === 0;",
  },
  {
    requirement: "A26",
    file: "protocols/limits.ts",
    search: "export const MAX_ENVELOPE_BYTES = 256 * 1024;",
    replace: "export const MAX_ENVELOPE_BYTES = 4096 * 1024;",
  },
  {
    requirement: "B1",
    file: "protocols/bytes.ts",
    search: "if (!equal(dagCbor.encode(value), bytes))",
    replace: "if (dagCbor.encode(value).length !== bytes.length)",
  },
  {
    requirement: "B5",
    file: "protocols/bytes.ts",
    search: "if (info !== 20 && info !== 21 && info !== 22)",
    replace: "if (info === 27) at += 8;\n        else if (info !== 20 && info !== 21 && info !== 22)",
  },
  {
    requirement: "B12",
    file: "protocols/limits.ts",
    search: "export const MAX_DEPTH = 16;",
    replace: "export const MAX_DEPTH = 1_000_000;",
  },
  {
    requirement: "B14",
    file: "protocols/limits.ts",
    search: "export const MAX_MAP_ITEMS = 1024;",
    replace: "export const MAX_MAP_ITEMS = 2 ** 40;",
  },
  {
    requirement: "B15",
    file: "protocols/bytes.ts",
    search: 'new Set(["__proto__", "constructor", "prototype"])',
    replace: "new Set<string>([])",
  },
  {
    requirement: "B20",
    file: "protocols/frame.ts",
    search: "if (i > 0 && byte === 0) throw",
    replace: "if (i > 3 && byte === 0) throw",
  },
  {
    requirement: "C4",
    file: "protocols/events.ts",
    search: "if (seq !== (tip?.seq ?? -1) + 1) throw bad(",
    replace: "if (seq < (tip?.seq ?? -1)) throw bad(",
  },
  {
    requirement: "C5",
    file: "protocols/events.ts",
    search: "if (header.prev !== (tip?.id ?? null)) throw bad(",
    replace: "if (header.prev === undefined) throw bad(",
  },
  {
    requirement: "C13",
    file: "sync/clock.ts",
    search: "return { ms: floor.ms + 1, counter: 0 };",
    replace: "return { ms: floor.ms, counter: 0 };",
  },
  {
    requirement: "C14",
    file: "protocols/events.ts",
    search: "if (tip !== null && compareBytes(hlc, tip.hlc) <= 0)",
    replace: "if (tip !== null && compareBytes(hlc, tip.hlc) < -255)",
  },
  {
    requirement: "C15",
    file: "sync/clock.ts",
    search: "if (nowMs > floor.ms) return",
    replace: "if (nowMs !== floor.ms) return",
  },
  { requirement: "P9", file: "sync/clock.ts", search: 'if (isHeld(bytes)) return "held";', replace: "" },
  {
    requirement: "K3",
    file: "sync/stores/log-file.ts",
    search: 'if (code === "SQLITE_FULL" || message.includes("ENOSPC"))',
    replace: 'if (code === "SQLITE_NEVER")',
  },
  {
    requirement: "K6",
    file: "sync/stores/log-file.ts",
    search: "if (!equal(sumOf(bytes, sig), sum)) throw corrupt(",
    replace: "if (sum.length === 0) throw corrupt(",
  },
  { requirement: "K8", file: "sync/stores/log-file.ts", search: 'db.pragma("locking_mode = EXCLUSIVE");', replace: "" },
  {
    requirement: "E17",
    file: "node/net/addresses.ts",
    search: "return !isLinkLocal(host!) && !isUnspecifiedOrMulticast(host!);",
    replace: "return !isUnspecifiedOrMulticast(host!);",
  },
  {
    requirement: "E23",
    file: "node/net/addresses.ts",
    search: "/^\\/ip[46]\\/([^/]+)\\/(tcp|udp)\\/(\\d{1,5})(\\/|$)/.exec(address);",
    replace:
      '/^\\/(?:ip[46]|dns[46]?)\\/([^/]+)\\/(tcp|udp)\\/(\\d{1,5})(\\/|$)/.exec(address.replace(/dns[46]?\\/[^/]+/, "ip4/127.0.0.1"));',
  },
];
