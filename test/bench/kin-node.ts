/** A kin node for the benches, made of the real parts in a folder of its own: 127.0.0.1 only, mDNS off, everything else as shipped. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../node/config.ts";
import type { MeshNode } from "../../node/gateway/mesh.ts";
import { prepareHome, resolveHome, type Home } from "../../node/home.ts";
import { openKeystore } from "../../node/keystore.ts";
import { createLifecycle } from "../../node/lifecycle.ts";
import { lockFolder } from "../../node/lock.ts";
import { createMeshNode, type Overrides } from "../../node/mesh-node.ts";
import { systemTime } from "../../node/system.ts";
import { createTelemetry } from "../../node/telemetry.ts";

/** Of the homes with sealed keys. */
export const PASSPHRASE = "only for the bench";

export interface BenchNode {
  node: MeshNode;
  stop(): Promise<void>;
}

/** An empty home with settings; `removeHome` deletes it. */
export function makeHome(name: string): Home {
  const folder = mkdtempSync(join(tmpdir(), `kin-bench-${name}-`));
  const home = resolveHome({ KIN_HOME: folder });
  mkdirSync(home.runFolder, { recursive: true });
  const settings = { name, device: "bench", listen: { hosts: ["127.0.0.1"] }, discovery: { mdns: false } };
  writeFileSync(home.configFile, JSON.stringify(settings), { mode: 0o600 });
  return home;
}

export function removeHome(home: Home): void {
  rmSync(home.dataFolder, { recursive: true, force: true });
}

/** What `kin node` does, without the control socket. */
export async function startNode(home: Home, passphrase?: string, overrides: Overrides = {}): Promise<BenchNode> {
  prepareHome(home);
  const lifecycle = createLifecycle();
  const lock = lockFolder(home.dataFolder);
  lifecycle.onStop("lock", () => lock.release());
  const keystore = openKeystore(home.keysFolder, { passphrase, now: systemTime.now() });
  const telemetry = createTelemetry(home.logFile, systemTime);
  const parts = { home, config: loadConfig(home.configFile), keystore, telemetry, lifecycle };
  const node = await createMeshNode(parts, overrides);
  return {
    node,
    async stop() {
      await lifecycle.stop();
    },
  };
}
