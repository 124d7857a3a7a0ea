/** Child process: `callee.ts <system>` starts the callee and tells its address, then what it uses. */
import { serveParent } from "../child.ts";
import { usage } from "../usage.ts";
import { SYSTEMS } from "./system.ts";

const system = await SYSTEMS[process.argv[2]!]!();
const callee = await system.startCallee();
await serveParent({ address: callee.address }, usage);
await callee.stop();
