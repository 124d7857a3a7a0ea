/** Child process: `callee.ts <system>` starts the callee and tells its address. */
import { serveParent } from "../child.ts";
import { SYSTEMS } from "./system.ts";

const system = await SYSTEMS[process.argv[2]!]!();
const callee = await system.startCallee();
await serveParent({ address: callee.address }, () => null);
await callee.stop();
