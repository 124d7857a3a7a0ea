/**
 * `kin ask`, `kin call`, `kin wait`: the answer streams. Progress is the answer's text as it comes; the result holds the
 * whole, of which only what has not been shown yet is printed.
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Context } from "./context.ts";
import { connectControl, type ControlClient } from "./control-client.ts";
import { rewriteCommands } from "./hint.ts";
import { EXIT, exitCodeOf, withHint } from "./output.ts";
import { checkNumbers, jsonOrText, parseDuration } from "./parse.ts";
import { readPiped } from "./piped.ts";
import type { AskItem, Params, Result } from "../gateway/control-api.ts";
import { errorShape, KinError, kinError } from "../../protocols/errors.ts";
import { parseAddress } from "../../protocols/ids.ts";
import { parseJson } from "../../protocols/json.ts";
import { MAX_BLOB_BYTES, MAX_DEADLINE_MS, MAX_INLINE_BYTES } from "../../protocols/limits.ts";
import type { Json } from "../../protocols/tool.ts";

interface CallOptions {
  later?: boolean;
  now?: boolean;
  deadline?: string;
  verbose?: boolean;
}

interface AskOptions extends CallOptions {
  attach?: string[];
  share?: string;
  set?: string[];
}

export async function ask(context: Context, to: string, words: string[], options: AskOptions): Promise<number> {
  const address = parseAddress(to);
  if (address.kind !== "agent")
    throw new KinError("USAGE", `${to} is a ${address.kind}, expected an agent such as ${address.person}/reviewer`, {
      hint: address.kind === "tool" ? `kin call ${to} '{…}'` : undefined,
    });
  const stdin = await readPiped(words.length === 0 || words.join(" ") === "-", "send it as a file: --attach FILE");
  const text = words.join(" ") === "-" ? "" : words.join(" ");
  if (text === "" && (stdin === null || stdin === ""))
    throw new KinError("USAGE", "there is nothing to ask", { hint: `kin ask ${to} "what can you do?"` });
  return stream(
    context,
    "ask",
    {
      to,
      text,
      stdin,
      attach: (options.attach ?? []).map(attachment),
      settings: settings(options),
      ...timing(options),
    },
    options.verbose,
  );
}

export async function call(
  context: Context,
  to: string,
  json: string | undefined,
  options: CallOptions,
): Promise<number> {
  const address = parseAddress(to);
  if (address.kind !== "tool")
    throw new KinError("USAGE", `${to} is not a tool, expected something like ${address.person}/tools/git.log`, {
      hint: address.kind === "agent" ? `kin ask ${to} "…"` : "kin tools",
    });
  const params = { to, arguments: parseArguments(json ?? "{}"), ...timing(options) };
  return stream(context, "call", params, options.verbose);
}

/** How often a node that has stopped is looked for while somebody waits for an answer. */
const LOOK_EVERY_MS = 500;

/** Waits over restarts of the node too: the answer comes as an event, whoever asks for it. */
export async function wait(context: Context, id: string, options: { timeout?: string }): Promise<number> {
  const timeoutMs = options.timeout === undefined ? null : parseDuration(options.timeout, "--timeout");
  const until = timeoutMs === null ? Infinity : Date.now() + timeoutMs;
  for (let restarts = 0; ;) {
    const left = timeoutMs === null ? null : Math.max(0, until - Date.now());
    let heard: Heard;
    try {
      heard = await hear(context, "wait", { id, timeoutMs: left });
    } catch (error) {
      const { code } = errorShape(error);
      const hasStopped = code === "CLOSED" || (code === "NOT_RUNNING" && restarts > 0);
      if (!hasStopped || context.signal.aborted || Date.now() > until) throw error;
      if (restarts++ === 0) context.output.note("the node has stopped: waiting for it to run again (kin up)");
      await new Promise((later) => setTimeout(later, LOOK_EVERY_MS));
      continue;
    }
    // A callee that was CLOSED is an answer, not a node of ours that has stopped.
    return finish(context, "wait", heard, false);
  }
}

type StreamVerb = "ask" | "call" | "wait";

async function stream<V extends StreamVerb>(
  context: Context,
  verb: V,
  params: Params<V>,
  verbose = false,
): Promise<number> {
  return finish(context, verb, await hear(context, verb, params), verbose);
}

interface Heard {
  result: Result<"ask">;
  answer: Answer;
}

/** @throws KinError what the node says instead of a result, e.g. CLOSED if it stops */
async function hear<V extends StreamVerb>(context: Context, verb: V, params: Params<V>): Promise<Heard> {
  const client = await connectControl(context.home.socketPath);
  try {
    const answer = createAnswer(context);
    return { result: await request(client, verb, params, answer.take, context.signal), answer };
  } finally {
    client.close();
  }
}

async function request(
  client: ControlClient,
  verb: StreamVerb,
  params: Params<StreamVerb>,
  item: (item: AskItem) => void,
  signal: AbortSignal,
): Promise<Result<"ask">> {
  return client.request(verb as "ask", params as Params<"ask">, { item, signal });
}

interface Answer {
  take: (item: AskItem) => void;
  hasFailed: boolean;
}

function createAnswer({ output, env }: Context): Answer {
  let streamed = "";
  const answer: Answer = {
    hasFailed: false,
    take: (item) => {
      if (item.type === "failure") {
        answer.hasFailed = true;
        output.item({ ...item, error: withHint(item.error, (hint) => rewriteCommands(hint, env)) });
        return;
      }
      output.item(item);
      if (item.type === "progress") {
        streamed += item.text;
        output.text(item.text);
      } else if (item.type === "result") output.text(rest(streamed, item.text));
    },
  };
  return answer;
}

/** What of the whole answer has not been streamed, ended by a line break. */
export function rest(streamed: string, whole: string): string {
  const isContinued = whole.startsWith(streamed);
  const isSaid = !isContinued && streamed.trimEnd().endsWith(whole.trimEnd());
  const missing = isContinued ? whole.slice(streamed.length) : isSaid ? "" : whole;
  const lineBreak = isContinued || streamed === "" || streamed.endsWith("\n") || missing === "" ? "" : "\n";
  const all = `${streamed}${lineBreak}${missing}`;
  return `${lineBreak}${missing}${all === "" || all.endsWith("\n") ? "" : "\n"}`;
}

function finish(context: Context, verb: StreamVerb, { result, answer }: Heard, verbose: boolean): number {
  const { output } = context;
  if (result.outcome === "answered") return EXIT.ok;
  if (result.outcome === "failed") {
    if (output.json && answer.hasFailed) return exitCodeOf(result.error.code);
    if (!output.json) throw kinError(result.error);
    output.item({ type: "failure", error: withHint(result.error, (hint) => rewriteCommands(hint, context.env)) });
    return exitCodeOf(result.error.code);
  }
  const hint = context.command(`wait ${result.id}`);
  output.object({ ...result, hint });
  output.line(verb === "wait" ? `still waiting: ${result.why}` : `queued: ${result.why}`);
  if (verbose && result.detail !== undefined) output.line(`  tried: ${result.detail}`);
  output.line(verb === "wait" ? `  ${hint}` : `  the answer arrives by itself; ${hint}`);
  return verb === "wait" ? EXIT.timedOut : EXIT.queued;
}

function timing(options: CallOptions): { later: boolean; now: boolean; deadlineMs: number | null } {
  if (options.later === true && options.now === true)
    throw new KinError("USAGE", "--later queues it and --now forbids that: choose one");
  const deadlineMs = options.deadline === undefined ? null : parseDuration(options.deadline, "--deadline");
  if (deadlineMs !== null && deadlineMs > MAX_DEADLINE_MS) throw new KinError("USAGE", "--deadline is at most 1h");
  return {
    later: options.later ?? false,
    now: options.now ?? false,
    deadlineMs,
  };
}

function attachment(typed: string): string {
  const file = resolve(typed);
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new KinError("USAGE", `--attach: there is no file ${file}`);
  if (!found.isFile()) throw new KinError("USAGE", `--attach: ${file} is not a file`);
  if (found.size > MAX_BLOB_BYTES)
    throw new KinError("TOO_LARGE", `--attach: ${file} has ${found.size} bytes, expected at most ${MAX_BLOB_BYTES}`);
  return file;
}

const QUOTE_NUMBER = "put it in quotes: as a text it stays as it is";

/** `--set max=3` means the number 3; what isn't JSON is a text ({@link jsonOrText}). */
function settings(options: AskOptions): { [key: string]: Json } {
  const all: { [key: string]: Json } = {};
  for (const pair of options.set ?? []) {
    const [key, word] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    if (!/^[A-Za-z][\w-]{0,63}$/.test(key) || !pair.includes("="))
      throw new KinError("USAGE", `--set is "${pair}", expected name=value such as max=3`);
    all[key] = jsonOrText(word, `--set ${key} has`, QUOTE_NUMBER);
  }
  if (options.share !== undefined) all["share"] = options.share;
  return all;
}

/** Strictly: a name twice in one object would mean one thing to us and another to who answers (B19). */
function parseArguments(text: string): { [key: string]: Json } {
  const expected = `expected a JSON object such as '{"max": 3}'`;
  let value: Json;
  try {
    value = parseJson(text, "this", MAX_INLINE_BYTES);
  } catch (error) {
    const { message } = errorShape(error);
    const sentence = `the arguments are ${message.startsWith("this is ") ? message.slice("this is ".length) : `refused: ${message}`}`;
    throw new KinError("USAGE", `${sentence}, ${expected}`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new KinError("USAGE", `the arguments are ${text.slice(0, 40)}, ${expected}`);
  checkNumbers(text, "the arguments have", QUOTE_NUMBER);
  return value;
}
