import { join } from "node:path";
import { expect, test } from "vitest";
import { makeTicket, parseTicket, type Ticket } from "../../protocols/ticket.ts";
import { cable, reasonToSkip, type Cable } from "./namespaces.ts";
import { makeRepository, openWorld, until, type Person, type World } from "./people.ts";

const skipped = reasonToSkip();
if (skipped !== null && process.env["KIN_REQUIRE_ALL"] === "1") throw new Error(skipped);
const ON_LAN = { listen: { hosts: ["0.0.0.0"] }, discovery: { mdns: true } };

/** A person whose machine is one of the two. */
async function on(world: World, cabled: Cable, machine: 0 | 1, name: string): Promise<Person> {
  return world.person(name, ON_LAN, { through: cabled.enter(machine) });
}

function rewritten(ticket: string, addresses: string[]): string {
  const parsed = parseTicket(ticket, { now: Date.now() });
  if (!parsed.ok) throw new Error(parsed.message);
  return makeTicket({ ...parsed.ticket, addresses } satisfies Ticket);
}

test.skipIf(skipped !== null)(
  `[lan-without-internet] two machines on one cable without any route out: join by a ticket whose addresses lead nowhere, ask, and find each other again at another address${skipped === null ? "" : ` (skipped: ${skipped})`}`,
  async () => {
    using cabled = cable(["10.78.0.1/24", "10.78.0.2/24"]);
    expect(cabled.routes(0)).toMatch(/^10\.78\.0\.0\/24 [^\n]*$/);
    await using world = await openWorld();
    const folder = await makeRepository(join(world.folder, "app"));
    const ben = await on(world, cabled, 0, "ben");
    const ana = await on(world, cabled, 1, "ana");
    const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "ana", "--share", folder]);

    // Nobody there: what mDNS saw is said. The address is one that no machine has.
    await ben.kin(["down"]);
    const nobody = await ana.kin(["join", rewritten(ticket, [])]);
    expect(nobody.code).toBe(1);
    expect(nobody.err).toContain("mDNS saw nobody of this mesh on the local network");

    await ben.kin(["up"]);
    const joined = await ana.kin(["join", rewritten(ticket, ["/ip4/10.78.0.77/tcp/4001"])]);
    expect(joined, joined.err).toMatchObject({ code: 0 });
    const asked = await ana.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
    expect(asked, asked.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
    const { items } = await ana.json<{ items: { path: string; online: boolean }[] }>(["peers"]);
    expect(items).toMatchObject([{ online: true, path: "lan" }]);

    // Ben's machine gets another address while Ana is away: only mDNS knows it.
    await ana.kin(["down"]);
    await ben.kin(["down"]);
    cabled.move(0, "10.78.0.9/24");
    await ben.kin(["up"]);
    await ana.kin(["up"]);
    await until(async () => (await ana.json<{ items: { online: boolean }[] }>(["peers"])).items[0]!.online);
    const again = await ana.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
    expect(again, again.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
  },
  120_000,
);
