/** `time`: what this machine's clock says. For all members: it shows a clock that is off. */
import type { Time } from "../../../protocols/effects.ts";
import type { Tool } from "../registry.ts";
import { textResult } from "../output.ts";

export function timeTool(time: Time): Tool {
  return {
    name: "time",
    description: "The time on this machine.",
    readOnly: true,
    for: "members",
    onShare: false,
    inputSchema: { type: "object", properties: {}, additionalProperties: false },
    run() {
      const now = time.now();
      const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
      return Promise.resolve(textResult(`${new Date(now).toISOString()} (${zone})`, { unixMs: now, zone }));
    },
  };
}
