/**
 * The same work for Automerge: a document with as many separate changes, which come in batches, are applied and saved, each
 * batch with fdatasync. The changes are made before.
 *
 *   automerge.ts make <file> <count>      automerge.ts apply <file> <saved file>      each answers once
 */
import { deserialize, serialize } from "node:v8";
import { closeSync, fdatasyncSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { applyChanges, change, getAllChanges, init, saveIncremental, type Change } from "@automerge/automerge";
import { serveParent } from "../child.ts";
import { usage } from "../usage.ts";

const BATCH_CHANGES = 64;
const TEXT = "a note of about a hundred bytes, as people and agents write them to each other all day long: ";

interface Notes {
  [key: string]: string;
}

const [what, file, other] = process.argv.slice(2) as [string, string, string];
await serveParent("ready", () => (what === "make" ? make(Number(other)) : apply()));
process.exit(0);

function make(count: number): null {
  let doc = init<Notes>();
  for (let i = 0; i < count; i++) doc = change(doc, (notes) => void (notes[`${i % 1000}`] = `${TEXT}${i}`));
  writeFileSync(file, serialize(getAllChanges(doc)));
  return null;
}

function apply() {
  const changes = deserialize(readFileSync(file)) as Change[];
  const fd = openSync(other, "w");
  const began = usage();
  let doc = init<Notes>();
  for (let at = 0; at < changes.length; at += BATCH_CHANGES) {
    [doc] = applyChanges(doc, changes.slice(at, at + BATCH_CHANGES));
    writeSync(fd, saveIncremental(doc));
    fdatasyncSync(fd);
  }
  const ended = usage();
  closeSync(fd);
  const bytes = changes.reduce((sum, one) => sum + one.length, 0);
  const [seconds, cpuSeconds] = [(ended.atMs - began.atMs) / 1000, (ended.cpuMs - began.cpuMs) / 1000];
  return { seconds, cpuSeconds, rssMb: process.resourceUsage().maxRSS / 1024, events: changes.length, bytes };
}
