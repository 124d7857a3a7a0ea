import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    reporters: [process.env["CI"] === undefined ? "default" : ["default", { summary: false }], "./test/reporter.ts"],
    // A temporary folder for the run and one for each file; what is left in them, or of processes, is ended and told.
    globalSetup: "test/setup/run.ts",
    setupFiles: "test/setup/file.ts",
    // Real nodes, key derivation and child processes on a busy two-core machine: bounds against hanging, never a claim of speed.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Real sockets and processes on a shared machine. What passes only at the second try is named at the end (test/reporter.ts).
    retry: process.env["CI"] === undefined ? 0 : 1,
    pool: "forks",
    maxWorkers: 2,
  },
});
