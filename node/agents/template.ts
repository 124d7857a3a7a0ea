/**
 * Templates of `steps:`: text with `{{path}}`, nothing else. `{{log.text}}` must have a value, `{{settings.share?}}` may have
 * none. A text that is one placeholder gives the value itself, not its text. What is filled in is never read as a template.
 */
import type { Json } from "../../protocols/tool.ts";
import { KinError } from "../../protocols/errors.ts";

/** Text after filling in; a whole diff passes from step to step. */
export const MAX_RENDERED_CHARS = 4 * 1024 * 1024;
const MAX_TEMPLATE_CHARS = 16 * 1024;
const PATH = /^[a-z][a-zA-Z0-9_-]*(?:\.[a-zA-Z0-9_-]+){0,7}$/;

interface Place {
  path: readonly string[];
  optional: boolean;
}
export type Template = readonly (string | Place)[];
export type Values = { readonly [name: string]: Json };

/** A mistake in a template, at a character from its start. */
export interface TemplateProblem {
  at: number;
  message: string;
}

/** `known`: the first names that paths may have. */
export function parseTemplate(text: string, known: readonly string[]): Template | TemplateProblem {
  if (text.length > MAX_TEMPLATE_CHARS)
    return { at: 0, message: `the template is over ${MAX_TEMPLATE_CHARS} characters` };
  const parts: (string | Place)[] = [];
  let at = 0;
  for (let open = text.indexOf("{{"); open >= 0; open = text.indexOf("{{", at)) {
    const close = text.indexOf("}}", open);
    if (close < 0) return { at: open, message: '"{{" is not closed by "}}"' };
    const place = parsePlace(text.slice(open + 2, close).trim(), known);
    if (typeof place === "string") return { at: open, message: place };
    if (open > at) parts.push(text.slice(at, open));
    parts.push(place);
    at = close + 2;
  }
  if (at < text.length || parts.length === 0) parts.push(text.slice(at));
  return parts;
}

export function isProblem(parsed: Template | TemplateProblem): parsed is TemplateProblem {
  return !Array.isArray(parsed);
}

function parsePlace(inside: string, known: readonly string[]): Place | string {
  const optional = inside.endsWith("?");
  const path = optional ? inside.slice(0, -1) : inside;
  if (!PATH.test(path)) return `"{{${inside}}}" is not a path like {{log.text}} or {{settings.share?}}`;
  const names = path.split(".");
  if (!known.includes(names[0]!)) return `"{{${inside}}}": there is no "${names[0]}" here; known: ${known.join(", ")}`;
  return { path: names, optional };
}

/** First names of the paths of a template, with the second one: `settings.share`. */
export function placesOf(template: Template): string[] {
  return template.flatMap((part) => (typeof part === "string" ? [] : [part.path.slice(0, 2).join(".")]));
}

/** The value of a template; undefined if it is one optional placeholder without a value. @throws KinError AGENT_FAILED */
export function renderValue(template: Template, values: Values): Json | undefined {
  const only = template.length === 1 ? template[0] : undefined;
  return only !== undefined && typeof only !== "string" ? lookUp(only, values) : renderText(template, values);
}

/** @throws KinError AGENT_FAILED if a needed value is missing or the text gets too long. */
export function renderText(template: Template, values: Values): string {
  let text = "";
  for (const part of template) {
    const value = typeof part === "string" ? part : (lookUp(part, values) ?? "");
    text += typeof value === "string" ? value : JSON.stringify(value);
    if (text.length > MAX_RENDERED_CHARS)
      throw new KinError("AGENT_FAILED", `a text got longer than ${MAX_RENDERED_CHARS} characters`);
  }
  return text;
}

function lookUp(place: Place, values: Values): Json | undefined {
  let value: Json | undefined = values;
  for (const name of place.path) value = ownValue(value, name);
  if (value !== undefined && value !== null) return value;
  if (place.optional) return undefined;
  throw new KinError("AGENT_FAILED", `{{${place.path.join(".")}}} has no value`);
}

/** Own properties only: `constructor` and `__proto__` are no values. */
function ownValue(value: Json | undefined, name: string): Json | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const found = Object.getOwnPropertyDescriptor(value, name);
  return found === undefined || typeof found.value === "function" ? undefined : (found.value as Json);
}
