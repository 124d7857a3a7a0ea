/** What `kin wait`, `outbox` and `sync why` say of durable calls, over real outboxes. */
import { afterEach, expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import type { EnvelopeId } from "../../protocols/ids.ts";
import { formatText, idBytes } from "../../protocols/ids.ts";
import type { MeshNode } from "../../node/gateway/mesh.ts";
import { wait } from "../../node/gateway/verbs/calls.ts";
import { admitMember, foundMesh, syncOnce, testTime, type TestMember } from "../sync/mesh.ts";
import { ask, outcomeOf, settle, startActor, type Actor, type ActorOptions } from "./durable-scene.ts";

const actors: Actor[] = [];
afterEach(async () => {
  for (const actor of actors.splice(0)) await actor.stop();
});

async function actor(member: TestMember, options: ActorOptions = {}): Promise<Actor> {
  const made = await startActor(member, options);
  actors.push(made);
  return made;
}

/** Ben is asked, Ana asks. */
async function two() {
  const ben = await foundMesh("ben", testTime());
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  return { ben, ana };
}

/** The node that an actor would be part of, with what the verbs here look at. */
function nodeOf({ member, outbox, invoke }: Actor): MeshNode {
  const mesh = { me: invoke.self, replica: member.replica, outbox, sealing: invoke };
  return { mesh: () => mesh, time: member.time, random: invoke.random } as unknown as MeshNode;
}

function textOf(id: EnvelopeId): string {
  return formatText("kini", idBytes(id));
}

test("a failure that the caller may ask again says how, CLOSED and UNREACHABLE too [wait-closed]", async () => {
  const { ben, ana } = await two();
  const anas = await actor(ana);
  for (const code of ["CLOSED", "UNREACHABLE", "DENIED"]) {
    const run = (): never => {
      throw new KinError(code, "not now");
    };
    const bens = await actor(ben, { work: { readOnly: true, mayCall: () => true, run } });
    const id = await ask(anas, ben);
    await syncOnce(ana, ben);
    bens.outbox.onAsked(bens.handle);
    expect(
      await settle(async () => {
        await syncOnce(ana, ben);
        return (await outcomeOf(anas, id)) !== null;
      }),
    ).toBe(true);
    const params = { id: textOf(id), timeoutMs: null };
    const waited = await wait(nodeOf(anas), params, () => {}, new AbortController().signal);
    const hint = code === "DENIED" ? undefined : `kin outbox retry ${params.id} --again asks it as a new call`;
    expect(waited).toEqual({ outcome: "failed", error: { code, message: "not now", hint } });
    await actors.pop()!.stop();
  }
});
