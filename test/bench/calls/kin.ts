/**
 * kin itself: two people with nodes and homes of their own, joined by a ticket; a tool that echoes is called through the whole
 * path: signed envelopes, roster, rights, audit, log on libSQL. `kin-durable`: the tool says that it has side effects, so each
 * call is on the disk before it is accepted.
 */
import type { CallRequest } from "../../../protocols/invoke.ts";
import { DEFAULT_CALL_DEPTH, DEFAULT_DEADLINE_MS } from "../../../protocols/limits.ts";
import { parseTicket } from "../../../protocols/ticket.ts";
import { needMesh } from "../../../node/gateway/mesh.ts";
import { createVerbs } from "../../../node/gateway/verbs/verbs.ts";
import { makeHome, removeHome, startNode } from "../kin-node.ts";
import { ECHO, echoTool } from "./echo-tool.ts";
import type { System } from "./system.ts";

export const kin: System = kinWith(true);
export const kinDurable: System = kinWith(false);

const HOUR_MS = 3_600_000;

function kinWith(readOnly: boolean): System {
  return {
    async startCallee() {
      const home = makeHome("ben");
      const { node, stop } = await startNode(home, undefined, { tools: [echoTool(readOnly)] });
      const { ticket } = await createVerbs(node).invite(
        { name: "ana", share: null, shareName: null, role: "member", uses: 1, expiresMs: HOUR_MS, mesh: null },
        () => {},
        new AbortController().signal,
      );
      return {
        address: ticket,
        async stop() {
          await stop();
          removeHome(home);
        },
      };
    },
    async startCaller(text) {
      const home = makeHome("ana");
      const { node, stop } = await startNode(home);
      const { signal } = new AbortController();
      await createVerbs(node).join({ ticket: text, as: null }, () => {}, signal);
      const parsed = parseTicket(text, { now: 0 });
      if (!parsed.ok) throw new Error(parsed.message);
      const mesh = needMesh(node);
      const from = { ...mesh.me, agent: null };
      const device = parsed.ticket.inviter;
      const { person } = mesh.replica.membership().devices.get(device)!.member;
      const peer = node.network.peers().find((peer) => peer.device === device);
      return {
        // "/tls/1.0.0" → "tls", as the other rows say it
        encrypter: peer?.encrypter?.split("/")[1] ?? "none",
        async call(payload) {
          const request: CallRequest = {
            target: { tool: ECHO },
            parts: [],
            arguments: { text: payload },
            key: node.random.bytes(16),
            deadlineMs: DEFAULT_DEADLINE_MS,
            budget: { depth: DEFAULT_CALL_DEPTH },
            chain: [from],
          };
          for await (const event of mesh.invoke({ from, to: { person, device }, request }, signal)) {
            if (event.type === "failure") throw new Error(`${event.error.code}: ${event.error.message}`);
            if (event.type !== "result" || !("tool" in event.outcome)) continue;
            const [content] = event.outcome.tool.content;
            return content?.type === "text" ? content.text : "";
          }
          throw new Error("the call ended without a result");
        },
        async stop() {
          await stop();
          removeHome(home);
        },
      };
    },
  };
}
