import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode, toHex } from "../../protocols/bytes.ts";
import { idOf } from "../../protocols/ids.ts";
import {
  eventBody,
  parseCancel,
  parseEvent,
  parseRefused,
  parseRequest,
  parseResume,
  refusedBody,
  requestBody,
  requestDigest,
  resumeBody,
} from "../../protocols/invoke-bodies.ts";
import type { CallEvent, CallRequest, Part } from "../../protocols/invoke.ts";
import { parseJson } from "../../protocols/json.ts";
import type { Json } from "../../protocols/tool.ts";

const id32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const unicode = fc.string({ unit: "grapheme", maxLength: 50 });
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/);
const json = fc
  .jsonValue({ maxDepth: 4 })
  .map((value) => JSON.parse(JSON.stringify(value)) as Json)
  .filter((value) => !/"(__proto__|constructor|prototype)":/.test(JSON.stringify(value)));
const blob = fc
  .tuple(id32, fc.nat({ max: 1e6 }), unicode, fc.option(unicode, { nil: undefined }))
  .map(([hash, bytes, mediaType, file]) => ({
    hash: toHex(hash),
    bytes,
    mediaType,
    ...(file === undefined ? {} : { name: file }),
  }));
const part: fc.Arbitrary<Part> = fc.oneof(
  unicode.map((text) => ({ text })),
  json.map((data) => ({ data })),
  blob.map((one) => ({ blob: one })),
);
const parts = fc.array(part, { maxLength: 5 });
const link = fc
  .tuple(id32, id32, fc.option(name))
  .map(([person, device, agent]) => ({ person: idOf<"person">(person), device: idOf<"device">(device), agent }));
const request: fc.Arbitrary<CallRequest> = fc.record(
  {
    target: fc.oneof(
      name.map((agent) => ({ agent })),
      name.map((tool) => ({ tool: `${tool}.log` })),
    ),
    parts,
    arguments: fc.dictionary(
      name.filter((key) => key !== "constructor" && key !== "prototype"),
      json,
      { noNullPrototype: true },
    ),
    key: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    deadlineMs: fc.integer({ min: 1, max: 3_600_000 }),
    budget: fc.record(
      { depth: fc.nat({ max: 16 }), tokens: fc.nat(), costMicros: fc.nat() },
      { requiredKeys: ["depth"] },
    ),
    chain: fc.array(link, { minLength: 1, maxLength: 17 }),
    retryOf: fc.record({ request: id32.map((bytes) => idOf<"envelope">(bytes)), iat: fc.nat() }),
  },
  { requiredKeys: ["target", "parts", "arguments", "key", "deadlineMs", "budget", "chain"] },
);

const through = (value: unknown): unknown => decode(encode(value));

test("every request comes out of its bytes as it went in", () => {
  fc.assert(
    fc.property(request, (one) => {
      expect(parseRequest(through(requestBody(one)))).toEqual(one);
    }),
  );
});

test("every event comes out of its bytes as it went in", () => {
  const content = fc.oneof(
    unicode.map((text) => ({ type: "text" as const, text })),
    blob.map((one) => ({ type: "blob" as const, ...one })),
  );
  const tool = fc.record(
    { content: fc.array(content, { maxLength: 4 }), isError: fc.boolean(), structured: json },
    { requiredKeys: ["content", "isError"] },
  );
  const error = fc.record(
    { code: fc.stringMatching(/^[A-Z][A-Z0-9_]{0,20}$/), message: unicode, hint: unicode },
    { requiredKeys: ["code", "message"] },
  );
  const event: fc.Arbitrary<CallEvent> = fc.oneof(
    fc.constant({ type: "accepted" as const, index: 0 as const }),
    fc.record({ type: fc.constant("progress" as const), index: fc.nat(), parts }),
    fc.record({
      type: fc.constant("result" as const),
      index: fc.nat(),
      outcome: fc.oneof(fc.record({ parts }), fc.record({ tool })),
    }),
    fc.record({ type: fc.constant("failure" as const), index: fc.nat(), error }),
  );
  fc.assert(
    fc.property(event, (one) => {
      expect(parseEvent(one.type, through(eventBody(one)))).toEqual(one);
    }),
  );
});

test("two requests have one digest exactly if target, parts and arguments are the same", () => {
  fc.assert(
    fc.property(request, request, (a, b) => {
      const retry = { ...b, target: a.target, parts: a.parts, arguments: a.arguments };
      expect(requestDigest(retry)).toEqual(requestDigest(a));
      expect(requestDigest({ ...a, parts: [...a.parts, { text: "more" }] })).not.toEqual(requestDigest(a));
      expect(requestDigest({ ...a, arguments: { ...a.arguments, more: 1.5 } })).not.toEqual(requestDigest(a));
    }),
  );
});

const good = requestBody({
  target: { tool: "git.log" },
  parts: [],
  arguments: {},
  key: new Uint8Array(16),
  deadlineMs: 1,
  budget: { depth: 0 },
  chain: [{ person: idOf(new Uint8Array(32)), device: idOf(new Uint8Array(32)), agent: null }],
});

test.each<[string, Record<string, unknown>, string]>([
  ["a field that nobody knows", { more: 1 }, 'no field "more"'],
  ["no target", { target: {} }, "agent or tool"],
  ["two targets", { target: { agent: "a", tool: "b" } }, "agent or tool"],
  ["a target that is no name", { target: { agent: "../x" } }, "no agent's or tool's name"],
  ["a short key", { key: new Uint8Array(15) }, "16 bytes"],
  ["no time", { deadline: 0 }, "from 1"],
  ["more than an hour", { deadline: 3_600_001 }, "to 3600000"],
  ["a negative depth", { budget: { depth: -1 } }, "from 0"],
  ["a depth of 17", { budget: { depth: 17 } }, "at most 16"],
  ["a budget of what nobody knows", { budget: { depth: 1, wishes: 3 } }, 'no field "wishes"'],
  ["no chain", { chain: [] }, "at least the caller's link"],
  [
    "18 links",
    { chain: Array.from({ length: 18 }, () => [new Uint8Array(32), new Uint8Array(32), null]) },
    "at most 17",
  ],
  ["a link without device", { chain: [[new Uint8Array(32), null]] }, "a link of a chain"],
  ["args that are no object", { args: "[1]" }, "JSON object"],
  ["args that are no JSON", { args: "{" }, "not JSON"],
  ["B19: a name twice in args", { args: '{"cap":"read","c\\u0061p":"admin"}' }, "twice"],
  ["B15: __proto__ in args", { args: '{"a":[{"__proto__":{}}]}' }, "__proto__"],
  ["B12: args nested 65 deep", { args: `{"a":${"[".repeat(64)}${"]".repeat(64)}}` }, "deeper than 64"],
  ["args over 128 KiB", { args: `{"a":"${"x".repeat(131_072)}"}` }, "at most 131072"],
  ["a part of two kinds", { parts: [{ text: "a", data: "1" }] }, "one of text, data, blob"],
  ["257 parts", { parts: Array.from({ length: 257 }, () => ({ text: "" })) }, "at most 256"],
  ["a blob with a short hash", { parts: [{ blob: { hash: new Uint8Array(31), bytes: 1, type: "a" } }] }, "32 bytes"],
  ["a retry without iat", { retry: [new Uint8Array(32), null] }, "a retry's iat"],
])("a request with %s is refused", (_name, change, why) => {
  expect(parseRequest(good)).toBeDefined();
  expect(() => parseRequest({ ...good, ...change })).toThrow(why);
});

test("names may repeat in different objects of one JSON text, and strings may hold what looks like one", () => {
  const text = '{"a":{"a":1},"b":[{"a":2},{"a":3}],"c":"\\"a\\":{\\"a\\":","d":[]}';
  expect(parseJson(text, "it", 1000)).toEqual(JSON.parse(text));
});

test("refusals, resumes and cancels are read strictly", () => {
  const error = { code: "DENIED", message: "no", hint: "ask" };
  expect(parseRefused(through(refusedBody(error)))).toEqual(error);
  expect(parseRefused(through(refusedBody({ code: "X", message: "y".repeat(9999) }))).message).toHaveLength(4096);
  expect(() => parseRefused({ code: "denied", message: "no" })).toThrow("UPPER_SNAKE");
  expect(() => parseRefused({ code: "DENIED", message: 1 })).toThrow("text");
  const resume = { from: 3, id: new Uint8Array(16), boot: new Uint8Array(16) };
  expect(parseResume(through(resumeBody(resume)))).toEqual(resume);
  expect(() => parseResume({ ...resume, boot: null })).toThrow("16 bytes");
  expect(() => parseResume({ ...resume, id: new Uint8Array(3) })).toThrow("16 bytes");
  expect(() => parseResume({ ...resume, from: -1 })).toThrow("from 0");
  expect(() => parseCancel({ why: "x" })).toThrow('no field "why"');
});

test.each<[CallEvent["type"], unknown, string]>([
  ["accepted", { n: 1 }, "event 0"],
  ["accepted", { n: 0, more: 1 }, "no field"],
  ["progress", { n: 1 }, "parts are a list"],
  ["result", { n: 1 }, "parts or tool"],
  ["result", { n: 1, parts: [], tool: {} }, "parts or tool"],
  ["result", { n: 1, tool: { content: [], isError: 0 } }, "true or false"],
  ["result", { n: 1, tool: { content: [{}], isError: true } }, "text or blob"],
  ["failure", { n: 1, code: "X" }, "message is text"],
  ["failure", { n: -1, code: "X", message: "" }, "from 0"],
])("%s %j is refused", (type, body, why) => {
  expect(() => parseEvent(type, body)).toThrow(why);
});
