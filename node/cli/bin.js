#!/usr/bin/env node
/**
 * The command that npm installs. Plain JavaScript for Node 18 and newer: kin itself needs Node 24, which npm brings along
 * as a package, so an older one only hands over to it.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import module, { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const NEEDED_MAJOR = 24;
const here = dirname(fileURLToPath(import.meta.url));
const main = join(here, "..", "main.ts");

if (!isInstalled()) {
  process.stderr.write(`kin: its packages are not installed: run npm ci first, in ${join(here, "..", "..")}\n`);
  process.exitCode = 1;
} else if (Number(process.versions.node.split(".")[0]) >= NEEDED_MAJOR) {
  process.argv[1] = main;
  module.enableCompileCache(join(here, "..", "..", "node_modules", ".cache", "kin")); // as main.ts, one file earlier
  await import(pathToFileURL(main).href);
} else {
  handOver();
}

function isInstalled() {
  try {
    createRequire(import.meta.url).resolve("commander");
    return true;
  } catch {
    return false;
  }
}

/** Same arguments, same terminal, same end. */
function handOver() {
  const node = bundledNode();
  if (node === null) {
    const found = process.versions.node;
    process.stderr.write(
      `kin: this is Node ${found} and kin needs ${NEEDED_MAJOR}: run npm ci, which brings it along\n`,
    );
    process.exitCode = 1;
    return;
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  // Ctrl-C reaches the child by the terminal; this process only has to outlive it. The others are passed on.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP", "SIGQUIT"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`kin: cannot start ${node}: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exitCode = code ?? 1;
    else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  });
}

/** From npm's package `node`, beside kin or above it. */
function bundledNode() {
  for (let folder = here; ; folder = dirname(folder)) {
    for (const path of [join("node", "bin", "node"), join(".bin", "node")]) {
      const node = join(folder, "node_modules", path);
      if (existsSync(node)) return node;
    }
    if (dirname(folder) === folder) return null;
  }
}
