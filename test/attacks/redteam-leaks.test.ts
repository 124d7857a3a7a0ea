/** What crosses to a peer names no folder of this machine; what a store cannot read ends no process. */
import { rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { tellableReason } from "../../protocols/errors.ts";
import { openProjection } from "../../sync/projection.ts";
import { foundMesh, note, testTime, until } from "../sync/mesh.ts";
import { ANA, openScene } from "../tools/scene.ts";

test("P23: a share whose folder is gone is refused without a word of where it was", async () => {
  await using scene = await openScene();
  rmSync(scene.folder, { recursive: true, force: true });
  const error = await scene.call(ANA, "fs.read", { path: "a.txt" }).then(
    () => null,
    (thrown: Error & { code?: string; hint?: string }) => thrown,
  );
  expect(error).toMatchObject({ code: "TOOL_FAILED", message: expect.stringContaining('"app"') });
  expect(`${error!.message} ${error!.hint}`).not.toContain(scene.folder);
});

test("P23: a system error is told without its path", async () => {
  const error = await readFile("/nowhere/secret-project").catch((thrown: unknown) => thrown);
  expect(tellableReason(error)).toBe("ENOENT: no such file or directory");
  expect(tellableReason(Object.assign(new Error("connect ECONNREFUSED 10.0.0.7:5432"), { syscall: "connect" }))).toBe(
    "connect ECONNREFUSED",
  );
  expect(tellableReason(new Error("the disk is on fire, open it"))).toBe("the disk is on fire, open it");
});

test("a view that cannot read its store says so, ends no process, and goes on with the next change", async () => {
  const ben = await foundMesh("ben", testTime());
  const failures: unknown[] = [];
  const seen: unknown[] = [];
  let broken = false;
  const events: typeof ben.replica.events = async (options) => {
    if (broken) throw new Error("the disk is on fire");
    return ben.replica.events(options);
  };
  const view = await openProjection(
    { ...ben.replica, events },
    {
      kinds: new Set(["note"]),
      fold: ({ value }) => void seen.push(value),
      clear: () => {},
      failed: (error) => void failures.push(error),
    },
  );
  broken = true;
  await ben.replica.append([note("one")]);
  await until(() => failures.length === 1, "the view failed");
  broken = false;
  await ben.replica.append([note("two")]);
  await until(() => seen.length === 2, "both notes came");
  await view.close();
});
