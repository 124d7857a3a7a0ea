/** What becomes of the words of an editor: saved, or kept where the error says. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { saveEdited } from "../../node/cli/editor.ts";
import { KinError } from "../../protocols/errors.ts";

let folder: string;
const APPENDS = `sh -c 'printf " and jam" >> "$0"'`;
const downNode = async (): Promise<never> => {
  throw new KinError("NOT_RUNNING", "kin is not running", { hint: "kin up" });
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kin-editor-"));
  vi.stubEnv("TMPDIR", folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function refusedWith(editor: string, save: (text: string) => Promise<unknown>): Promise<KinError> {
  const error = await saveEdited(editor, "milk", save).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(KinError);
  return error as KinError;
}

function keptFile({ hint }: KinError): string {
  return /^what you wrote is kept in (.+)$/m.exec(hint ?? "")![1]!;
}

test("editor-keeps: what could not be saved stays, readable by its writer alone, and the error says where", async () => {
  const error = await refusedWith(APPENDS, downNode);
  expect(error).toMatchObject({ code: "NOT_RUNNING", message: "kin is not running" });
  expect(error.hint).toMatch(/^kin up\nwhat you wrote is kept in /);
  const file = keptFile(error);
  expect(readFileSync(file, "utf8")).toBe("milk and jam");
  expect([statSync(file).mode & 0o777, statSync(dirname(file)).mode & 0o777]).toEqual([0o600, 0o700]);
});

test("editor-keeps: an editor that failed after it had written, and one that wrote no UTF-8, lose nothing", async () => {
  const saves = vi.fn(async () => {});
  const failed = await refusedWith(`sh -c 'echo jam > "$0"; exit 3'`, saves);
  expect(failed).toMatchObject({ code: "USAGE", message: expect.stringContaining("ended with 3") });
  expect(readFileSync(keptFile(failed), "utf8")).toBe("jam\n");
  const latin = await refusedWith(`sh -c 'printf "caf\\351" > "$0"'`, saves);
  expect(latin).toMatchObject({ code: "INVALID_ARGUMENTS", message: expect.stringContaining("not UTF-8") });
  expect(readFileSync(keptFile(latin), "latin1")).toBe("café");
  expect(saves).not.toHaveBeenCalled();
});

test("what was saved, and what nobody changed, leaves no file", async () => {
  expect(await saveEdited(APPENDS, "\uFEFFmilk", async (text) => text)).toBe("\uFEFFmilk and jam");
  expect((await refusedWith("true", downNode)).hint).toBe("kin up");
  expect((await refusedWith("false", downNode)).hint).toBeUndefined();
  expect(readdirSync(folder)).toEqual([]);
});
