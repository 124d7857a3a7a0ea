/**
 * Child process: a kin node with a mesh of its own, listening; `sealed`: its keys lie under a passphrase. Making identity and
 * mesh is not part of a start, so the parent prepares the home with `prepare.ts` and gives its folder.
 */
import { resolveHome } from "../../../node/home.ts";
import { serveParent } from "../child.ts";
import { PASSPHRASE, startNode } from "../kin-node.ts";
import { usage } from "../usage.ts";

const [folder, sealed] = process.argv.slice(2);
const { node, stop } = await startNode(resolveHome({ KIN_HOME: folder }), sealed === "sealed" ? PASSPHRASE : undefined);
await serveParent({ addresses: node.network.addresses() }, usage);
await stop();
// node-datachannel keeps threads alive.
process.exit();
