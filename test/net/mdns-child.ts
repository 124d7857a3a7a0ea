/**
 * A member that knows nobody's address and looks around by mDNS only: `node mdns-child.ts <me> <other>`. Prints one JSON line
 * when it is ready and one when it has found the other, connected and heard its echo; then runs until stdin ends.
 */
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { echo, firstFrame, meshOf, someone, soon, testNode } from "./fixture.ts";

const [me = "ana", other = "ben"] = process.argv.slice(2);
const people = [someone("ana"), someone("ben")];
const peer = someone(other);
const node = testNode(someone(me), {
  listen: { host: "0.0.0.0", port: 0, transports: ["tcp"] },
  discovery: { dht: false, mdns: true },
  autoConnect: true,
});
node.net.handleForMembers("/kin/echo/1", echo);
node.net.on((event) => {
  if (event.type === "peer-connected") void speak();
});
await node.net.setMembership(meshOf(people));
say({ ready: node.net.addresses(), ticket: node.net.ticketAddresses() });
process.stdin.resume().once("end", () => {
  void node.net.stop().then(() => process.exit(0));
});

async function speak(): Promise<void> {
  const wire = await node.net.open(peer.device, "/kin/echo/1", soon());
  await wire.send(utf8Bytes(`hello from ${me}`));
  const heard = utf8Text(await firstFrame(wire));
  const [state] = node.net.peers();
  say({ heard, path: state?.path, foundBy: node.net.foundBy(peer.device) ?? null });
}

function say(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
