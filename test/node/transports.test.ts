import { join } from "node:path";
import { expect, test } from "vitest";
import { makeRepository, openWorld, twoPeople } from "./people.ts";

test.each([
  ["tcp", /\/tcp\/\d+(\/p2p\/\w+)?$/],
  ["websocket", /\/ws(\/p2p\/\w+)?$/],
  ["webrtc-direct", /\/webrtc-direct\//],
] as const)(
  "[transports] an invocation goes over %s alone",
  async (transport, pattern) => {
    await using world = await openWorld();
    const folder = await makeRepository(join(world.folder, "app"));
    const { ben, ana } = await twoPeople(world, folder, { transports: [transport] });
    const asked = await ana.kin(["ask", "ben/reviewer", "what changed in the last commit?", "--now"]);
    expect(asked, asked.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
    // Ben listens on nothing else, so there was no other way.
    const { listening } = await ben.json<{ listening: string[] }>(["status"]);
    expect(listening.length).toBeGreaterThan(0);
    for (const address of listening) expect(address).toMatch(pattern);
  },
  120_000,
);
