import type { Row } from "./main.ts";

/** Rows as text columns: numbers to the right, names to the left. */
export function formatTable(columns: { [field: string]: string }, rows: readonly Row[]): string {
  const fields = Object.keys(columns);
  const lines = [
    fields.map((field) => columns[field]!),
    ...rows.map((row) => fields.map((field) => formatCell(row[field]))),
  ];
  const widths = fields.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  const isNumber = fields.map((field) => rows.every((row) => typeof row[field] === "number"));
  return lines
    .map((line) =>
      line.map((cell, i) => (isNumber[i]! ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join("  "),
    )
    .join("\n");
}

function formatCell(value: string | number | undefined): string {
  return typeof value === "number" ? value.toLocaleString("en-US", { maximumFractionDigits: 1 }) : (value ?? "");
}
