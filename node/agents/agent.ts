/**
 * One call of an agent made of steps: each step is a tool call with the rights of who asks, through the one tool path. What a
 * step says is streamed at once; the answer is all that was said and then the answer's own text, so that it is whole by itself.
 */
import type { PersonId } from "../../protocols/ids.ts";
import type { CallOutcome, IncomingCall, Part } from "../../protocols/invoke.ts";
import type { Json, ToolResult } from "../../protocols/tool.ts";
import type { Tools } from "../tools/tools.ts";
import type { Definition, Step } from "./definition.ts";
import type { Values } from "./template.ts";
import { KinError } from "../../protocols/errors.ts";
import { MAX_INLINE_BYTES } from "../../protocols/limits.ts";
import { cutText, resultText } from "../tools/output.ts";
import { isTemplate } from "./definition.ts";
import { renderText, renderValue } from "./template.ts";

/** The answer must fit into one envelope, text beside data. */
const MAX_ANSWER_BYTES = 96 * 1024;
const MAX_ANSWER_DATA_CHARS = MAX_INLINE_BYTES - MAX_ANSWER_BYTES;
/** With less room nothing more is said; half of it is left for the note that something was cut. */
const MIN_ROOM_BYTES = 400;
/** All texts and files that come with a question. */
const MAX_ATTACHED_CHARS = 2 * 1024 * 1024;

/** Reads a blob that a call is about; it has been fetched and verified (F6). */
export type ReadBlob = (hash: string, call: IncomingCall, signal: AbortSignal) => Promise<Uint8Array>;

export interface AgentDeps {
  tools: Tools;
  me: () => PersonId | null;
  readBlob: ReadBlob;
}

export type Emit = (parts: Part[]) => Promise<void>;

/** @throws KinError of the step that failed; its sentence names the step. */
export async function runAgent(
  definition: Definition,
  deps: AgentDeps,
  call: IncomingCall,
  emit: Emit,
  signal: AbortSignal,
): Promise<CallOutcome> {
  let values: Values = await firstValues(deps, call, signal);
  let said = "";
  for (const step of definition.steps) {
    signal.throwIfAborted();
    if (step.when !== null && !isTrue(renderValue(step.when, values))) continue;
    const result = await runStep(definition, step, deps, call, values, signal);
    values = { ...values, [step.as]: { text: resultText(result), data: result.structured ?? null } };
    const text = step.say === null ? "" : renderText(step.say, values);
    if (text === "") continue;
    // What does not fit into the answer any more is not streamed either: both say the same.
    const room = MAX_ANSWER_BYTES - Buffer.byteLength(said);
    if (room < MIN_ROOM_BYTES) continue;
    const shown = cutText(text, room - MIN_ROOM_BYTES / 2);
    said += shown;
    await emit([{ text: shown }]);
  }
  return { parts: answerParts(definition, values, said) };
}

function answerParts(definition: Definition, values: Values, said: string): Part[] {
  const answer = definition.answer === null ? "" : renderText(definition.answer, values);
  const data = definition.data === null ? undefined : renderValue(definition.data, values);
  const parts: Part[] = [{ text: cutText(said + answer, MAX_ANSWER_BYTES) }];
  if (data !== undefined && JSON.stringify(data).length <= MAX_ANSWER_DATA_CHARS) parts.push({ data });
  return parts;
}

/** Empty and false are no; so is what has no value. */
function isTrue(value: Json | undefined): boolean {
  return value !== undefined && value !== null && value !== false && value !== "" && value !== "false";
}

async function runStep(
  definition: Definition,
  step: Step,
  deps: AgentDeps,
  call: IncomingCall,
  values: Values,
  signal: AbortSignal,
): Promise<ToolResult> {
  const { person, device, agent } = call.from;
  const asker = { person, me: person === deps.me(), through: definition.name };
  try {
    const request = {
      asker,
      caller: { person, device, agent },
      call: call.id,
      tool: step.tool,
      args: argumentsOf(step, values),
    };
    const result = await deps.tools.call(request, signal);
    if (!result.isError) return result;
    throw new KinError("TOOL_FAILED", resultText(result).slice(0, 500));
  } catch (error) {
    if (!(error instanceof KinError)) throw error;
    // What is refused about the share is the asker's to mend: it reads the same as in a direct call.
    const asIs = error.code === "SHARE_NEEDED" || error.code === "DENIED" || error.code === "CANCELLED";
    throw asIs
      ? error
      : new KinError(error.code, `${definition.name}, step ${step.as} (${step.tool}): ${error.message}`, {
          hint: error.hint,
          cause: error,
        });
  }
}

function argumentsOf(step: Step, values: Values): { [key: string]: Json } {
  const args: { [key: string]: Json } = {};
  for (const [name, value] of Object.entries(step.with)) {
    const filled = isTemplate(value) ? renderValue(value, values) : value;
    if (filled !== undefined) args[name] = filled;
  }
  return args;
}

async function firstValues(deps: AgentDeps, call: IncomingCall, signal: AbortSignal): Promise<Values> {
  const texts: string[] = [];
  checkAttached(call.request.parts);
  for (const part of call.request.parts) texts.push(await partText(deps, part, call, signal));
  const [question = "", ...attached] = texts;
  const all = attached.join("\n");
  if (question.length + all.length > MAX_ATTACHED_CHARS)
    throw new KinError(
      "TOO_LARGE",
      `what came with the question has ${question.length + all.length} characters, at most ${MAX_ATTACHED_CHARS} are read`,
    );
  return { question, attached: all, settings: call.request.arguments };
}

/** Brings here what the call's texts are read from. @throws KinError what `readBlob` throws; TOO_LARGE */
export async function fetchAttached({ readBlob }: AgentDeps, call: IncomingCall, signal: AbortSignal): Promise<void> {
  checkAttached(call.request.parts);
  for (const part of call.request.parts) if ("blob" in part) await readBlob(part.blob.hash, call, signal);
}

/** Before anything is fetched: many files that are small enough each may be too much together. @throws KinError TOO_LARGE */
function checkAttached(parts: Part[]): void {
  const files = parts.flatMap((part) => ("blob" in part ? [part.blob] : []));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes <= MAX_ATTACHED_CHARS) return;
  const what = files.length === 1 ? `${files[0]!.name ?? "the attachment"} has` : `${files.length} attachments have`;
  throw new KinError("TOO_LARGE", `${what} ${bytes} bytes, at most ${MAX_ATTACHED_CHARS} are read`);
}

async function partText(deps: AgentDeps, part: Part, call: IncomingCall, signal: AbortSignal): Promise<string> {
  if ("text" in part) return part.text;
  if ("data" in part) return JSON.stringify(part.data, null, 2);
  const { hash, bytes, mediaType, name } = part.blob;
  const content = Buffer.from(await deps.readBlob(hash, call, signal));
  return content.subarray(0, 8192).includes(0)
    ? `[${name ?? "attachment"}: ${mediaType}, ${bytes} bytes, not text]`
    : content.toString("utf8");
}
