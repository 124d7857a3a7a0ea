/**
 * Arguments against a tool's JSON Schema (2020-12, and what older MCP servers write). A schema never fetches another one:
 * a `$ref` that leads out of it is an error (J9).
 */
import type { ErrorObject, ValidateFunction } from "ajv/dist/2020.js";
import type { Json, ToolDescription } from "../../protocols/tool.ts";
import { Ajv2020 } from "ajv/dist/2020.js";
import { KinError } from "../../protocols/errors.ts";

/** A schema over this is no description of arguments. */
const MAX_SCHEMA_CHARS = 64 * 1024;
/** Of a wrong value, what the error shows. */
const SHOWN_CHARS = 60;

/** @throws KinError INVALID_ARGUMENTS if the schema can't be used; the returned function throws it for arguments that don't fit. */
export function createValidator(
  tool: Pick<ToolDescription, "name" | "inputSchema">,
): (args: { [key: string]: Json }) => void {
  let validate: ValidateFunction | undefined;
  if (JSON.stringify(tool.inputSchema).length > MAX_SCHEMA_CHARS)
    throw new KinError("INVALID_ARGUMENTS", `${tool.name}: its schema is over ${MAX_SCHEMA_CHARS} characters`);
  return (args) => {
    // Compiled at the first call: hundreds of tools must not slow the start.
    validate ??= compile(tool);
    if (validate(args)) return;
    throw new KinError("INVALID_ARGUMENTS", `${tool.name}: ${sentence(validate.errors?.[0], args, tool.inputSchema)}`);
  };
}

function compile(tool: Pick<ToolDescription, "name" | "inputSchema">): ValidateFunction {
  // A compiler for each schema: two schemas with one `$id` must not meet.
  const ajv = new Ajv2020({
    strict: false,
    validateFormats: false,
    allErrors: false,
    verbose: true,
    validateSchema: false,
    logger: false,
  });
  const { $schema: _dialect, ...schema } = tool.inputSchema;
  try {
    return ajv.compile(schema);
  } catch (cause) {
    throw new KinError("INVALID_ARGUMENTS", `${tool.name}: its own schema can't be used: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function sentence(error: ErrorObject | undefined, args: Json, schema: { [key: string]: Json }): string {
  if (error === undefined) return "the arguments do not fit the schema";
  const known = Object.keys((schema["properties"] as object | undefined) ?? {}).join(", ") || "none";
  if (error.keyword === "additionalProperties" || error.keyword === "unevaluatedProperties")
    return `"${String(error.params["additionalProperty"] ?? error.params["unevaluatedProperty"])}" is not an argument; expected: ${known}`;
  if (error.keyword === "required")
    return `the argument "${String(error.params["missingProperty"])}" is missing; expected: ${known}`;
  const where = error.instancePath === "" ? "the arguments" : `"${error.instancePath.slice(1).replaceAll("/", ".")}"`;
  return `${where} ${error.message ?? "is wrong"}, got ${shown(error.data ?? args)}`;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
}
