/** kill −9 in the middle of pruning, over the real store. */
import { spawn } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { foundMesh, incarnationOf, openMember, testTime } from "../sync/mesh.ts";
import { openLife, type Life } from "./pruner.ts";
import { bodiesOf, hashOf, mateOf } from "./team.ts";

const PRUNER = fileURLToPath(new URL("pruner.ts", import.meta.url));
const FACTS = 1_000;
const LIVES = 4;

/** A mesh of one with {@link FACTS} facts over 50 keys, a snapshot of them, nothing pruned. */
async function filled(file: string): Promise<{ life: Life; hash: string }> {
  const founder = await foundMesh("ana", testTime());
  const { mesh } = founder.replica;
  const records = founder.replica.records();
  const { epochKeys } = founder;
  await founder.replica.close();
  const incarnation = incarnationOf("ana", { fresh: true });
  const openStore = () => openLibsqlStore({ file });
  const mate = await mateOf(
    await openMember("ana", mesh, { time: testTime(), epochKeys, records, incarnation, openStore }),
  );
  for (let at = 0; at < FACTS; at += 100)
    await mate.member.replica.append(
      Array.from({ length: 100 }, (_, n) => ({
        kind: "fact-set",
        audience: "mesh" as const,
        value: { s: null, k: `k${(at + n) % 50}`, v: String(at + n), r: [] },
      })),
    );
  await mate.facts.settled();
  await mate.snapshots.make();
  const hash = hashOf(mate);
  await mate.close();
  await mate.member.replica.close();
  await mate.member.replica.store.close();
  const keys = [...epochKeys.held].map(([epoch, key]): [typeof epoch, string] => [epoch, toHex(key)]);
  return { life: { file, mesh, incarnation: toHex(incarnation.id), epochKeys: keys }, hash };
}

/** Lives until `lifeMs` after it has begun to prune. True: it had finished. */
async function pruneAndDie(life: Life, lifeMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [PRUNER, JSON.stringify(life)], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.on("exit", (code) => reject(new Error(`it ended by itself with ${code}`)));
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.startsWith("pruning\n")) resolve();
    });
  });
  await new Promise((later) => setTimeout(later, lifeMs));
  const ended = new Promise((resolve) => child.removeAllListeners("exit").on("exit", resolve));
  child.kill("SIGKILL");
  await ended;
  return said.endsWith("pruned\n");
}

test("a process that is killed while it prunes loses nothing, and the next one goes on [prune-crash]", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kin-prune-kill-"));
  try {
    const { life, hash } = await filled(join(folder, "whole.db"));
    let lifeMs = 160;
    for (let n = 0; n < LIVES; n++) {
      const file = join(folder, `${n}.db`);
      await copyFile(life.file, file);
      const finished = await pruneAndDie({ ...life, file }, lifeMs);
      const mate = await mateOf(await openLife({ ...life, file }));
      const { dropped } = await bodiesOf(mate);
      if (dropped > 0) expect(mate.base.current(), `after ${lifeMs} ms`).not.toBeNull();
      if (finished) expect(dropped).toBe(FACTS);
      expect(hashOf(mate), `after ${lifeMs} ms, ${dropped} dropped`).toBe(hash);
      expect((await mate.snapshots.prune()).bodies).toBe(FACTS - dropped);
      expect(hashOf(mate)).toBe(hash);
      await mate.close();
      await mate.member.replica.close();
      await mate.member.replica.store.close();
      // Nearer to where the dropping is: half way between too early and too late.
      lifeMs = dropped === 0 ? lifeMs * 2 : Math.max(10, Math.round(lifeMs * 0.7));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}, 120_000);
