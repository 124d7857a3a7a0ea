/**
 * Which tests cite which requirement. A test cites by carrying the id as a word of its name (`R3: mutual removal …`,
 * `a stranger is refused [gate-strangers]`); a table-driven test cites by the `id` of its rows.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSync } from "oxc-parser";

export interface Citation {
  /** Relative to the project, with forward slashes. */
  file: string;
  text: string;
}

/** The id as a whole word: `A1` is not cited by `A15`. Also the pattern for `vitest -t`. */
export function citationPattern(id: string): string {
  return `(^|[^A-Za-z0-9-])${id.replace(/[.]/g, "\\.")}(?![A-Za-z0-9-])`;
}

/** Every test name and row id below `test/`. */
export function readCitations(root: string): Citation[] {
  return readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !NOT_TESTS.test(file))
    .toSorted()
    .flatMap((file) => textsOf(`test/${file.replaceAll("\\", "/")}`, readFileSync(join(root, "test", file), "utf8")));
}

/** The test files to run for `id`: those that cite it, and those that import a table which does. */
export function citingFiles(root: string, citations: readonly Citation[], id: string): string[] {
  const pattern = new RegExp(citationPattern(id));
  const files = new Set(citations.filter(({ text }) => pattern.test(text)).map(({ file }) => file));
  const tables = [...files].filter((file) => !file.endsWith(".test.ts"));
  const tests = citations.map(({ file }) => file).filter((file) => file.endsWith(".test.ts"));
  for (const test of new Set(tests))
    if (tables.some((table) => importsTable(readFileSync(join(root, test), "utf8"), table))) files.add(test);
  return [...files].filter((file) => file.endsWith(".test.ts"));
}

function importsTable(source: string, table: string): boolean {
  return new RegExp(`from "[^"]*/${table.slice(table.lastIndexOf("/") + 1).replace(".", "\\.")}"`).test(source);
}

const NOT_TESTS =
  /^((requirements|reporter)(?!\.test)|faults|inject-faults|citations|architecture-rules)\.|^(interop|bench)\/.*(?<!\.test)\.ts$/;
const NAMING = new Set(["test", "it", "describe"]);

interface Node {
  type: string;
  [field: string]: unknown;
}

function textsOf(file: string, source: string): Citation[] {
  const found: Citation[] = [];
  visit(parseSync(file, source).program as unknown as Node, (node) => {
    for (const named of namesIn(node)) {
      const text = literalText(named);
      if (text !== undefined) found.push({ file, text });
    }
  });
  return found;
}

/** Where names stand: `test(name, …)`, the first column of `test.each([[name, …], …])`, and `id: name` in a row of a table. */
function namesIn(node: Node): Node[] {
  if (node.type === "Property" && (node["key"] as Node)["name"] === "id") return [node["value"] as Node];
  if (node.type !== "CallExpression" || !NAMING.has(rootName(node["callee"]))) return [];
  const [first] = node["arguments"] as Node[];
  const rows = first?.type === "TSAsExpression" ? (first["expression"] as Node) : first;
  if (rows?.type !== "ArrayExpression") return first === undefined ? [] : [first];
  return (rows["elements"] as Node[]).map((row) =>
    row.type === "ArrayExpression" ? (row["elements"] as Node[])[0]! : row,
  );
}

/** `test`, `test.skipIf(x)`, `test.each(rows)` and `describe.each(rows)` all answer with their first word. */
function rootName(callee: unknown): string {
  let node = callee as Node;
  for (;;) {
    if (node.type === "Identifier") return node["name"] as string;
    if (node.type === "MemberExpression") node = node["object"] as Node;
    else if (node.type === "CallExpression" || node.type === "TaggedTemplateExpression")
      node = (node["callee"] ?? node["tag"]) as Node;
    else return "";
  }
}

function literalText(node: Node): string | undefined {
  if (node.type === "Literal" && typeof node["value"] === "string") return node["value"];
  if (node.type !== "TemplateLiteral") return undefined;
  return (node["quasis"] as { value: { cooked: string } }[]).map((quasi) => quasi.value.cooked).join("…");
}

function visit(node: Node, see: (node: Node) => void): void {
  see(node);
  for (const value of Object.values(node))
    for (const child of Array.isArray(value) ? value : [value])
      if (child !== null && typeof child === "object" && typeof (child as Node).type === "string")
        visit(child as Node, see);
}
