/**
 * `kin verify FILE`: what an export proves, by whom, and what it does not, in words. Needs no node, no keys and no network; it
 * believes the mesh id that is given, and without one says whose word the file's own is.
 */
import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import type { Context } from "./context.ts";
import { EXIT, table, type Output } from "./output.ts";
import { toHex, type Value } from "../../protocols/bytes.ts";
import { KinError, tellableReason } from "../../protocols/errors.ts";
import {
  formatText,
  idBytes,
  idOf,
  parseText,
  type DeviceId,
  type MeshId,
  type PersonId,
} from "../../protocols/ids.ts";
import type { CallOutcome } from "../../protocols/invoke.ts";
import { displayName, type Membership } from "../../protocols/membership.ts";
import { stampMs } from "../../protocols/roster-record.ts";
import type { Json } from "../../protocols/tool.ts";
import type { ProvenAnswer, ProvenCall } from "../../sync/verify-calls.ts";
import { verifyExport, type ExportReport, type ProvenLog, type ShownEvent } from "../../sync/verify-export.ts";

/** A frame of the file is at most this long. */
const READ_BYTES = 1024 * 1024;
/** What one body says is shown up to this length; all of it with --json. */
const MAX_SHOWN_CHARACTERS = 2_000;

export async function verify(context: Context, file: string, options: { mesh?: string }): Promise<number> {
  const given = options.mesh === undefined ? null : parseMesh(options.mesh);
  const chunks = createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Uint8Array>;
  const verdict = await verifyExport(chunks, given).catch((error: unknown) => {
    throw unreadable(file, error);
  });
  if (!verdict.ok) {
    const { code, message, offset } = verdict.problem;
    throw new KinError("NOT_PROVEN", `${file} is not what it says it is: ${message}`, {
      hint: `found at byte ${offset} (${code}); nothing in the file is to be believed`,
    });
  }
  const { report } = verdict;
  context.output.object({ ok: true, file, meshGiven: given !== null, ...machineForm(report) });
  if (!context.output.json) await print(context.output, file, report, given !== null);
  return EXIT.ok;
}

/** @throws KinError USAGE, WRONG_KIND_OF_TEXT */
function parseMesh(text: string): MeshId {
  const parsed = parseText("kinm", text);
  if (!parsed.ok) throw new KinError(parsed.why === "wrong-kind" ? "WRONG_KIND_OF_TEXT" : "USAGE", parsed.message);
  return idOf(parsed.body);
}

/** A file that can't be read says nothing about whom it is of: neither proven nor forged. */
function unreadable(file: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  const path = resolve(file);
  const hint = "expected a file that kin export made";
  if (code === "ENOENT") return new KinError("USAGE", `there is no file ${path}`, { hint, cause: error });
  if (code === "EISDIR") return new KinError("USAGE", `${path} is a folder`, { hint, cause: error });
  return new KinError("USAGE", `can't read ${path}: ${tellableReason(error)}`, { hint, cause: error });
}

// ── names ──

/** Names as the file's own roster gives them. */
function namesOf({ membership }: ExportReport) {
  const person = (id: PersonId | null): string => (id === null ? "nobody" : displayName(membership, id));
  const device = (id: DeviceId): string => membership.devices.get(id)?.device.name ?? id.slice(0, 8);
  const on = (id: DeviceId): string => `${person(personOf(membership, id))}@${device(id)}`;
  const agent = (from: { person: PersonId; agent: string | null }): string =>
    from.agent === null ? person(from.person) : `${person(from.person)}/${from.agent}`;
  return { person, on, agent };
}

function personOf(membership: Membership, device: DeviceId): PersonId | null {
  return membership.devices.get(device)?.member.person ?? membership.formerDevices.get(device)?.person ?? null;
}

// ── for people ──

async function print(output: Output, file: string, report: ExportReport, meshGiven: boolean): Promise<void> {
  const { membership, by } = report;
  const names = namesOf(report);
  output.line(`${file} proves what it holds.`, "bold");
  output.line();
  const meshText = formatText("kinm", idBytes(report.mesh));
  output.line(`mesh     ${membership.name}, ${meshText}`);
  if (!meshGiven)
    output.line("         That is the file's own word: compare it with the mesh id that a member gives you.");
  output.line(`made by  ${names.on(by.device)}, ${timeOf(by.at)}; not changed since`);
  output.line(
    `members  ${[...membership.members.values()].map(({ person, role }) => `${names.person(person)} (${role})`).join(", ")}`,
  );
  if (membership.removed.size > 0)
    output.line(`removed  ${[...membership.removed.keys()].map((person) => names.person(person)).join(", ")}`);
  output.line(
    `holds    ${report.all ? "all that its maker had" : "a part"}: ${report.events} events, each under a signed head of its device`,
  );
  const heads = membership.heads.map((head) => head.slice(0, 12)).join(", ");
  output.line(`roster   ${report.records} records, up to ${heads}`);
  output.line();
  await table(
    output,
    ["log of", "chain", "events", "last event", "last stamp", "ends"],
    report.logs.map((log) => logRow(log, names)),
  );
  printCalls(output, report, names);
  printShown(output, report, names);
  printAudit(output, report);
  output.line();
  output.line("Not proven:", "bold");
  for (const line of notProven(report, meshGiven)) output.line(`  - ${line}`);
}

type Names = ReturnType<typeof namesOf>;

function logRow(log: ProvenLog, names: Names): string[] {
  const { opening, from, to, lastId, lastHlc, device } = log;
  return [
    names.on(device),
    opening.chain,
    `${from}–${to}`,
    lastId.slice(0, 12),
    timeOf(stampMs(lastHlc)),
    endOf(log) ?? "-",
  ];
}

function endOf({ stop, why }: ProvenLog): string | null {
  if (stop === null) return null;
  return `at ${stop}: its device ${why === "forked" ? "has written two histories" : "was removed"}`;
}

function printCalls(output: Output, { calls }: ExportReport, names: Names): void {
  for (const call of calls) {
    output.line();
    output.line(`call     ${formatText("kini", idBytes(call.id))}`);
    for (const line of callLines(call, names)) output.line(`  ${line}`);
  }
}

function callLines({ asked, answers, declined, withdrawn }: ProvenCall, names: Names): string[] {
  const lines: string[] = [];
  if (asked === null) lines.push("the request itself is not opened in this file");
  else
    lines.push(
      `${names.agent(asked.from)} asked ${names.person(asked.to.person)}/${asked.to.name ?? ""} on ${timeOf(asked.at)}, sealed by the asker's own key:`,
      ...quoted(asked.request.parts.map(partText).join("\n") || JSON.stringify(asked.request.arguments)),
    );
  for (const { device, error } of declined)
    lines.push(`${names.on(device)} declined: ${error.message} (${error.code})`);
  for (const answer of answers) lines.push(...answerLines(answer, names));
  if (withdrawn.length > 0) lines.push("the asker took it back");
  return lines;
}

function answerLines({ from, at, end }: ProvenAnswer, names: Names): string[] {
  const who = `${names.agent(from)} on ${timeOf(at)}`;
  if (end === null) return [`${who} accepted it; how it ended is not in this file`];
  if (end.type === "result")
    return [`${who} answered, sealed by the answerer's own key:`, ...quoted(outcomeText(end.outcome))];
  return [`${who} ${end.type === "refused" ? "refused" : "failed"}: ${end.error.message} (${end.error.code})`];
}

function partText(part: { text: string } | { data: Json } | { blob: { hash: string } }): string {
  if ("text" in part) return part.text;
  return "data" in part ? JSON.stringify(part.data) : `[a file with the hash ${part.blob.hash}]`;
}

function outcomeText(outcome: CallOutcome): string {
  if ("parts" in outcome) return outcome.parts.map(partText).join("\n");
  const { content, structured } = outcome.tool;
  const texts = content.map((item) => (item.type === "text" ? item.text : `[a file with the hash ${item.hash}]`));
  return [...texts, ...(structured === undefined ? [] : [JSON.stringify(structured)])].join("\n");
}

function quoted(text: string): string[] {
  const shown = text.length <= MAX_SHOWN_CHARACTERS ? text : `${text.slice(0, MAX_SHOWN_CHARACTERS)}…`;
  return shown.split("\n").map((line) => `    ${line}`);
}

function isCall({ kind }: ShownEvent): boolean {
  return kind.startsWith("invocation-");
}

function printShown(output: Output, { shown }: ExportReport, names: Names): void {
  for (const event of shown.filter((one) => !isCall(one))) {
    output.line();
    output.line(`event    ${formatText("kine", idBytes(event.event))}`);
    const proof = event.how === "key" ? "opened by its key" : "on the word of who made the file";
    output.line(`  ${names.on(event.device)} wrote "${event.kind}" on ${timeOf(stampMs(event.hlc))}; ${proof}:`);
    for (const line of quoted(JSON.stringify(jsonOf(event.value)))) output.line(`  ${line}`);
  }
}

function printAudit(output: Output, { audit }: ExportReport): void {
  for (const { events, witnessedTo } of audit) {
    output.line();
    const witnessed = witnessedTo === null ? "none of them" : `those up to ${witnessedTo}`;
    output.line(
      `audit    ${events} events of the maker's own machine; ${witnessed} are named by its mesh log, which others hold`,
    );
  }
}

/** What a reader might believe, and should not. */
function notProven(report: ExportReport, meshGiven: boolean): string[] {
  const { logs, shown, sealed, audit, misStamped, membership, by } = report;
  const bodiless = logs.reduce((sum, log) => sum + log.bodiless, 0);
  const ended = logs.filter((log) => log.stop !== null);
  const said = shown.filter(({ how }) => how === "said").length;
  return [
    ...(meshGiven ? [] : ["that this is the mesh you mean: no --mesh was given"]),
    "that this is all there is, a removal among it: a member's node tells the last event of each log",
    "when it was: times are the word of whoever wrote them",
    ...(sealed > 0 ? [`what ${sealed} sealed bodies say`] : []),
    ...(bodiless > 0 ? [`what ${bodiless} events said whose body is not in the file`] : []),
    ...(said > 0 ? [`what ${said} opened events for the mesh say: that is the word of who made the file`] : []),
    ...(ended.length > 0 ? [`that what comes after the end of ${ended.length} logs counts: it has no effect`] : []),
    ...(misStamped.count > 0
      ? [`${misStamped.count} events that are stamped before what they name: they have no effect`]
      : []),
    ...(audit.some(({ events, witnessedTo }) => (witnessedTo ?? -1) < events - 1)
      ? ["that nothing is missing at the end of the audit, after what the mesh log names"]
      : []),
    ...(membership.devices.has(by.device) ? [] : ["that who made the file was still a member then"]),
  ];
}

function timeOf(ms: number): string {
  return Number.isSafeInteger(ms) && Math.abs(ms) <= 8.64e15
    ? new Date(ms).toISOString().slice(0, 19).replace("T", " ")
    : `${ms} ms`;
}

// ── for machines ──

function machineForm(report: ExportReport) {
  const names = namesOf(report);
  const { membership, by } = report;
  return {
    mesh: { name: membership.name, id: formatText("kinm", idBytes(report.mesh)) },
    by: { person: names.person(by.person), device: names.on(by.device), at: by.at },
    all: report.all,
    members: [...membership.members.values()].map(({ person, role }) => ({
      name: names.person(person),
      person: formatText("kinp", idBytes(person)),
      role,
    })),
    removed: [...membership.removed.keys()].map((person) => names.person(person)),
    records: report.records,
    rosterHeads: membership.heads,
    agentKeys: report.agentKeys,
    events: report.events,
    sealed: report.sealed,
    logs: report.logs.map((log) => ({
      log: log.log,
      device: names.on(log.device),
      chain: log.opening.chain,
      from: log.from,
      to: log.to,
      last: formatText("kine", idBytes(log.lastId)),
      lastAt: stampMs(log.lastHlc),
      stop: log.stop,
      why: log.why,
      bodiless: log.bodiless,
    })),
    calls: report.calls.map((call) => callForm(call, names)),
    shown: report.shown
      .filter((event) => !isCall(event))
      .map((event) => ({
        event: formatText("kine", idBytes(event.event)),
        device: names.on(event.device),
        kind: event.kind,
        at: stampMs(event.hlc),
        how: event.how,
        value: jsonOf(event.value),
      })),
    audit: report.audit,
    misStamped: report.misStamped.count,
  };
}

function callForm({ id, asked, answers, declined, withdrawn }: ProvenCall, names: Names) {
  return {
    id: formatText("kini", idBytes(id)),
    asked:
      asked === null
        ? null
        : {
            from: names.agent(asked.from),
            to: `${names.person(asked.to.person)}/${asked.to.name ?? ""}`,
            at: asked.at,
            text: asked.request.parts.map(partText).join("\n"),
            arguments: asked.request.arguments,
          },
    answers: answers.map(({ from, at, end }) => ({
      from: names.agent(from),
      at,
      end: end?.type ?? null,
      text: end?.type === "result" ? outcomeText(end.outcome) : null,
      error: end === null || end.type === "result" ? null : end.error,
    })),
    declined: declined.map(({ device, error }) => ({ device: names.on(device), error })),
    withdrawn: withdrawn.length > 0,
  };
}

/** Byte strings as {"hex"}. */
function jsonOf(value: Value): Json {
  if (value instanceof Uint8Array) return { hex: toHex(value) };
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonOf(item as Value)]));
}
