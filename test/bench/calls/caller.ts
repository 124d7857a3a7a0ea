/** Child process: `caller.ts <system> <address>` connects, then measures a round for each line that it is sent. */
import { serveParent } from "../child.ts";
import { measure, type Round } from "../measure.ts";
import { SYSTEMS } from "./system.ts";

const system = await SYSTEMS[process.argv[2]!]!();
const caller = await system.startCaller(process.argv[3]!);
await serveParent({ encrypter: caller.encrypter }, (round: Round) => measure(caller, round));
await caller.stop();
