/** Members of a test mesh with their documents. */
import { toHex } from "../../protocols/bytes.ts";
import { openDocuments, type Documents, type DocumentsDeps } from "../../sync/documents.ts";
import { runTrial } from "../../sync/documents/trial.ts";
import { seededRandom } from "../sync/chains.ts";
import { syncOnce, type TestMember } from "../sync/mesh.ts";

export interface Writer {
  member: TestMember;
  documents: Documents;
  failures: unknown[];
}

let opened = 0;

/** Trials run here, without a thread. */
export async function withDocuments(member: TestMember, more: Partial<DocumentsDeps> = {}): Promise<Writer> {
  const { replica } = member;
  const failures: unknown[] = [];
  const documents = await openDocuments({
    replica,
    person: replica.membership().devices.get(replica.device)!.member.person,
    runTrial: async (trial) => runTrial(trial),
    time: member.time,
    random: seededRandom(`${member.name} documents ${opened++}`),
    failed: (error) => failures.push(error),
    ...more,
  });
  return { member, documents, failures };
}

export async function hashOf(documents: Documents): Promise<string> {
  return toHex(await documents.hash());
}

/** Both ways, and folded on both sides. */
export async function meet(a: Writer, b: Writer): Promise<void> {
  await syncOnce(a.member, b.member);
  await Promise.all([a.documents.settled(), b.documents.settled()]);
}
