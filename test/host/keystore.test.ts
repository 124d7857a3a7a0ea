import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { changePassphrase, isSealedKeystore, openKeystore, readDevicePublicKey } from "../../node/keystore.ts";
import { toHex } from "../../protocols/bytes.ts";
import { idOf } from "../../protocols/ids.ts";

let root: string;
let keys: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kin-keys-"));
  keys = join(root, "keys");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** scrypt is meant to be slow, and slower on a busy machine. */
const SLOW = { timeout: 60_000 };
const mesh = idOf<"mesh">(new Uint8Array(32).fill(1));
const otherMesh = idOf<"mesh">(new Uint8Array(32).fill(2));
const epoch = idOf<"epoch">(new Uint8Array(32).fill(3));
const epochKey = new Uint8Array(32).fill(4);

function allFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
function copy(from: string, to: string): void {
  cpSync(from, to, { recursive: true });
  chmodSync(to, 0o700);
}
const refused = (code: string, text = ""): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(text) });

test("keys are made once, for me alone, and are the same at the next start", () => {
  const made = openKeystore(keys, { now: 7 });
  made.putEpochKey(mesh, epoch, epochKey);
  const agent = made.agentKey(mesh, "reviewer");
  const again = openKeystore(keys);
  expect(again.isSealed).toBe(false);
  expect(toHex(again.person.publicKey)).toBe(toHex(made.person.publicKey));
  expect(toHex(again.device.publicKey)).toBe(toHex(made.device.publicKey));
  expect(toHex(again.device.publicKey)).not.toBe(toHex(again.person.publicKey));
  expect(again.sealingKeys()).toEqual(made.sealingKeys());
  expect(again.sealingKeys()[0]!.madeAt).toBe(7);
  expect(again.epochKey(mesh, epoch)).toEqual(epochKey);
  expect(again.epochKey(otherMesh, epoch)).toBeUndefined();
  expect(again.agentKey(mesh, "reviewer").generation).toBe(1);
  expect(toHex(again.agentKey(mesh, "reviewer").key.publicKey)).toBe(toHex(agent.key.publicKey));
  expect(readDevicePublicKey(keys)).toEqual(made.device.publicKey);
  for (const file of allFiles(keys)) expect(statSync(file).mode & 0o777).toBe(0o600);
  for (const entry of readdirSync(keys, { recursive: true, withFileTypes: true }))
    if (entry.isDirectory()) expect(statSync(join(entry.parentPath, entry.name)).mode & 0o777).toBe(0o700);
});

test("R17: agent keys are random per mesh, agent and generation, and an ended agent's key never revives", () => {
  const store = openKeystore(keys);
  const first = store.agentKey(mesh, "reviewer");
  const others = [
    store.agentKey(otherMesh, "reviewer"),
    store.agentKey(mesh, "guide"),
    store.rotateAgentKey(mesh, "reviewer"),
  ];
  for (const other of others) expect(toHex(other.key.publicKey)).not.toBe(toHex(first.key.publicKey));
  expect(others[2]!.generation).toBe(2);
  store.endAgent(mesh, "reviewer");
  const file = readFileSync(join(keys, mesh, "agents", "reviewer.json"), "utf8");
  expect(file).not.toContain('"key"');
  const revived = openKeystore(keys).agentKey(mesh, "reviewer");
  expect(revived.generation).toBe(3);
  expect(toHex(revived.key.publicKey)).not.toBe(toHex(others[2]!.key.publicKey));
  expect(() => store.agentKey(mesh, "../device")).toThrow(refused("BAD_REQUEST"));
});

test("R1: a person's next key is durable before it counts, and the roster says which of the two does after a crash", () => {
  const store = openKeystore(keys);
  const { person } = store;
  const first = person.publicKey;
  const next = store.nextPersonKey();
  expect(person.publicKey).toEqual(first);
  store.adoptPersonKey(first);
  expect(() => store.adoptPersonKey(next.publicKey), "it is gone").not.toThrow();
  expect(person.publicKey).toEqual(first);

  const second = store.nextPersonKey();
  const again = openKeystore(keys);
  expect(again.person.publicKey, "until it is adopted").toEqual(first);
  again.adoptPersonKey(second.publicKey);
  expect(again.person.publicKey).toEqual(second.publicKey);
  expect(toHex(again.person.sign(Uint8Array.of(1)))).toBe(toHex(second.sign(Uint8Array.of(1))));
  expect(openKeystore(keys).person.publicKey).toEqual(second.publicKey);
});

test("R7: sealing keys rotate, the newest first; old ones are deleted, the newest never", () => {
  const store = openKeystore(keys, { now: 10 });
  const second = store.rotateSealingKey(20);
  store.rotateSealingKey(30);
  expect(store.sealingKeys().map((key) => key.madeAt)).toEqual([30, 20, 10]);
  expect(store.dropSealingKeys(20), "10 was in use until 20").toBe(0);
  expect(store.dropSealingKeys(21)).toBe(1);
  expect(openKeystore(keys).sealingKeys()[1]).toEqual(second);
  expect(store.dropSealingKeys(1_000)).toBe(1);
  expect(
    openKeystore(keys)
      .sealingKeys()
      .map((key) => key.madeAt),
  ).toEqual([30]);
});

test("K10: a key file or folder that others may read is refused, with the command to run", () => {
  openKeystore(keys);
  const file = join(keys, "device.json");
  chmodSync(file, 0o644);
  expect(() => openKeystore(keys)).toThrow(
    expect.objectContaining({
      code: "KEY_FILE_TOO_OPEN",
      message: expect.stringContaining("0644"),
      hint: expect.stringContaining(`chmod 600 '${file}'`),
    }),
  );
  chmodSync(file, 0o600);
  chmodSync(keys, 0o755);
  expect(() => openKeystore(keys)).toThrow(refused("KEY_FILE_TOO_OPEN", keys));
});

test("an unreadable, cut off or missing key file is said and never overwritten [key-file]", () => {
  openKeystore(keys);
  const file = join(keys, "person.json");
  const whole = readFileSync(file, "utf8");
  for (const content of [
    "",
    whole.slice(0, 40),
    "null",
    "[]",
    '{"v":1,"purpose":"person","keys":[]}',
    whole.replace(/"key":"../, '"key":"zz'),
  ]) {
    writeFileSync(file, content);
    expect(() => openKeystore(keys)).toThrow(refused("KEY_FILE_UNREADABLE", file));
    expect(readFileSync(file, "utf8")).toBe(content);
  }
  writeFileSync(file, whole.replace('"v":1', '"v":2'));
  expect(() => openKeystore(keys)).toThrow(refused("UNSUPPORTED_VERSION"));
  rmSync(file);
  expect(() => openKeystore(keys)).toThrow(refused("KEY_FILE_UNREADABLE", "missing"));
  expect(existsSync(file)).toBe(false);
});

test("a passphrase seals every key; only it opens them", SLOW, () => {
  const made = openKeystore(keys, { passphrase: "correct horse" });
  made.putEpochKey(mesh, epoch, epochKey);
  made.agentKey(mesh, "reviewer");
  expect(made.isSealed).toBe(true);
  for (const file of allFiles(keys)) {
    expect(readFileSync(file, "utf8")).not.toContain('"key"');
    expect(readFileSync(file, "utf8")).not.toContain(toHex(made.deviceSeed));
  }
  expect(() => openKeystore(keys)).toThrow(refused("PASSPHRASE_NEEDED"));
  expect(() => openKeystore(keys, { passphrase: "wrong" })).toThrow(refused("PASSPHRASE_WRONG"));
  const again = openKeystore(keys, { passphrase: "correct horse" });
  expect(toHex(again.device.publicKey)).toBe(toHex(made.device.publicKey));
  expect(again.epochKey(mesh, epoch)).toEqual(epochKey);
  expect(readDevicePublicKey(keys)).toEqual(made.device.publicKey);
});

test("the wrapped master key is scrypt N=2^17 r=8 p=1 and nothing weaker is believed [passphrase-scrypt]", SLOW, () => {
  openKeystore(keys, { passphrase: "p" });
  const file = join(keys, "master.json");
  const master = JSON.parse(readFileSync(file, "utf8")) as { n: number };
  expect(master).toMatchObject({ v: 1, kdf: "scrypt", n: 131_072, r: 8, p: 1 });
  writeFileSync(file, JSON.stringify({ ...master, n: 2 }));
  expect(() => openKeystore(keys, { passphrase: "p" })).toThrow(refused("KEY_FILE_UNREADABLE", file));
});

test("K12: a sealed key that was swapped for another, or for a raw one, does not open", SLOW, () => {
  const store = openKeystore(keys, { passphrase: "p" });
  store.agentKey(mesh, "reviewer");
  store.agentKey(mesh, "guide");
  const opened = (): unknown => {
    const again = openKeystore(keys, { passphrase: "p" });
    return [again.agentKey(mesh, "reviewer"), again.agentKey(mesh, "guide")];
  };
  const path = (purpose: string): string => join(keys, `${purpose}.json`);
  const read = (purpose: string): { purpose: string; keys: object[]; public?: string } =>
    JSON.parse(readFileSync(path(purpose), "utf8")) as never;
  const swap = (purpose: string, change: object): void =>
    writeFileSync(path(purpose), JSON.stringify({ ...read(purpose), ...change }));
  const agents = [`${mesh}/agents/reviewer`, `${mesh}/agents/guide`] as const;
  const cases: [string, object][] = [
    ["device", { keys: read("person").keys, public: read("person").public }],
    [agents[0], { keys: read(agents[1]).keys }],
    [agents[0], { keys: [{ ...read(agents[0]).keys[0], generation: 9 }] }],
    ["device", { keys: [{ key: "11".repeat(32) }] }],
  ];
  for (const [purpose, change] of cases) {
    const before = readFileSync(path(purpose));
    swap(purpose, change);
    expect(opened, JSON.stringify([purpose, Object.keys(change)])).toThrow(refused("KEY_FILE_UNREADABLE"));
    writeFileSync(path(purpose), before);
  }
  rmSync(join(keys, "master.json"));
  expect(() => openKeystore(keys)).toThrow(refused("KEY_FILE_UNREADABLE", "master.json is missing"));
});

test("setting, changing and removing a passphrase keeps every key", SLOW, () => {
  const made = openKeystore(keys);
  made.putEpochKey(mesh, epoch, epochKey);
  const agent = made.rotateAgentKey(mesh, "reviewer");
  const isSame = (passphrase?: string): void => {
    const store = openKeystore(keys, { passphrase });
    expect(toHex(store.person.publicKey)).toBe(toHex(made.person.publicKey));
    expect(toHex(store.agentKey(mesh, "reviewer").key.publicKey)).toBe(toHex(agent.key.publicKey));
    expect(store.epochKey(mesh, epoch)).toEqual(epochKey);
    expect(readdirSync(root)).toEqual(["keys"]);
  };
  changePassphrase(keys, undefined, "one");
  expect(isSealedKeystore(keys)).toBe(true);
  expect(() => changePassphrase(keys, "two", "three")).toThrow(refused("PASSPHRASE_WRONG"));
  changePassphrase(keys, "one", "two");
  isSame("two");
  changePassphrase(keys, "two", null);
  expect(isSealedKeystore(keys)).toBe(false);
  isSame();
});

test("a crash while the passphrase changes leaves the old keys or the new ones", () => {
  const made = openKeystore(keys);
  const whole = join(root, "whole");
  copy(keys, whole);
  // before the old folder was put aside: the new one may be half written
  copy(keys, `${keys}.kin-new`);
  rmSync(join(`${keys}.kin-new`, "device.json"));
  expect(toHex(openKeystore(keys).device.publicKey)).toBe(toHex(made.device.publicKey));
  // between the two renames: the new one is whole
  renameSync(keys, `${keys}.kin-old`);
  copy(whole, `${keys}.kin-new`);
  expect(toHex(openKeystore(keys).device.publicKey)).toBe(toHex(made.device.publicKey));
  // during the very first start
  rmSync(keys, { recursive: true });
  copy(whole, `${keys}.kin-new`);
  rmSync(join(`${keys}.kin-new`, "device.json"));
  expect(openKeystore(keys).device.publicKey).toHaveLength(32);
  expect(readdirSync(root).toSorted()).toEqual(["keys", "whole"]);
});

test("an epoch key has 32 bytes and a mesh id is hex, whatever the types say", () => {
  const store = openKeystore(keys);
  expect(() => store.putEpochKey(mesh, epoch, new Uint8Array(31))).toThrow(refused("BAD_REQUEST", "31"));
  expect(() => store.putEpochKey("../x" as never, epoch, epochKey)).toThrow(refused("BAD_REQUEST"));
});
