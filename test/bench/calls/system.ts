/**
 * What is measured: a system with a callee that echoes text and a caller that is connected to it. Each runs in a process of its
 * own; `address` is what the callee tells the caller (an address, a ticket).
 */
export interface System {
  startCallee(): Promise<{ address: string; stop(): Promise<void> }>;
  startCaller(address: string): Promise<Caller>;
}

export interface Caller {
  /** What encrypts the bytes between the two. */
  encrypter: string;
  /** Resolves with the same text, sent back by the callee. */
  call(payload: string): Promise<string>;
  stop(): Promise<void>;
}

/** Row name → where its `System` is exported. Loaded only in the processes that run it. */
export const SYSTEMS: { [name: string]: () => Promise<System> } = {
  "raw-tcp": async () => (await import("./raw-tcp.ts")).rawTcp,
  libp2p: async () => (await import("./libp2p.ts")).libp2pNoise,
  "libp2p-tls": async () => (await import("./libp2p.ts")).libp2pTls,
  kin: async () => (await import("./kin.ts")).kin,
  "kin-durable": async () => (await import("./kin.ts")).kinDurable,
  "a2a-http": async () => (await import("./a2a-http.ts")).a2aHttp,
  "mcp-http": async () => (await import("./mcp-http.ts")).mcpHttp,
};
