/** kin's connection stack with go-libp2p, both ways: what another implementation of the protocol page will be built on. */
import { CID } from "multiformats/cid";
import * as json from "multiformats/codecs/json";
import { sha256 } from "multiformats/hashes/sha2";
import { multiaddr } from "@multiformats/multiaddr";
import { beforeAll, describe, expect, test, type TestContext } from "vitest";
import type { Encrypter } from "../../protocols/connection.ts";
import { BUILD_LIMIT_MS, buildGoPeer, startGoPeer } from "./go-peer.ts";
import { SIZES, startJsPeer } from "./js-peer.ts";

const NAMES = { tls: "/tls/1.0.0", noise: "/noise" } as const;
const WAYS = (["tcp", "ws"] as const).flatMap((transport) =>
  (["tls", "noise"] as const).map((encrypter): { transport: "tcp" | "ws"; encrypter: Encrypter } => ({
    transport,
    encrypter,
  })),
);

let missing: string | undefined;
beforeAll(async () => {
  missing = await buildGoPeer();
}, BUILD_LIMIT_MS);

function needsGo(context: TestContext): void {
  if (missing !== undefined) context.skip(missing);
}

describe("interop-go", () => {
  test.for(WAYS)(
    "kin echoes 0 B to 64 KiB through go over $transport with $encrypter",
    async ({ transport, encrypter }, context) => {
      needsGo(context);
      await using go = await startGoPeer();
      await using js = await startJsPeer({ encrypters: [encrypter] });
      const used = await js.echo(go.address(transport));
      expect(used.encryption).toBe(encrypter === "tls" ? "/tls/1.0.0" : "/noise");
      expect(used.multiplexer).toBe("/yamux/1.0.0");
    },
  );

  test.for(WAYS)(
    "go echoes 0 B to 64 KiB through kin over $transport with $encrypter",
    async ({ transport, encrypter }, context) => {
      needsGo(context);
      await using js = await startJsPeer();
      await using go = await startGoPeer({ security: encrypter });
      const used = await go.do({ do: "echo", addr: js.address(transport), sizes: SIZES });
      expect(used).toMatchObject({ security: NAMES[encrypter], muxer: "/yamux/1.0.0" });
    },
  );

  test("the dialler's order decides: TLS both ways by default", async (context) => {
    needsGo(context);
    await using js = await startJsPeer();
    await using go = await startGoPeer();
    expect((await go.do({ do: "echo", addr: js.address("tcp"), sizes: [1] })).security).toBe(NAMES.tls);
    await using other = await startGoPeer();
    expect((await js.echo(other.address("tcp"))).encryption).toBe(NAMES.tls);
  });

  test("a peer that offers no common encrypter is not connected", async (context) => {
    needsGo(context);
    await using go = await startGoPeer({ security: "noise" });
    await using js = await startJsPeer({ encrypters: ["tls"] });
    await expect(js.echo(go.address("tcp"))).rejects.toThrow();
    await expect(go.do({ do: "ping", addr: js.address("tcp") })).rejects.toThrow(/go peer: /);
  });

  test("both ping each other", async (context) => {
    needsGo(context);
    await using go = await startGoPeer();
    await using js = await startJsPeer();
    expect(await js.node.services.ping.ping(multiaddr(go.address("tcp")))).toBeGreaterThanOrEqual(0);
    await go.do({ do: "ping", addr: js.address("ws") });
  });

  test("one DHT under /kin/<mesh>: each finds what the other provides", async (context) => {
    needsGo(context);
    const prefix = "/kin/interoptag";
    await using go = await startGoPeer({ dht: prefix });
    await using js = await startJsPeer({ dht: prefix });
    await go.do({ do: "connect", addr: js.address("tcp") });
    const [ofJs, ofGo] = await Promise.all([cidOf("agent:reviewer"), cidOf("agent:guide")]);

    await drain(js.node.services.dht!.provide(ofJs));
    expect((await go.do({ do: "find", cid: ofJs.toString() })).peers).toEqual([js.node.peerId.toString()]);

    await go.do({ do: "provide", cid: ofGo.toString() });
    const providers: string[] = [];
    for await (const event of js.node.services.dht!.findProviders(ofGo))
      if (event.name === "PROVIDER") providers.push(...event.providers.map(({ id }) => id.toString()));
    expect(providers).toContain(go.id);
  });

  test("another mesh's DHT is not this one's", async (context) => {
    needsGo(context);
    await using go = await startGoPeer({ dht: "/kin/one" });
    await using js = await startJsPeer({ dht: "/kin/other" });
    const connection = await js.node.dial(multiaddr(go.address("tcp")));
    await expect(connection.newStream("/kin/other/kad/1.0.0")).rejects.toThrow(/protocol/i);
    (await connection.newStream("/kin/one/kad/1.0.0")).abort(new Error("seen"));
  });
});

async function cidOf(text: string): Promise<CID> {
  return CID.createV1(json.code, await sha256.digest(json.encode(text)));
}

async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}
