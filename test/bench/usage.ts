/** What this process uses now; the parent takes the difference of two. */
export interface Usage {
  rssBytes: number;
  cpuMs: number;
  atMs: number;
}

export function usage(): Usage {
  const { user, system } = process.cpuUsage();
  return { rssBytes: process.memoryUsage.rss(), cpuMs: (user + system) / 1000, atMs: performance.now() };
}
