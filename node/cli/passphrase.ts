/** `kin passphrase set | remove`: seals the keys on this disk, or opens them to raw files. The node must not run. */
import type { Context } from "./context.ts";
import { EXIT } from "./output.ts";
import { readNewPassphrase, readPassphrase } from "./secret.ts";
import { prepareHome } from "../home.ts";
import { changePassphrase, hasKeystore, isSealedKeystore, openKeystore } from "../keystore.ts";
import { lockFolder } from "../lock.ts";
import { KinError } from "../../protocols/errors.ts";

export async function passphraseSet(context: Context): Promise<number> {
  const { keysFolder } = context.home;
  return locked(context, async () => {
    const next = hasKeystore(keysFolder) ? await change(context) : await create(context);
    context.output.object({ sealed: next });
    context.output.line(
      "The keys are sealed. kin up asks for the passphrase, or reads the file that KIN_PASSPHRASE_FILE names.",
    );
  });
}

export async function passphraseRemove(context: Context): Promise<number> {
  const { keysFolder } = context.home;
  return locked(context, async () => {
    if (!isSealedKeystore(keysFolder)) throw new KinError("USAGE", "the keys have no passphrase");
    changePassphrase(keysFolder, await readPassphrase(context.env, "Passphrase of the keys: "), null);
    context.output.object({ sealed: false });
    context.output.line("The keys are raw files now, of mode 0600.");
  });
}

/** A change of a sealed keystore reads the old one from the terminal or KIN_PASSPHRASE_FILE, the new one from the terminal or KIN_NEW_PASSPHRASE_FILE. */
async function change(context: Context): Promise<true> {
  const { keysFolder } = context.home;
  const isSealed = isSealedKeystore(keysFolder);
  const current = isSealed ? await readPassphrase(context.env, "Present passphrase: ") : undefined;
  const { KIN_NEW_PASSPHRASE_FILE: newFile } = context.env;
  if (isSealed && context.env["KIN_PASSPHRASE_FILE"] && !newFile)
    throw new KinError("USAGE", "KIN_PASSPHRASE_FILE holds the present passphrase; where is the new one?", {
      hint: "set KIN_NEW_PASSPHRASE_FILE, or unset KIN_PASSPHRASE_FILE and type both",
    });
  const next = await readNewPassphrase(isSealed ? { KIN_PASSPHRASE_FILE: newFile } : context.env);
  changePassphrase(keysFolder, current, next);
  return true;
}

async function create(context: Context): Promise<true> {
  openKeystore(context.home.keysFolder, { passphrase: await readNewPassphrase(context.env), now: Date.now() });
  return true;
}

async function locked(context: Context, change: () => Promise<void>): Promise<number> {
  prepareHome(context.home);
  const lock = lockFolder(context.home.dataFolder);
  try {
    await change();
    return EXIT.ok;
  } finally {
    lock.release();
  }
}
