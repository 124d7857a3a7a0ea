/** Machines of one cable: network namespaces with real `kin` processes in them. Needs root and iproute2. */
import { execFileSync } from "node:child_process";

/** Why it cannot run here, or null. */
export function reasonToSkip(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "making network namespaces needs root";
  try {
    const probe = `kin-try-${process.pid}`;
    execFileSync("ip", ["netns", "add", probe], { stdio: "ignore" });
    execFileSync("ip", ["netns", "del", probe], { stdio: "ignore" });
    return null;
  } catch {
    return "`ip netns` does not work here (iproute2 missing, or a container without CAP_SYS_ADMIN)";
  }
}

export interface Cable extends Disposable {
  /** What runs a command on the machine: `[...enter, "node", …]`. */
  enter(machine: 0 | 1): string[];
  /** Gives the machine another address. */
  move(machine: 0 | 1, address: string): void;
  /** Its routing table, as `ip route` shows it. */
  routes(machine: 0 | 1): string;
}

/** Two machines on one cable with these addresses (`10.77.1.1/24`): no gateway, no default route, no route for 224/4. */
export function cable(addresses: readonly [string, string]): Cable {
  const tag = String(process.pid % 100_000);
  const spaces = [`kin-p-${tag}`, `kin-q-${tag}`] as const;
  const links = [`kp${tag}`, `kq${tag}`] as const;
  const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
  for (const space of spaces) ip("netns", "add", space);
  ip("link", "add", links[0], "netns", spaces[0], "type", "veth", "peer", "name", links[1], "netns", spaces[1]);
  const move = (machine: 0 | 1, address: string): void => {
    ip("-n", spaces[machine], "addr", "flush", "dev", links[machine], "scope", "global");
    ip("-n", spaces[machine], "addr", "add", address, "dev", links[machine]);
  };
  for (const machine of [0, 1] as const) {
    ip("-n", spaces[machine], "link", "set", "lo", "up");
    ip("-n", spaces[machine], "link", "set", links[machine], "up");
    move(machine, addresses[machine]);
  }
  return {
    enter: (machine) => ["ip", "netns", "exec", spaces[machine]],
    move,
    routes: (machine) => ip("-n", spaces[machine], "route").trim(),
    [Symbol.dispose]() {
      for (const space of spaces) ip("netns", "del", space);
    },
  };
}
