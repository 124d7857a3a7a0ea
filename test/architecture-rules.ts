/**
 * The house (docs/architecture.md §3) as data: who may import whom, which packages live where, what must stay pure, which
 * file names say nothing. `test/architecture.test.ts` reads every source file itself and holds it against this page.
 */

/** Top-level folders and the other top-level folders that their files may import. */
export const FOLDERS: { [folder: string]: readonly string[] } = {
  protocols: [],
  sync: ["protocols"],
  relay: ["protocols"],
  node: ["protocols", "sync"],
  web: ["protocols", "sync"],
  simulations: ["protocols", "sync", "relay", "node"],
  test: ["protocols", "sync", "relay", "node", "web", "simulations"],
};

/** Imports of a folder that only some of its files may have. */
export const EXTRA_IMPORTS: readonly { from: RegExp; to: RegExp; reason: string }[] = [
  { from: /^node\/cli\//, to: /^relay\//, reason: "the CLI starts a relay; nothing else in node knows it" },
];

/**
 * Inside `node/` a file imports lower ranks, or its own part of the same rank. `member` is a folder (`guard/`) or a file of
 * `node/` itself; parts of one rank never import each other.
 */
export const NODE_PARTS: readonly { part: string; rank: number; members: readonly string[] }[] = [
  {
    part: "base",
    rank: 0,
    members: [
      "config.ts",
      "database.ts",
      "keystore.ts",
      "bus.ts",
      "lifecycle.ts",
      "telemetry.ts",
      "blobs.ts",
      "log-repair.ts",
      "home.ts",
      "lock.ts",
      "atomic-file.ts",
      "alive.ts",
      "did-you-mean.ts",
      "node-flags.ts",
      "system.ts",
      "migrations/",
    ],
  },
  { part: "guard", rank: 1, members: ["guard/"] },
  { part: "models", rank: 1, members: ["models/"] },
  { part: "memory", rank: 1, members: ["memory/"] },
  { part: "tools", rank: 2, members: ["tools/"] },
  { part: "agents", rank: 3, members: ["agents/"] },
  { part: "net", rank: 3, members: ["net/"] },
  { part: "gateway", rank: 4, members: ["gateway/"] },
  { part: "mesh-node", rank: 5, members: ["mesh-node.ts", "mesh-parts.ts"] },
  { part: "cli", rank: 6, members: ["cli/", "main.ts"] },
];

/** A dynamic import names its file in a literal, so that this table can see it; except here. */
export const COMPUTED_IMPORTS: readonly { file: RegExp; reason: string }[] = [
  { file: /^node\/cli\/bin\.js$/, reason: "hands over to main.ts beside it, by URL, on any Node" },
  { file: /^test\//, reason: "tests import what they make" },
];

/** Files of `sync/` that touch disk or threads; no other file of sync and nothing of web imports them. */
export const IMPURE_SYNC = /^sync\/(stores\/(libsql|log-file)|documents\/worker)/;

/** No disk, clock, randomness, network or process here: these are passed in (protocols/effects.ts). */
export const PURE = /^(protocols|sync)\//;
/** …except by name. */
export const PURE_EXCEPTIONS: readonly { file: RegExp; reason: string }[] = [
  {
    file: /^protocols\/crypto\/(node|prime-order)\.ts$/,
    reason: "stands behind #crypto on Node; keys and signatures are pure functions there",
  },
  { file: IMPURE_SYNC, reason: "the store on disk and the document worker" },
];
export const IMPURE_GLOBALS: readonly string[] = [
  "Date.now",
  "new Date",
  "Math.random",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "fetch",
  "process",
  "console",
  "crypto",
  "globalThis",
  "require",
];

/** Package imports that only some places may have. The first entry that matches a specifier decides. */
export const PACKAGES: readonly { package: RegExp; where: RegExp; reason: string }[] = [
  {
    package: /^(libp2p$|@libp2p\/|@chainsafe\/libp2p-|@multiformats\/multiaddr|multicast-dns$)/,
    where: /^(protocols\/connection\.ts$|node\/net\/|relay\/|web\/|test\/)/,
    reason: "libp2p is known to protocols/connection.ts, node/net, relay and web only",
  },
  {
    package: /^(@libsql\/client|libsql)($|\/)/,
    where: /^(sync\/stores\/(libsql|log-file)|node\/(database|lock)\.ts$|node\/migrations\/|test\/)/,
    reason: "one file family opens databases",
  },
  {
    package: /^(yjs|lib0|@automerge\/automerge)($|\/)/,
    where: /^(sync\/documents\/(yjs|automerge)\.ts$|test\/)/,
    reason: "a library of shared documents is known to the file that checks what comes near it",
  },
  {
    package: /^@modelcontextprotocol\//,
    where: /^(node\/tools\/|node\/gateway\/|test\/)/,
    reason: "MCP is spoken at the edges",
  },
  {
    package: /^(commander|cli-table3|uqr)$/,
    where: /^(node\/cli\/|node\/main\.ts$|test\/)/,
    reason: "what a terminal sees is made in node/cli",
  },
  { package: /^(vitest|fast-check)($|\/)/, where: /^(test\/|vitest\.config\.ts$)/, reason: "test tools stay in test/" },
];

/** Names that let a file mean everything. Checked for each file and folder name without its extension. */
export const EMPTY_NAMES = /^(index|types|.*(^|-)(managers?|services?|helpers?|common|core|utils?|misc)(-.*)?)$/;

/** Sources outside the folders above. */
export const ROOT_FILES: readonly string[] = ["vitest.config.ts"];
