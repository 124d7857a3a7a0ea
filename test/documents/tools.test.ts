/** What the steps of an agent may do with documents: read what who asks may read, write only as the node's owner. */
import { expect, test } from "vitest";
import type { PersonId } from "../../protocols/ids.ts";
import type { Json } from "../../protocols/tool.ts";
import { documentTools } from "../../node/tools/builtin/documents.ts";
import { resultText } from "../../node/tools/output.ts";
import { admitMember, foundMesh, memberOf, testTime } from "../sync/mesh.ts";
import { meet, withDocuments } from "./scene.ts";

async function scene() {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const ben = await withDocuments(await admitMember(ana.member, "ben"));
  await meet(ana, ben);
  const [me, other] = ["ana", "ben"].map((name) => memberOf(ana.member, name).person) as [PersonId, PersonId];
  const tools = documentTools(ana.documents, me);
  const call = async (person: PersonId, name: string, args: { [name: string]: Json }) => {
    const tool = tools.find((one) => one.name === name)!;
    return resultText(await tool.run({ args, share: null, person }, new AbortController().signal));
  };
  return { ana, ben, me, other, tools, call };
}

test("document-tools: everybody's steps read facts; only the owner's set them", async () => {
  const { ana, me, other, call, tools } = await scene();
  expect(await call(me, "facts.set", { key: "port", value: 8080 })).toBe("port = 8080");
  expect(await call(other, "facts.get", { key: "port" })).toBe("8080");
  expect(await call(other, "facts.ls", { prefix: "po" })).toBe("port = 8080");
  await expect(call(other, "facts.get", { key: "prt" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(call(other, "facts.set", { key: "port", value: 1 })).rejects.toMatchObject({ code: "DENIED" });
  expect(ana.documents.facts.get(null, "port")!.values.map(({ json }) => json)).toEqual(["8080"]);
  expect(tools.every((tool) => tool.for === "agents")).toBe(true);
  expect(tools.filter(({ readOnly }) => readOnly).map(({ name }) => name)).toEqual([
    "facts.get",
    "facts.ls",
    "note.show",
  ]);
});

test("document-tools: a private note does not exist for the steps of who may not read it", async () => {
  const { ana, me, other, call } = await scene();
  const open = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.open({ title: "secret", persons: [] });
  await ana.documents.notes.edit(open, { text: "all may read\n" });
  expect(await call(me, "note.append", { note: "secret", text: "mine" })).toContain("secret");
  expect(await call(me, "note.show", { note: "secret" })).toBe("mine\n");
  expect(await call(other, "note.show", { note: "plan" })).toBe("all may read\n");
  await expect(call(other, "note.show", { note: "secret" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(call(other, "note.append", { note: "plan", text: "x" })).rejects.toMatchObject({ code: "DENIED" });
  await ana.documents.notes.open({ title: "plan", persons: null });
  await expect(call(me, "note.show", { note: "plan" })).rejects.toMatchObject({ code: "INVALID_ARGUMENTS" });
});
