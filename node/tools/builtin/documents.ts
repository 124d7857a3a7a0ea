/**
 * `facts.get`, `facts.ls`, `facts.set`, `note.show`, `note.append`: what the steps of an agent may do with documents, with the
 * rights of who asks. Whoever asks reads only what he could read himself; what is written is written as mine, so only I may.
 */
import type { PersonId } from "../../../protocols/ids.ts";
import { KinError } from "../../../protocols/errors.ts";
import type { Json } from "../../../protocols/tool.ts";
import type { Documents } from "../../../sync/documents.ts";
import type { Fact } from "../../../sync/documents/facts.ts";
import { textResult } from "../output.ts";
import { textArgument, type Tool } from "../registry.ts";
import { checkOwner, findNote, OF_AGENTS, schema } from "./document-access.ts";

type Parts = Pick<Documents, "facts" | "notes" | "boards" | "settled">;

/** Facts of one answer. */
const MAX_LISTED = 200;
const key = { type: "string", description: "the fact's key, e.g. deploy/window" };
const title = { type: "string", description: "the note's title" };

export function documentTools(documents: Parts, me: PersonId): Tool[] {
  return [
    {
      ...OF_AGENTS,
      name: "facts.get",
      description: "The value of a fact of the mesh; several where it was set without knowledge of each other.",
      readOnly: true,
      inputSchema: schema({ key }),
      async run({ args }) {
        await documents.settled();
        const fact = documents.facts.get(null, textArgument(args, "key"));
        if (fact === undefined) throw new KinError("NOT_FOUND", `there is no fact "${textArgument(args, "key")}"`);
        const values = valuesOf(fact);
        return textResult(values.map(textOf).join("\n"), { key: fact.key, values });
      },
    },
    {
      ...OF_AGENTS,
      name: "facts.ls",
      description: "The facts of the mesh whose keys begin so.",
      readOnly: true,
      inputSchema: schema({}, { prefix: { type: "string" } }),
      async run({ args }) {
        await documents.settled();
        const facts = documents.facts.list(null, textArgument(args, "prefix")).slice(0, MAX_LISTED);
        const lines = facts.map((fact) => `${fact.key} = ${valuesOf(fact).map(textOf).join(" or ")}`);
        return textResult(lines.join("\n"), {
          facts: facts.map((fact) => ({ key: fact.key, values: valuesOf(fact) })),
        });
      },
    },
    {
      ...OF_AGENTS,
      name: "facts.set",
      description: "Sets a fact of the mesh, as the owner of this node and for nobody else.",
      readOnly: false,
      inputSchema: schema({ key, value: {} }),
      async run({ args, person }) {
        checkOwner(person, me, "facts are set here");
        const json = JSON.stringify(args["value"]);
        await documents.facts.set(null, textArgument(args, "key"), json);
        return textResult(`${textArgument(args, "key")} = ${json}`);
      },
    },
    {
      ...OF_AGENTS,
      name: "note.show",
      description: "The text of a shared note that who asks may read.",
      readOnly: true,
      inputSchema: schema({ note: title }),
      async run({ args, person }) {
        await documents.settled();
        const note = findNote(documents, "text", textArgument(args, "note"), person);
        const text = note.text.text();
        return textResult(text, { title: note.title, text });
      },
    },
    {
      ...OF_AGENTS,
      name: "note.append",
      description: "Adds lines to a shared note, as the owner of this node and for nobody else.",
      readOnly: false,
      inputSchema: schema({ note: title, text: { type: "string" } }),
      async run({ args, person }) {
        checkOwner(person, me, "notes are written here");
        await documents.settled();
        const note = findNote(documents, "text", textArgument(args, "note"), person);
        await documents.notes.edit(note.id, { append: `${textArgument(args, "text").replace(/\n$/, "")}\n` });
        return textResult(`added to "${note.title}"`);
      },
    },
  ];
}

function valuesOf({ values }: Fact): Json[] {
  return values.flatMap(({ json }) => (json === null ? [] : [JSON.parse(json) as Json]));
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
