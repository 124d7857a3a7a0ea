/** The noise and yamux packages that the product uses, with the packages that succeed them: every pairing, both ways. */
import { expect, test } from "vitest";
import { startJsPeer } from "./js-peer.ts";

const PAIRINGS = [true, false].flatMap((noise) => [true, false].map((yamux) => ({ noise, yamux })));

test.each(PAIRINGS)(
  "interop-successors: kin's noise and yamux with successors (noise: $noise, yamux: $yamux), both ways",
  async (successor) => {
    const used = { encryption: "/noise", multiplexer: "/yamux/1.0.0" };
    for (const [dialler, listener] of [
      [undefined, successor],
      [successor, undefined],
    ]) {
      await using from = await startJsPeer({ encrypters: ["noise"], successor: dialler });
      await using to = await startJsPeer({ encrypters: ["noise"], successor: listener });
      expect(await from.echo(to.address("tcp"))).toEqual(used);
      expect(await from.node.services.ping.ping(to.node.peerId)).toBeGreaterThanOrEqual(0);
    }
  },
);
