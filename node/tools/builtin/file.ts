/** `fs.read` and `fs.search`: files of a share, as `share.ts` serves them. */
import type { Tool } from "../registry.ts";
import type { ShareLimits } from "../share.ts";
import { KinError } from "../../../protocols/errors.ts";
import { textResult } from "../output.ts";
import { textArgument } from "../registry.ts";
import { openShare } from "../share.ts";

const DEFAULT_LINES = 400;
const MAX_LINES = 5000;
const DEFAULT_MATCHES = 50;
const MAX_MATCHES = 500;
/** Of a matching line; minified files have one line of a megabyte. */
const MAX_SHOWN_LINE = 240;
const MAX_QUERY_CHARS = 256;

export const SHARE_ARGUMENT = {
  type: "string",
  maxLength: 32,
  description: "Name of the share; needed if you may read several.",
} as const;

export function fileTools(limits: ShareLimits): Tool[] {
  return [readTool(limits), searchTool(limits)];
}

function readTool(limits: ShareLimits): Tool {
  return {
    name: "fs.read",
    description: "Reads lines of a text file of a share.",
    readOnly: true,
    for: "share-people",
    onShare: true,
    inputSchema: {
      type: "object",
      properties: {
        share: SHARE_ARGUMENT,
        path: { type: "string", minLength: 1, maxLength: 4096, description: "Relative to the share." },
        line: { type: "integer", minimum: 1, description: "First line, from 1." },
        lines: {
          type: "integer",
          minimum: 1,
          maximum: MAX_LINES,
          description: `How many lines; ${DEFAULT_LINES} if not said.`,
        },
      },
      required: ["path"],
      additionalProperties: false,
    },
    async run({ args, share }, signal) {
      const folder = await openShare(share!, limits);
      const file = await folder.read(args["path"] as string, signal);
      const all = linesOf(file.text);
      const first = (args["line"] as number | undefined) ?? 1;
      if (first > Math.max(1, all.length))
        throw new KinError("INVALID_ARGUMENTS", `${file.path} has ${all.length} lines, asked from line ${first}`);
      const part = all.slice(first - 1, first - 1 + ((args["lines"] as number | undefined) ?? DEFAULT_LINES));
      return textResult(part.join("\n"), { path: file.path, line: first, lines: part.length, total: all.length });
    },
  };
}

function searchTool(limits: ShareLimits): Tool {
  return {
    name: "fs.search",
    description: "Finds text in the files of a share: as it is written, and in any case if it has no capital.",
    readOnly: true,
    for: "share-people",
    onShare: true,
    inputSchema: {
      type: "object",
      properties: {
        share: SHARE_ARGUMENT,
        text: { type: "string", minLength: 1, maxLength: MAX_QUERY_CHARS },
        max: {
          type: "integer",
          minimum: 1,
          maximum: MAX_MATCHES,
          description: `How many lines at most; ${DEFAULT_MATCHES} if not said.`,
        },
      },
      required: ["text"],
      additionalProperties: false,
    },
    async run({ args, share }, signal) {
      const folder = await openShare(share!, limits);
      const matches = finder(args["text"] as string);
      const max = (args["max"] as number | undefined) ?? DEFAULT_MATCHES;
      const { paths, cut } = await folder.list(signal);
      const found: { path: string; line: number; text: string }[] = [];
      for (const path of paths) {
        signal.throwIfAborted();
        if (found.length >= max) break;
        const text = await textOf(folder, path);
        if (text === null || !matches(text)) continue;
        for (const [index, line] of linesOf(text).entries())
          if (found.length < max && matches(line))
            found.push({ path, line: index + 1, text: line.trim().slice(0, MAX_SHOWN_LINE) });
      }
      const lines = found.map((hit) => `${hit.path}:${hit.line}: ${hit.text}`);
      if (found.length === 0)
        lines.push(
          `"${textArgument(args, "text")}" is in none of the ${paths.length} files of "${folder.share.name}".`,
        );
      if (found.length >= max) lines.push(`… the first ${max}; there may be more`);
      if (cut) lines.push(`… only the first ${paths.length} files were looked at`);
      return textResult(lines.join("\n"), { matches: found, files: paths.length });
    },
  };
}

/** A file that is listed and can't be read (binary, large, a key, gone) has no text to find. */
async function textOf(folder: Awaited<ReturnType<typeof openShare>>, path: string): Promise<string | null> {
  return folder.readListed(path).then(
    (file) => file.text,
    () => null,
  );
}

function finder(query: string): (text: string) => boolean {
  if (query !== query.toLowerCase()) return (text) => text.includes(query);
  return (text) => text.toLowerCase().includes(query);
}

/** Lines without their ends; a last line break begins no line. */
export function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
