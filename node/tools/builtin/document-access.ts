/** What tools on documents have in common: which note somebody may read, and that only its owner writes in a node's name. */
import type { NoteForm } from "../../../protocols/document.ts";
import type { PersonId } from "../../../protocols/ids.ts";
import { KinError } from "../../../protocols/errors.ts";
import type { Json } from "../../../protocols/tool.ts";
import type { Documents } from "../../../sync/documents.ts";
import type { Board, Note } from "../../../sync/documents/notes.ts";
import type { Tool } from "../registry.ts";

/** Steps of agents use them; they are on no share. */
export const OF_AGENTS = { for: "agents" as const, onShare: false };

/** @throws KinError DENIED */
export function checkOwner(person: PersonId, me: PersonId, what: string): void {
  if (person !== me) throw new KinError("DENIED", `${what} in the name of this node's owner, and for him only`);
}

const CALLED = { text: "note", board: "board" };

/**
 * A note of this form that this person may read. A title that only others' notes have does not exist.
 * @throws KinError NOT_FOUND, INVALID_ARGUMENTS
 */
export function findNote<Form extends NoteForm>(
  { notes, boards }: Pick<Documents, "notes" | "boards">,
  form: Form,
  named: string,
  person: PersonId,
): (Note | Board) & { form: Form } {
  const all: (Note | Board)[] = form === "text" ? notes.all() : boards.all();
  const mine = all.filter(({ persons }) => persons === null || persons.includes(person));
  const [found, ...others] = mine.filter((note) => note.title === named);
  if (found === undefined) throw new KinError("NOT_FOUND", `there is no ${CALLED[form]} "${named}"`);
  if (others.length > 0)
    throw new KinError("INVALID_ARGUMENTS", `${others.length + 1} ${CALLED[form]}s are called "${named}"`);
  return found as (Note | Board) & { form: Form };
}

export function schema(
  required: { [name: string]: Json },
  optional: { [name: string]: Json } = {},
): Tool["inputSchema"] {
  return {
    type: "object",
    properties: { ...required, ...optional },
    required: Object.keys(required),
    additionalProperties: false,
  };
}
