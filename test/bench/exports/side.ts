/**
 * One process that makes an export or checks one.
 *
 *   side.ts export <folder> <log.db> <file>  ·  side.ts verify <folder> <log.db> <file>        answers { seconds, rssMb, events, bytes }
 */
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { once } from "node:events";
import { systemRandom, systemTime } from "../../../node/system.ts";
import { writeExport } from "../../../sync/export.ts";
import { verifyExport } from "../../../sync/verify-export.ts";
import { keysOf } from "../../sync/mesh.ts";
import { serveParent } from "../child.ts";
import { openSide, readPrepared } from "../resync/prepare.ts";

const [role, folder, log, file] = process.argv.slice(2) as [string, string, string, string];
const READ_BYTES = 1024 * 1024;

await serveParent("ready", role === "export" ? make : check);
process.exit(0);

function peakRssMb(): number {
  return process.resourceUsage().maxRSS / 1024;
}

async function make() {
  const replica = await openSide(folder, "ana", log);
  const { device, sealing } = keysOf("ana");
  const out = createWriteStream(file);
  const began = performance.now();
  const { events } = await writeExport(
    {
      replica,
      deviceKey: device,
      sealingKeys: () => [sealing],
      time: systemTime,
      random: systemRandom,
      write: async (bytes) => void (out.write(bytes) || (await once(out, "drain"))),
      signal: new AbortController().signal,
    },
    { all: true, devices: [], events: [], calls: [], here: false, open: false },
  );
  out.end();
  await once(out, "close");
  return { seconds: (performance.now() - began) / 1000, rssMb: peakRssMb(), events, bytes: statSync(file).size };
}

async function check() {
  const { mesh } = readPrepared(folder);
  const began = performance.now();
  const chunks = createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Uint8Array>;
  const verdict = await verifyExport(chunks, mesh);
  if (!verdict.ok) throw new Error(verdict.problem.message);
  const { events } = verdict.report;
  return { seconds: (performance.now() - began) / 1000, rssMb: peakRssMb(), events, bytes: statSync(file).size };
}
