import fc from "fast-check";
import { expect, test } from "vitest";
import { parseDefinition } from "../../node/agents/definition.ts";
import { isProblem, parseTemplate, renderText, renderValue } from "../../node/agents/template.ts";

const GOOD = `---
name: counter
description: Counts commits.
for: share-people
tools: [git.log]
steps:
  - tool: git.log
    with: { share: "{{settings.share?}}", max: 3 }
    as: log
answer: "{{log.text}}"
---

Instructions.
`;

test("agents: AGENT.md gives steps, settings and instructions [agent-md]", () => {
  const definition = parseDefinition(GOOD, "AGENT.md");
  expect(definition).toMatchObject({
    name: "counter",
    for: "share-people",
    tools: ["git.log"],
    settings: ["share"],
    instructions: "Instructions.",
  });
  expect(definition.steps[0]!.with).toEqual({ share: [{ path: ["settings", "share"], optional: true }], max: 3 });
});

const MISTAKES: [string, (text: string) => string, string][] = [
  ["no front matter", () => "hello", "AGENT.md:1:1: expected front matter"],
  [
    "an unknown key",
    (text) => text.replace("tools:", "toolz:"),
    'AGENT.md:5:1: "toolz" is not known here; did you mean "tools"?',
  ],
  [
    "an unknown key of a step",
    (text) => text.replace("as: log", "ass: log"),
    'AGENT.md:9:5: "ass" is not known here; did you mean "as"?',
  ],
  [
    "a bad name",
    (text) => text.replace("name: counter", "name: Counter!"),
    "AGENT.md:2:7: name: expected a name like code-reviewer",
  ],
  [
    "a tool that is not listed",
    (text) => text.replace("- tool: git.log", "- tool: git.diff"),
    "AGENT.md:7:11: git.diff is not in its list of tools",
  ],
  [
    "a value that nothing gives",
    (text) => text.replace("{{log.text}}", "{{logs.text}}"),
    'AGENT.md:10:9: answer: "{{logs.text}}": there is no "logs" here; known: question, attached, settings, log',
  ],
  [
    "an open placeholder",
    (text) => text.replace("{{log.text}}", "{{log.text"),
    'AGENT.md:10:9: answer: "{{" is not closed',
  ],
  ["code in a placeholder", (text) => text.replace("{{log.text}}", "{{log.text()}}"), "is not a path like"],
  [
    "a step that uses its own result",
    (text) => text.replace("{{settings.share?}}", "{{log.text}}"),
    'AGENT.md:8:20: share: "{{log.text}}": there is no "log" here',
  ],
  [
    "no steps",
    (text) => text.replace(/steps:[\s\S]*as: log\n/, "").replace("{{log.text}}", "x"),
    "an agent needs steps",
  ],
  ["nothing to say", (text) => text.replace(/answer:.*\n/, ""), "it never says anything"],
  ["broken YAML", (text) => text.replace("tools: [git.log]", "tools: [git.log"), "AGENT.md:"],
  [
    "a key twice",
    (text) => text.replace("for: share-people", "for: share-people\nfor: members"),
    "AGENT.md:5:1: Map keys must be unique",
  ],
  [
    "somebody unheard of",
    (text) => text.replace("for: share-people", "for: everybody"),
    "share-people, members, me, or a list",
  ],
];
for (const [what, change, message] of MISTAKES)
  test(`agents: ${what} is said with file, line and column [agent-md]`, () => {
    expect(() => parseDefinition(change(GOOD), "AGENT.md")).toThrow(message);
  });

test("agents: an anchor bomb in the front matter is refused, not expanded", () => {
  const bomb = [
    "a: &a [x,x,x,x,x,x,x,x,x]",
    ..."bcdefghi"
      .split("")
      .map((name, index) => `${name}: &${name} [${"*".concat("abcdefgh"[index]!).concat(",").repeat(9)}]`),
  ].join("\n");
  const began = performance.now();
  expect(() => parseDefinition(`---\n${bomb}\n---\n`, "AGENT.md")).toThrow("AGENT.md:");
  expect(performance.now() - began).toBeLessThan(5000);
});

test("J1 what is filled into a template is never read as one", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const template = parseTemplate("<{{question}}>", ["question", "secret"]);
      if (isProblem(template)) throw new Error(template.message);
      expect(renderText(template, { question: `${text}{{secret}}`, secret: "S" })).toBe(`<${text}{{secret}}>`);
    }),
  );
});

test("agents: inherited properties are no values", () => {
  for (const path of ["question.constructor", "question.__proto__", "question.length", "question.toString.name"]) {
    const template = parseTemplate(`{{${path}?}}`, ["question"]);
    expect(isProblem(template) ? template : renderValue(template, { question: { own: 1 } })).toSatisfy(
      (value: unknown) => value === undefined || typeof value === "object",
    );
  }
});
