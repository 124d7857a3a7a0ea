import { describe, expect, test } from "vitest";
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import type { Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { clockError, clockOf, greet, skewSentence, type HelloDeps } from "../../protocols/hello.ts";
import { idBytes, type MeshId, type RecordId } from "../../protocols/ids.ts";
import { SKEW_LIMIT_MS, SKEW_WARN_MS } from "../../protocols/limits.ts";
import { asMap, parseSealed, sealedValue, sealOne } from "../../protocols/signature.ts";
import { MESH, realRandom, realTime, someone, soon, type Someone } from "./fixture.ts";
import { createLoopback } from "../../node/net/loopback.ts";

const ana = someone("ana");
const ben = someone("ben");
const eve = someone("eve");
const PEOPLE = [ana, ben];

function depsOf(me: Someone, remote: Someone, changed: Partial<HelloDeps> = {}): HelloDeps {
  return {
    mesh: MESH,
    device: me.device,
    person: me.person,
    key: me.key,
    boot: new Uint8Array(16).fill(me.name.length),
    time: realTime,
    random: realRandom,
    features: ["resume"],
    remote: remote.device,
    personOf: (device) => PEOPLE.find((one) => one.device === device)?.person ?? null,
    heads: () => [],
    agentKeys: () => [],
    ...changed,
  };
}

/** Both sides' outcome: a greeting or the code of the error. */
async function meet(a: Partial<HelloDeps> = {}, b: Partial<HelloDeps> = {}, wires = createLoopback()) {
  return Promise.all([
    greet(wires[0], depsOf(ana, ben, a), soon()).catch((error: KinError) => error),
    greet(wires[1], depsOf(ben, ana, b), soon()).catch((error: KinError) => error),
  ]);
}

function ahead(ms: number): Time {
  return { ...realTime, now: () => Date.now() + ms };
}

describe("hello", () => {
  test("tells person, boot, heads, features, agent keys and version, on both sides [hello-proof]", async () => {
    const head = "ab".repeat(32) as RecordId;
    const key = sealOne(ben.key, "agent-key", encode({ name: "reviewer" }));
    const [toAna, toBen] = await meet({}, { heads: () => [head], agentKeys: () => [key] });
    expect(toAna).toMatchObject({
      device: ben.device,
      person: ben.person,
      version: 1,
      features: ["resume"],
      heads: [head],
      clock: "good",
    });
    expect(toAna).toMatchObject({ agentKeys: [{ bytes: key.bytes }], boot: new Uint8Array(16).fill(3) });
    expect(toBen).toMatchObject({ device: ana.device, person: ana.person, heads: [], agentKeys: [] });
  });

  test("a skew over 2 min is a warning on both sides, over 5 min calls fail and name whose clock and by how much [clock-skew]", async () => {
    const [toAna, toBen] = await meet({}, { time: ahead(3 * 60_000) });
    expect(toAna).toMatchObject({ clock: "warn" });
    expect(toBen).toMatchObject({ clock: "warn" });
    const [slow, fast] = await meet({}, { time: ahead(3_600_000) });
    if (slow instanceof KinError || fast instanceof KinError) throw new Error("a skewed clock still says hello");
    expect(Math.round(slow.skewMs / 10_000)).toBe(360);
    expect(clockError(slow, "ben")).toMatchObject({ code: "CLOCK_SKEW" });
    expect(clockError(slow, "ben")?.message).toContain("ben's clock is 60 min ahead of ours");
    expect(clockError(fast, "ana")?.message).toContain("ana's clock is 60 min behind ours");
    expect(clockError({ ...slow, clock: "warn" }, "ben")).toBeNull();
  });

  test("the bounds of the clock are exact [clock-skew]", () => {
    expect([0, SKEW_WARN_MS, -SKEW_WARN_MS].map(clockOf)).toEqual(["good", "good", "good"]);
    expect([SKEW_WARN_MS + 1, -SKEW_WARN_MS - 1, SKEW_LIMIT_MS].map(clockOf)).toEqual(["warn", "warn", "warn"]);
    expect([SKEW_LIMIT_MS + 1, -SKEW_LIMIT_MS - 1].map(clockOf)).toEqual(["skewed", "skewed"]);
    expect(skewSentence({ skewMs: -3 * 86_400_000 }, "cat")).toBe("cat's clock is 3 days behind ours");
  });
});

/** A wire whose outgoing messages pass through `change` first. */
function tampering(wire: Wire, change: (message: Record<string, unknown>) => unknown): Wire {
  return {
    signal: wire.signal,
    frames: () => wire.frames(),
    close: () => wire.close(),
    abort: (reason) => wire.abort(reason),
    send: (frame) => wire.send(encode(change(asMap(decode(frame), "a message")))),
  };
}

/** Rewrites the sealed part of the hello and signs it anew with `key`. */
function resaid(key: Someone, change: (said: Record<string, unknown>) => unknown) {
  return (message: Record<string, unknown>): unknown => {
    if (message["t"] !== "hello") return message;
    const said = asMap(decode(parseSealed(message["s"]).bytes), "a hello");
    const sealed = sealOne(key.key, "hello", encode(change(said)));
    return { ...message, s: sealedValue(sealed) as Value };
  };
}

describe("a hello that is refused [hello-proof]", () => {
  const CASES: [name: string, change: (message: Record<string, unknown>) => unknown, code: string][] = [
    ["A5: signed by another key", resaid(eve, (said) => said), "BAD_SIGNATURE"],
    ["A10: of another mesh", resaid(ben, (said) => ({ ...said, mesh: new Uint8Array(32) })), "WRONG_MESH"],
    ["A11: said to another device", resaid(ben, (said) => ({ ...said, to: idBytes(eve.device) })), "BAD_SIGNATURE"],
    [
      "A17: that answers another challenge",
      resaid(ben, (said) => ({ ...said, nonce: new Uint8Array(16) })),
      "REPLAYED",
    ],
    [
      "of a device that is another person's",
      resaid(ben, (said) => ({ ...said, from: [idBytes(ana.person), idBytes(ben.device)] })),
      "NOT_A_MEMBER",
    ],
    [
      "that names another device",
      resaid(ben, (said) => ({ ...said, from: [idBytes(ben.person), idBytes(eve.device)] })),
      "BAD_SIGNATURE",
    ],
    ["A21: of an unknown version", resaid(ben, (said) => ({ ...said, v: 2 })), "UNSUPPORTED_VERSION"],
    ["with a short boot id", resaid(ben, (said) => ({ ...said, boot: new Uint8Array(8) })), "BAD_REQUEST"],
    ["with a wall clock that is text", resaid(ben, (said) => ({ ...said, wall: "now" })), "BAD_REQUEST"],
    ["with a head of 31 bytes", resaid(ben, (said) => ({ ...said, heads: [new Uint8Array(31)] })), "BAD_REQUEST"],
    ["with 65 features", resaid(ben, (said) => ({ ...said, features: Array(65).fill("x") })), "BAD_REQUEST"],
    [
      "with an agent key of another device",
      (message) =>
        message["t"] === "hello"
          ? { ...message, keys: [sealedValue(sealOne(eve.key, "agent-key", new Uint8Array(1)))] }
          : message,
      "BAD_SIGNATURE",
    ],
    ["that is no hello", (message) => (message["t"] === "hello" ? { t: "ok" } : message), "BAD_REQUEST"],
    [
      "A20: whose nonce is short",
      (message) => (message["t"] === "nonce" ? { ...message, n: new Uint8Array(4) } : message),
      "BAD_REQUEST",
    ],
    [
      "that speaks only newer versions",
      (message) => (message["t"] === "nonce" ? { ...message, v: [7] } : message),
      "UNSUPPORTED_VERSION",
    ],
  ];
  test.each(CASES)("%s", async (_name, change, code) => {
    const [a, b] = createLoopback();
    const [toAna, toBen] = await meet({}, {}, [a, tampering(b, change)]);
    expect(toAna).toMatchObject({ code });
    expect(toBen, "and the other side is told").toMatchObject({ code });
  });

  test("of somebody who is no member (any more) [hello-proof]", async () => {
    const [toAna, toBen] = await meet({ personOf: () => null });
    expect(toAna).toMatchObject({ code: "NOT_A_MEMBER" });
    expect(toBen).toMatchObject({ code: "NOT_A_MEMBER" });
  });

  test("of another mesh, honestly said", async () => {
    const [toAna] = await meet({}, { mesh: "00".repeat(32) as MeshId });
    expect(toAna).toMatchObject({ code: "WRONG_MESH" });
  });

  test("of a peer that says nothing: cut when the signal fires", async () => {
    const [a] = createLoopback();
    const signal = AbortSignal.timeout(50);
    await expect(greet(a, depsOf(ana, ben), signal)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  });

  test("of a peer that ends early", async () => {
    const [a, b] = createLoopback();
    await b.close();
    await expect(greet(a, depsOf(ana, ben), soon())).rejects.toMatchObject({ code: "BAD_REQUEST" });
  });
});
