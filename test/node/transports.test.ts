import { join } from "node:path";
import { expect, test } from "vitest";
import { makeRepository, openWorld, twoPeople } from "./people.ts";

interface PeerLine {
  online: boolean;
  transport: string | null;
  encrypter: string | null;
}

const WAYS: [transport: string, encrypters: string[], transportShown: string, encrypterShown: string][] = [
  ["tcp", ["tls", "noise"], "tcp", "/tls/1.0.0"],
  ["tcp", ["noise"], "tcp", "/noise"],
  ["websocket", ["tls", "noise"], "ws", "/tls/1.0.0"],
  ["webrtc-direct", ["tls", "noise"], "webrtc-direct", "native"],
];

test.each(WAYS)(
  "[transport-invocation] an invocation goes over %s with %s",
  async (transport, encrypters, transportShown, encrypterShown) => {
    await using world = await openWorld();
    const folder = await makeRepository(join(world.folder, "app"));
    const { ben, ana } = await twoPeople(world, folder, { transports: [transport], encrypters });
    const asked = await ana.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
    expect(asked, asked.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
    for (const person of [ana, ben]) {
      const { items } = await person.json<{ items: PeerLine[] }>(["peers"]);
      expect(items).toMatchObject([{ online: true, transport: transportShown, encrypter: encrypterShown }]);
    }
  },
  60_000,
);
