/** `kin invite`: what the guest will be able to do, a ticket, a QR code, and the command for her. */
import { statSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Context } from "./context.ts";
import { commandElsewhere } from "./hint.ts";
import { EXIT, duration, type Output } from "./output.ts";
import { nearestName, parseCount, parseDuration, parseName } from "./parse.ts";
import { ensureNode } from "./up.ts";
import { KinError } from "../../protocols/errors.ts";
import { shortAddress } from "../net/dial.ts";
import { MAX_TICKET_USES } from "../../protocols/limits.ts";

interface InviteOptions {
  name?: string;
  share?: string;
  shareName?: string;
  role: string;
  uses: string;
  expires: string;
  mesh?: string;
  as?: string;
  qr?: boolean;
  close?: string;
}

export async function invite(context: Context, options: InviteOptions): Promise<number> {
  if (options.close !== undefined) return closeInvite(context, options.close);
  const role = parseRole(options.role);
  if (options.shareName !== undefined && options.share === undefined)
    throw new KinError("USAGE", "--share-name names a share, but there is no --share");
  const share = options.share === undefined ? null : folderPath(options.share);
  const params = {
    name: options.name === undefined ? null : parseName(options.name, "--name"),
    share,
    shareName: share === null ? null : shareName(share, options.shareName),
    role,
    uses: parseCount(options.uses, "--uses", MAX_TICKET_USES),
    expiresMs: parseDuration(options.expires, "--expires"),
    mesh: options.mesh === undefined ? null : parseName(options.mesh, "--mesh"),
  };
  const { client } = await ensureNode(context, options.as ?? null);
  const made = await client.request("invite", params, { signal: context.signal });
  client.close();

  const { output } = context;
  const guest = params.name ?? "the guest";
  output.object({ ...made, command: commandElsewhere(`join ${made.ticket}`) });
  if (made.meshMade) output.line(`Made the mesh ${made.mesh}; you are its founder.`);
  const whom = params.name === null ? "Whoever uses it" : params.name;
  output.line(`${whom} will be able to:`);
  for (const right of made.will) output.line(`  - ${right}`);
  output.line();
  output.line(
    `Ticket, valid ${duration(made.expiresAt - Date.now())}, ${made.uses === 1 ? "once" : `${made.uses} times`}:`,
  );
  output.line();
  output.line(made.ticket);
  output.line();
  if (!context.json) await printCode(output, made.ticket, options.qr === true);
  output.line(`On ${guest === "the guest" ? "the other" : `${guest}'s`} machine${guestPlace()}:`);
  output.line(`  ${commandElsewhere(`join ${made.ticket}`)}`);
  if (made.addresses.length > 0) output.line(`It leads to ${made.addresses.map(shortAddress).join(", ")}.`, "dim");
  return EXIT.ok;
}

function guestPlace(): string {
  return commandElsewhere("").startsWith("npx") ? ", in a clone of kin" : "";
}

function parseRole(word: string): "member" | "admin" {
  if (word === "member" || word === "admin") return word;
  throw new KinError("USAGE", `--role is "${word}", expected member or admin`);
}

async function closeInvite(context: Context, ticket: string): Promise<number> {
  const { client } = await ensureNode(context, null);
  const result = await client.request("invite-close", { ticket }, { signal: context.signal });
  client.close();
  context.output.object(result);
  context.output.line("The invite is closed: its ticket admits nobody any more.");
  return EXIT.ok;
}

/** Absolute. @throws KinError USAGE unless it is a folder */
export function folderPath(typed: string): string {
  const folder = resolve(typed);
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined) throw new KinError("USAGE", `there is no folder ${folder}`);
  if (!found.isDirectory())
    throw new KinError("USAGE", `${folder} is not a folder`, { hint: "share the folder that holds it" });
  return folder;
}

/** What the user said, else the folder's own name, made to fit; null if nothing fits: the node then decides. @throws KinError USAGE */
export function shareName(folder: string, said: string | undefined): string | null {
  return said === undefined ? nearestName(basename(folder)) : parseName(said, "the share's name");
}

/** In upper case a QR code is smaller; tickets are read in any case (F2). */
export async function printCode(output: Output, ticket: string, always: boolean): Promise<void> {
  if (!output.isTerminal && !always) return;
  const { renderUnicodeCompact } = await import("uqr");
  const code = renderUnicodeCompact(ticket.toUpperCase(), { ecc: "L", border: 2 });
  const width = Math.max(...code.split("\n").map((line) => line.length));
  if (width > output.columns && !always)
    return output.line("(the terminal is too narrow for the QR code: --qr prints it anyway)\n");
  output.line(code);
  output.line();
}
