import fc from "fast-check";
import { expect, test } from "vitest";
import { rest } from "../../node/cli/ask.ts";
import { commandElsewhere, commandHint, rewriteCommands } from "../../node/cli/hint.ts";
import { clean, cutLast, errorText, exitCodeOf, jsonText } from "../../node/cli/output.ts";
import { checkNumbers, jsonOrText, nearestName, parseCount, parseDuration, parseName } from "../../node/cli/parse.ts";
import { changeless } from "./changeless.ts";
import { NAME_PATTERN } from "../../protocols/limits.ts";

test("no control character or direction mark of remote text reaches the terminal; the rest is unchanged [terminal-safe]", () => {
  expect(clean("a\u001B[31mb\u0007c\u009B2Jd\r\ne\tf\u202Eg\u007F")).toBe("a[31mbc2Jd\ne\tfg");
  expect(clean("größe 🦊 你好")).toBe("größe 🦊 你好");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(changeless(clean(text))).toBe(true);
      expect(clean(clean(text))).toBe(clean(text));
    }),
  );
});

test("F9: JSON output is safe on a terminal and means the same", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string({ unit: "binary" }), (value, text) => {
      const line = jsonText({ value, text });
      expect(changeless(line)).toBe(true);
      expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify({ value, text })));
    }),
  );
});

test("an error says what, why and what to do, on lines of its own [no-stack]", () => {
  expect(errorText({ code: "JOIN_FAILED", message: "could not reach \u001B[1mben", hint: "one\ntwo" })).toBe(
    "kin: could not reach [1mben (JOIN_FAILED)\n  one\n  two",
  );
});

test("exit codes: 1 failed, 2 usage, 3 not running, 4 denied, 5 queued, 6 timed out [exit-codes]", () => {
  const codes = ["INTERNAL", "USAGE", "NOT_RUNNING", "DENIED", "QUEUED", "DEADLINE_EXCEEDED"];
  expect(codes.map(exitCodeOf)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(exitCodeOf("A_CODE_OF_A_NEWER_PEER")).toBe(1);
  expect(exitCodeOf("constructor")).toBe(1);
});

test("of a whole answer only what was not streamed is printed, and it ends with a line break", () => {
  expect(rest("", "all")).toBe("all\n");
  expect(rest("one ", "one two\n")).toBe("two\n");
  expect(rest("one two", "one two")).toBe("\n");
  expect(rest("reading…", "the answer")).toBe("\nthe answer\n");
  expect(rest("reading…\n", "the answer")).toBe("the answer\n");
  expect(rest("intro\nbody", "body")).toBe("\n");
  expect(rest("", "")).toBe("");
});

test("times, counts and names are parsed or refused with an example", () => {
  expect(parseDuration("90s", "--deadline")).toBe(90_000);
  expect(parseDuration("7d", "--expires")).toBe(604_800_000);
  for (const word of ["", "0s", "5", "1w", "-1s", "1e3s", "9999999999s"])
    expect(() => parseDuration(word, "--deadline")).toThrow(expect.objectContaining({ code: "USAGE" }));
  expect(parseCount("50", "--uses", 50)).toBe(50);
  for (const word of ["0", "51", "1.5", "many"])
    expect(() => parseCount(word, "--uses", 50)).toThrow(expect.objectContaining({ code: "USAGE" }));
  expect(() => parseName("Ana Maria", "--as")).toThrow(
    expect.objectContaining({ code: "USAGE", hint: "for example ana-maria" }),
  );
  expect(nearestName("7")).toBeNull();
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (word) => {
      const name = nearestName(word);
      expect(name === null || NAME_PATTERN.test(name)).toBe(true);
    }),
  );
});

test("values-kept: a word is JSON only where JSON would write its number the same way; else it is text", () => {
  const read = (word: string) => jsonOrText(word, "it has", "quote it");
  for (const [word, value] of [
    ["8080", 8080],
    [" -1.5\n", -1.5],
    ["1e+21", 1e21],
    ["true", true],
    ['"8080"', "8080"],
    ['{"a": [1.0, 1e3, -0, 0.10]}', { a: [1, 1000, -0, 0.1] }],
    ['["12345678901234567890", "a \\" 1e999 \\\\"]', ["12345678901234567890", 'a " 1e999 \\']],
  ] as const)
    expect(read(word)).toEqual(value);
  for (const word of ["1.10", "1234e56", "1e400", "12345678901234567890", "-0", "0x10", "01", "v1", ""])
    expect(read(word)).toBe(word);
});

test("values-kept: a number inside of JSON that would become another one is refused by name", () => {
  for (const [json, number, other] of [
    ['{"id": 12345678901234567890}', "12345678901234567890", "12345678901234567000"],
    ["[9007199254740993]", "9007199254740993", "9007199254740992"],
    ['[1, {"a": -1E400}]', "-1E400", "-Infinity"],
    ["[1e-400]", "1e-400", "0"],
    ["[0.1000000000000000055511151231257827]", "0.1000000000000000055511151231257827", "0.1"],
  ] as const)
    expect(() => jsonOrText(json, "it has", "quote it")).toThrow(
      expect.objectContaining({
        code: "USAGE",
        message: `it has the number ${number}, which would become ${other}`,
        hint: "quote it",
      }),
    );
  fc.assert(
    fc.property(fc.jsonValue(), fc.double({ noNaN: true, noDefaultInfinity: true }), (value, number) => {
      checkNumbers(JSON.stringify([value, number, number.toPrecision(17)]), "it", "");
      checkNumbers(`[${number.toExponential()}]`, "it", "");
    }),
  );
});

test("on a terminal a table's last column is cut to what room there is; where there is none, nothing is cut", () => {
  const rows = [
    ["a", "does"],
    ["abc", "x".repeat(50)],
  ];
  expect(cutLast(rows, 40)[1]).toEqual(["abc", `${"x".repeat(34)}…`]);
  expect(cutLast(rows, 80)).toEqual(rows);
  expect(cutLast(rows, 12)).toEqual(rows);
});

test("hints: in a clone a command that works from any folder, installed just kin [hints-anywhere]", () => {
  const clone = "/home/ben/my src/kin";
  expect(commandHint("up", {}, clone)).toBe("node '/home/ben/my src/kin/node/cli/bin.js' up");
  expect(commandHint("up", { KIN_HOME: "/data/it's" }, "/kin")).toBe(
    "KIN_HOME='/data/it'\\''s' node /kin/node/cli/bin.js up",
  );
  expect(commandHint("up", {}, "/usr/lib/node_modules/kin-mesh")).toBe("kin up");
  expect(commandElsewhere("join kint1x", clone)).toBe("npx kin join kint1x");
  expect(commandElsewhere("join kint1x", "/usr/lib/node_modules/kin-mesh")).toBe("kin join kint1x");
  expect(rewriteCommands("start it: kin up; kin is fine; npx kin join x; my/kin up", {}, "/kin")).toBe(
    "start it: node /kin/node/cli/bin.js up; kin is fine; npx kin join x; my/kin up",
  );
});
