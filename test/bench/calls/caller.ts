/** Child process: `caller.ts <system> <address>` connects, then warms up or measures a round for each line that it is sent. */
import { serveParent } from "../child.ts";
import { measure, warmUp, type Round } from "../measure.ts";
import { SYSTEMS } from "./system.ts";

type Order = Round | { warmUpCalls: number; bytes: number };

const system = await SYSTEMS[process.argv[2]!]!();
const caller = await system.startCaller(process.argv[3]!);
await serveParent({ encrypter: caller.encrypter }, (order: Order) =>
  "warmUpCalls" in order ? warmUp(caller, order.bytes, order.warmUpCalls) : measure(caller, order),
);
await caller.stop();
