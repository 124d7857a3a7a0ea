import fc from "fast-check";
import { expect, test } from "vitest";
import { sha256 } from "#crypto";
import { encode } from "../../protocols/bytes.ts";
import { formatText, idOf } from "../../protocols/ids.ts";
import { makeTicket, parseTicket, ticketKey, type Ticket } from "../../protocols/ticket.ts";

const id = (fill: number) => new Uint8Array(32).fill(fill);
const NOW = 1_800_000_000_000;

const ticket: Ticket = {
  mesh: idOf(id(1)),
  meshName: "team",
  inviter: idOf(id(2)),
  inviterName: "ben",
  role: "member",
  expiresAt: NOW + 3_600_000,
  uses: 1,
  guestName: "ana",
  invite: idOf(id(3)),
  seed: new Uint8Array(16).fill(4),
  addresses: ["/ip4/192.168.1.20/tcp/41001", "/ip6/2001:db8::7/tcp/41001", "/ip4/10.0.0.3/tcp/41002/ws"],
  relays: [],
};

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/);
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const tickets: fc.Arbitrary<Ticket> = fc.record({
  mesh: bytes(32).map((value) => idOf(value)),
  meshName: name,
  inviter: bytes(32).map((value) => idOf(value)),
  inviterName: name,
  role: fc.constantFrom("admin" as const, "member" as const),
  expiresAt: fc.integer({ min: NOW / 1000, max: 2 * (NOW / 1000) }).map((seconds) => seconds * 1000),
  uses: fc.integer({ min: 1, max: 50 }),
  guestName: fc.option(name),
  invite: bytes(32).map((value) => idOf(value)),
  seed: bytes(16),
  addresses: fc.array(
    fc.oneof(
      fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 65_535 })).map(([ip, port]) => `/ip4/${ip}/tcp/${port}`),
      fc.constantFrom(
        "/ip4/010.0.0.1/tcp/1",
        "/ip4/1.2.3.4/tcp/99999",
        "/dns4/a.example/tcp/443/wss",
        "/ip6/::1/tcp/1",
      ),
    ),
    { maxLength: 3 },
  ),
  relays: fc.array(fc.constantFrom("/ip4/1.2.3.4/tcp/4001/p2p/12D3KooW"), { maxLength: 2 }),
});

test("F2: a ticket reads back as it was made, in lower and upper case, with line breaks", () => {
  fc.assert(
    fc.property(tickets, (made) => {
      const text = makeTicket(made);
      expect(text).toMatch(/^kint1[a-z2-7]+$/);
      for (const pasted of [text, text.toUpperCase(), ` ${text.slice(0, 40)}\n${text.slice(40)}\n`])
        expect(parseTicket(pasted, { now: NOW - 1 })).toEqual({ ok: true, ticket: made });
    }),
  );
});

test("a ticket with two addresses fits into a small QR code", () => {
  const text = makeTicket({ ...ticket, addresses: ["/ip4/192.168.1.20/tcp/41001", "/ip4/10.0.0.3/tcp/41001"] });
  // QR version 10, level L holds 395 upper-case characters.
  expect(text.length).toBeLessThan(300);
});

test("F2: any changed character or missing piece is damage, never another ticket", () => {
  const text = makeTicket(ticket);
  fc.assert(
    fc.property(
      fc.integer({ min: 5, max: text.length - 1 }),
      fc.constantFrom("a", "b", "m", "y", "z", "2", "7"),
      (at, char) => {
        fc.pre(text[at] !== char);
        const parsed = parseTicket(text.slice(0, at) + char + text.slice(at + 1), { now: NOW });
        expect(parsed).toMatchObject({ ok: false, why: "damaged", code: "TICKET_DAMAGED" });
      },
    ),
  );
  for (const cut of [text.slice(0, -1), text.slice(0, 60), "kint1", `${text}a`])
    expect(parseTicket(cut, { now: NOW })).toMatchObject({ ok: false, why: "damaged" });
});

test.each([
  ["hello", "not-a-ticket", "NOT_A_TICKET", "starts with kint1"],
  ["", "not-a-ticket", "NOT_A_TICKET", "not a ticket"],
  [formatText("kinp", id(1)), "wrong-kind", "WRONG_KIND_OF_TEXT", "a person id"],
  [formatText("kinc", id(1)), "wrong-kind", "WRONG_KIND_OF_TEXT", "a capability"],
  ["kint2abcd", "version", "UNSUPPORTED_VERSION", "version 2"],
  [formatText("kint", encode([1, 2])), "damaged", "TICKET_DAMAGED", "12 fields"],
])("%s is said to be what it is", (text, why, code, words) => {
  const parsed = parseTicket(text, { now: NOW });
  expect(parsed).toMatchObject({ ok: false, why, code });
  if (!parsed.ok) expect(parsed.message).toContain(words);
});

test("R10: an expired ticket is said to be, with both clocks, and can still be used [bad-tickets]", () => {
  const text = makeTicket(ticket);
  expect(parseTicket(text, { now: ticket.expiresAt - 1 }).ok).toBe(true);
  const parsed = parseTicket(text, { now: ticket.expiresAt + 5 * 60_000 });
  expect(parsed).toMatchObject({ ok: false, why: "expired", code: "TICKET_EXPIRED", ticket });
  if (parsed.ok) return;
  expect(parsed.message).toContain("2027-01-15 09:00 UTC by ben's clock");
  expect(parsed.message).toContain("2027-01-15 09:05 UTC, 5 min later");
});

test("my own ticket is said to be mine [bad-tickets]", () => {
  expect(parseTicket(makeTicket(ticket), { now: NOW, mine: ticket.inviter })).toMatchObject({
    why: "mine",
    code: "TICKET_MINE",
  });
});

test.each([
  [{ uses: 0 }, "1 to 50 uses"],
  [{ uses: 51 }, "1 to 50 uses"],
  [{ meshName: "Team" }, "no name"],
  [{ seed: new Uint8Array(15) }, "16 bytes"],
  [{ addresses: ["a", "b", "c", "d"] }, "at most 3"],
  [{ addresses: ["10.0.0.1:5"] }, "multiaddr"],
  [{ addresses: [`/dns4/${"a".repeat(300)}`] }, "multiaddr"],
])("a ticket with %o is not made", (change, words) => {
  expect(() => makeTicket({ ...ticket, ...change })).toThrow(words);
});

test("R10: the ticket's key depends on seed and mesh", () => {
  const keys = [
    ticketKey(ticket.seed, ticket.mesh),
    ticketKey(ticket.seed, ticket.inviter as string as Ticket["mesh"]),
    ticketKey(sha256(ticket.seed).slice(0, 16), ticket.mesh),
  ];
  expect(new Set(keys.map((key) => key.publicKey.join())).size).toBe(3);
});
