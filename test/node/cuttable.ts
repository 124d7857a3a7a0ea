/** Links between nodes of this machine that a test can cut: a proxy for each ordered pair, and `redirect.c` in each node. */
import { execFileSync } from "node:child_process";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";

/** Why there are none here, or null. */
export const noCuttableLinks: string | null = whyNot();
if (noCuttableLinks !== null && process.env["KIN_REQUIRE_ALL"] === "1") throw new Error(noCuttableLinks);

function whyNot(): string | null {
  if (process.platform !== "linux") return "LD_PRELOAD on libc's connect is tried on Linux only";
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "there is no C compiler `cc` (Debian: gcc, libc6-dev)";
  }
}

export interface CuttableLinks extends AsyncDisposable {
  /** Environment of the node `i`: whom it dials at one of `ports`, it reaches through its proxy. */
  env(i: number): { [name: string]: string };
  /** Only nodes of one group reach each other from now on. */
  part(groups: readonly (readonly number[])[]): void;
  heal(): void;
}

/** @param ports where each node listens; @param folder for the library */
export async function cuttableLinks(ports: readonly number[], folder: string): Promise<CuttableLinks> {
  const library = join(folder, "redirect.so");
  const source = join(import.meta.dirname, "redirect.c");
  execFileSync("cc", ["-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], { stdio: "pipe" });
  const proxies = await Promise.all(
    ports.map((_, from) => Promise.all(ports.map((port, to) => proxy(from, to, port)))),
  );
  let isOpen: (a: number, b: number) => boolean = () => true;

  async function proxy(from: number, to: number, port: number) {
    const pairs = new Set<[Socket, Socket]>();
    const server: Server = createServer((near) => {
      if (!isOpen(from, to)) return void near.destroy();
      const far = connect(port, "127.0.0.1");
      const pair: [Socket, Socket] = [near, far];
      pairs.add(pair);
      const end = (): void => {
        pairs.delete(pair);
        for (const socket of pair) socket.destroy();
      };
      for (const socket of pair) socket.on("error", end).on("close", end);
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return { from, to, port, server, pairs, at: (server.address() as AddressInfo).port };
  }

  function cut(): void {
    for (const { from, to, pairs } of proxies.flat())
      if (!isOpen(from, to)) for (const pair of pairs) for (const socket of pair) socket.destroy();
  }

  return {
    env: (i) => ({
      LD_PRELOAD: library,
      KIN_REDIRECT: proxies[i]!.map(({ port, at }) => `${port}=${at}`).join(","),
    }),
    part(groups) {
      isOpen = (a, b) => groups.some((group) => group.includes(a) && group.includes(b));
      cut();
    },
    heal: () => void (isOpen = () => true),
    async [Symbol.asyncDispose]() {
      isOpen = () => false;
      cut();
      for (const { server } of proxies.flat()) server.close();
    },
  };
}
