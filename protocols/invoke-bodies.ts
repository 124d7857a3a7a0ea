/**
 * Bodies of the `invoke/*` envelopes: DAG-CBOR maps, unknown fields refused, JSON as text (F1).
 *
 *   request   { target: {agent: name} | {tool: name}, parts: [part], args: JSON text of an object, key: 16 bytes,
 *               deadline: ms, budget: {depth, tokens?, cost?}, chain: [[person, device, agent | null], …], retry?: [hash, iat] }
 *   cancel    { }
 *   resume    { from: index, id: the 16 bytes `id` of the request, boot: the 16 bytes `boot` of the request }
 *   accepted  { n: 0 }
 *   refused   { code, message, hint? }
 *   progress  { n, parts: [part] }
 *   result    { n, parts: [part] }                     an agent's
 *             { n, tool: {content: [content], structured?: JSON text, isError: bool} }      a tool's
 *   failure   { n, code, message, hint? }
 *
 *   part      { text } | { data: JSON text } | { blob: {hash: 32 bytes, bytes, type, name?} }
 *   content   { text } | { blob: {hash: 32 bytes, bytes, type, name?} }
 */
import { fromHex, toHex, encode, type Value } from "./bytes.ts";
import { sha256 } from "#crypto";
import { KinError, type ErrorShape } from "./errors.ts";
import { idBytes, idOf, isName, type EnvelopeId } from "./ids.ts";
import type { Budget, CallEvent, CallOutcome, CallRequest, CallTarget, ChainLink, Part } from "./invoke.ts";
import { formatJson, parseJson } from "./json.ts";
import { MAX_BLOB_BYTES, MAX_CALL_DEPTH, MAX_DEADLINE_MS, MAX_INLINE_BYTES, TOOL_NAME_PATTERN } from "./limits.ts";
import { asMap } from "./signature.ts";
import type { Json, ToolContent, ToolResult } from "./tool.ts";

/** Parts of one message; more pieces than that are one text. */
export const MAX_PARTS = 256;
/** An error's sentence and hint: for people, on a screen. */
const MAX_MESSAGE_CHARS = 4096;
const MAX_MEDIA_TYPE_CHARS = 127;
const MAX_FILE_NAME_CHARS = 255;

/** F2. */
const ERROR_CODE = /^[A-Z][A-Z0-9_]{0,63}$/;

type Body = { [key: string]: Value | undefined };

export function requestBody(request: CallRequest): Body {
  const { budget, retryOf } = request;
  return {
    target: { ...request.target },
    parts: partsValue(request.parts),
    args: jsonText(request.arguments, "the arguments"),
    key: request.key,
    deadline: request.deadlineMs,
    budget: { depth: budget.depth, tokens: budget.tokens, cost: budget.costMicros },
    chain: request.chain.map((link) => [idBytes(link.person), idBytes(link.device), link.agent]),
    retry: retryOf === undefined ? undefined : [idBytes(retryOf.request), retryOf.iat],
  };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE, TOO_DEEP */
export function parseRequest(body: unknown): CallRequest {
  const { target, parts, args, key, deadline, budget, chain, retry } = fields(body, "a request", [
    "target",
    "parts",
    "args",
    "key",
    "deadline",
    "budget",
    "chain",
    "retry",
  ]);
  if (!(key instanceof Uint8Array) || key.length !== 16) throw bad("a request's key is 16 bytes");
  const settings = parseJson(text(args, "a request's args", MAX_INLINE_BYTES), "a request's args", MAX_INLINE_BYTES);
  if (typeof settings !== "object" || settings === null || Array.isArray(settings))
    throw bad("a request's args are a JSON object");
  const request: CallRequest = {
    target: parseTarget(target),
    parts: parseParts(parts),
    arguments: settings,
    key,
    deadlineMs: integer(deadline, "a request's deadline", 1, MAX_DEADLINE_MS),
    budget: parseBudget(budget),
    chain: parseChain(chain),
  };
  if (retry !== undefined) request.retryOf = parseRetry(retry);
  return request;
}

/** What must be the same in a retry under one idempotency key: target, parts and arguments. */
export function requestDigest(request: CallRequest): Uint8Array {
  const { target, parts, args } = requestBody(request);
  return sha256(encode({ target, parts, args }));
}

/** What a resume says: where to go on, and which request it was, to tell a lost request from a lost answer. */
export interface ResumeBody {
  from: number;
  /** `id` of the request's envelope, 16 bytes. */
  id: Uint8Array;
  /** `boot` of the request's envelope, 16 bytes. */
  boot: Uint8Array;
}

export function resumeBody({ from, id, boot }: ResumeBody): Body {
  return { from, id, boot };
}

/** @throws KinError BAD_REQUEST */
export function parseResume(body: unknown): ResumeBody {
  const { from, id, boot } = fields(body, "a resume", ["from", "id", "boot"]);
  if (!(id instanceof Uint8Array) || id.length !== 16) throw bad("a resume's id is 16 bytes");
  if (!(boot instanceof Uint8Array) || boot.length !== 16) throw bad("a resume's boot is 16 bytes");
  return { from: integer(from, "a resume's from", 0), id, boot };
}

/** @throws KinError BAD_REQUEST */
export function parseCancel(body: unknown): void {
  fields(body, "a cancel", []);
}

/** The body of one event; refusals have {@link refusedBody}. */
export function eventBody(event: CallEvent): Body {
  switch (event.type) {
    case "accepted":
      return { n: event.index };
    case "progress":
      return { n: event.index, parts: partsValue(event.parts) };
    case "result":
      return { n: event.index, ...outcomeValue(event.outcome) };
    case "failure":
      return { n: event.index, ...refusedBody(event.error) };
  }
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseEvent(type: CallEvent["type"], body: unknown): CallEvent {
  const { n, ...rest } = asMap(body, `a ${type}`);
  const index = integer(n, `a ${type}'s n`, 0);
  switch (type) {
    case "accepted":
      fields(rest, "an accepted", []);
      if (index !== 0) throw bad(`accepted is event 0, not ${index}`);
      return { type, index };
    case "progress":
      return { type, index, parts: parseParts(fields(rest, "a progress", ["parts"])["parts"]) };
    case "result":
      return { type, index, outcome: parseOutcome(rest) };
    case "failure":
      return { type, index, error: parseRefused(rest) };
  }
}

export function refusedBody(error: ErrorShape): Body {
  return {
    code: ERROR_CODE.test(error.code) ? error.code : "INTERNAL",
    message: cut(error.message),
    hint: error.hint === undefined ? undefined : cut(error.hint),
  };
}

/** @throws KinError BAD_REQUEST */
export function parseRefused(body: unknown): ErrorShape {
  const { code, message, hint } = fields(body, "a failure", ["code", "message", "hint"]);
  if (typeof code !== "string" || !ERROR_CODE.test(code)) throw bad("an error code is UPPER_SNAKE");
  const error: ErrorShape = { code, message: text(message, "an error's message", MAX_MESSAGE_CHARS) };
  if (hint !== undefined) error.hint = text(hint, "an error's hint", MAX_MESSAGE_CHARS);
  return error;
}

export function outcomeValue(outcome: CallOutcome): Body {
  return "parts" in outcome ? { parts: partsValue(outcome.parts) } : { tool: toolValue(outcome.tool) };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseOutcome(value: unknown): CallOutcome {
  const { parts, tool } = fields(value, "a result", ["parts", "tool"]);
  if ((parts === undefined) === (tool === undefined)) throw bad("a result has parts or tool");
  return tool === undefined ? { parts: parseParts(parts) } : { tool: parseTool(tool) };
}

function toolValue(result: ToolResult): Body {
  const { content, structured, isError } = result;
  return {
    content: few(content, "a tool result's content").map((item) =>
      item.type === "text" ? { text: text(item.text, "content's text", MAX_INLINE_BYTES) } : { blob: blobValue(item) },
    ),
    structured: structured === undefined ? undefined : jsonText(structured, "structured"),
    isError,
  };
}

function parseTool(value: unknown): ToolResult {
  const { content, structured, isError } = fields(value, "a tool result", ["content", "structured", "isError"]);
  if (typeof isError !== "boolean") throw bad("a tool result's isError is true or false");
  if (!Array.isArray(content) || content.length > MAX_PARTS)
    throw bad(`a tool result's content is a list of at most ${MAX_PARTS}`);
  const result: ToolResult = { content: content.map(parseContent), isError };
  if (structured !== undefined) result.structured = json(structured, "structured");
  return result;
}

function parseContent(value: unknown): ToolContent {
  const { text: said, blob } = fields(value, "content", ["text", "blob"]);
  if ((said === undefined) === (blob === undefined)) throw bad("content has text or blob");
  return blob === undefined
    ? { type: "text", text: text(said, "content's text", MAX_INLINE_BYTES) }
    : { type: "blob", ...parseBlob(blob) };
}

function partsValue(parts: Part[]): Body[] {
  return few(parts, "parts").map(partValue);
}

function partValue(part: Part): Body {
  if ("text" in part) return { text: text(part.text, "a part's text", MAX_INLINE_BYTES) };
  if ("data" in part) return { data: jsonText(part.data, "a part's data") };
  return { blob: blobValue(part.blob) };
}

function parseParts(value: unknown): Part[] {
  if (!Array.isArray(value) || value.length > MAX_PARTS) throw bad(`parts are a list of at most ${MAX_PARTS}`);
  return value.map(parsePart);
}

function parsePart(value: unknown): Part {
  const map = fields(value, "a part", ["text", "data", "blob"]);
  if (Object.keys(map).length !== 1) throw bad("a part has one of text, data, blob");
  if (map["text"] !== undefined) return { text: text(map["text"], "a part's text", MAX_INLINE_BYTES) };
  if (map["data"] !== undefined) return { data: json(map["data"], "a part's data") };
  return { blob: parseBlob(map["blob"]) };
}

interface Blob {
  hash: string;
  bytes: number;
  mediaType: string;
  name?: string | undefined;
}

function blobValue(blob: Blob): Body {
  return { hash: fromHex(blob.hash), bytes: blob.bytes, type: blob.mediaType, name: blob.name };
}

function parseBlob(value: unknown): { hash: string; bytes: number; mediaType: string; name?: string } {
  const { hash, bytes, type, name } = fields(value, "a blob", ["hash", "bytes", "type", "name"]);
  if (!(hash instanceof Uint8Array) || hash.length !== 32) throw bad("a blob's hash is 32 bytes");
  const blob = {
    hash: toHex(hash),
    bytes: integer(bytes, "a blob's bytes", 0, MAX_BLOB_BYTES),
    mediaType: text(type, "a blob's type", MAX_MEDIA_TYPE_CHARS),
  };
  return name === undefined ? blob : { ...blob, name: text(name, "a blob's name", MAX_FILE_NAME_CHARS) };
}

function parseTarget(value: unknown): CallTarget {
  const { agent, tool } = fields(value, "a target", ["agent", "tool"]);
  if ((agent === undefined) === (tool === undefined)) throw bad("a target has agent or tool");
  if (typeof agent === "string" && isName(agent)) return { agent };
  if (typeof tool === "string" && TOOL_NAME_PATTERN.test(tool)) return { tool };
  throw bad(`${JSON.stringify(agent ?? tool)} is no agent's or tool's name`);
}

function parseBudget(value: unknown): Budget {
  const { depth, tokens, cost } = fields(value, "a budget", ["depth", "tokens", "cost"]);
  const budget: Budget = { depth: integer(depth, "a budget's depth", 0) };
  if (budget.depth > MAX_CALL_DEPTH)
    throw new KinError("TOO_DEEP", `a budget's depth is at most ${MAX_CALL_DEPTH}, this one says ${budget.depth}`);
  if (tokens !== undefined) budget.tokens = integer(tokens, "a budget's tokens", 0);
  if (cost !== undefined) budget.costMicros = integer(cost, "a budget's cost", 0);
  return budget;
}

function parseChain(value: unknown): ChainLink[] {
  if (!Array.isArray(value) || value.length === 0) throw bad("a request's chain has at least the caller's link");
  if (value.length > MAX_CALL_DEPTH + 1)
    throw new KinError("TOO_DEEP", `a chain of ${value.length} links: at most ${MAX_CALL_DEPTH + 1}`);
  return value.map(parseLink);
}

function parseLink(value: unknown): ChainLink {
  const [person, device, agent] = Array.isArray(value) && value.length === 3 ? (value as unknown[]) : [];
  if (agent !== null && !(typeof agent === "string" && isName(agent)))
    throw bad("a link of a chain is [person, device, agent | null]");
  return { person: idOf(person), device: idOf(device), agent };
}

function parseRetry(value: unknown): { request: EnvelopeId; iat: number } {
  const [request, iat] = Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [];
  return { request: idOf(request), iat: integer(iat, "a retry's iat", 0) };
}

/** The map's fields, after everything that is not in `known` was refused. */
function fields(value: unknown, what: string, known: string[]): Record<string, unknown> {
  const map = asMap(value, what);
  for (const key of Object.keys(map)) if (!known.includes(key)) throw bad(`${what} has no field "${key}"`);
  return map;
}

function integer(value: unknown, what: string, least: number, most: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number" || value < least || value > most)
    throw bad(`${what} is an integer from ${least} to ${most}`);
  return value;
}

function text(value: unknown, what: string, maxChars: number): string {
  if (typeof value !== "string") throw bad(`${what} is text`);
  if (value.length > maxChars)
    throw new KinError("TOO_LARGE", `${what} has ${value.length} characters: at most ${maxChars}; send more as a blob`);
  return value;
}

function json(value: unknown, what: string): Json {
  return parseJson(text(value, what, MAX_INLINE_BYTES), what, MAX_INLINE_BYTES);
}

/** What we send is held to what we accept, so that the peer has no reason to end the stream. @throws KinError TOO_LARGE */
function jsonText(value: Json, what: string): string {
  return text(formatJson(value, what), what, MAX_INLINE_BYTES);
}

/** @throws KinError TOO_LARGE */
function few<T>(items: T[], what: string): T[] {
  if (items.length > MAX_PARTS) throw new KinError("TOO_LARGE", `${what}: ${items.length} items, at most ${MAX_PARTS}`);
  return items;
}

function cut(message: string): string {
  return message.length > MAX_MESSAGE_CHARS ? `${message.slice(0, MAX_MESSAGE_CHARS - 1)}…` : message;
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}
