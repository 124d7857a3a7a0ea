/**
 * How Node is started for a mesh node. By itself V8 lets the young generation grow to 128 MB and the old one to a multiple of what
 * is alive: a sync of 100,000 events peaked at 661 MB with 60 alive. So it peaks at 305 MB, for 8 % more CPU (docs/benchmarks.md).
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=8", "--heap-growing-percent=50"];
