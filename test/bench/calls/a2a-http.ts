/** A2A 1.0 by its own SDK, JSON-RPC over keep-alive HTTP: the agent answers a message with the same text. */
import { randomUUID } from "node:crypto";
import { Role, type AgentCard, type Message } from "@a2a-js/sdk";
import { ClientFactory } from "@a2a-js/sdk/client";
import {
  AgentEvent,
  DefaultRequestHandler,
  InMemoryTaskStore,
  JsonRpcTransportHandler,
  ServerCallContext,
} from "@a2a-js/sdk/server";
import { serveJson } from "./http.ts";
import type { System } from "./system.ts";

export const a2aHttp: System = {
  async startCallee() {
    const handler = new JsonRpcTransportHandler(
      new DefaultRequestHandler(cardAt(""), new InMemoryTaskStore(), {
        async execute({ userMessage }, bus) {
          bus.publish(AgentEvent.message(messageOf(textOf(userMessage), Role.ROLE_AGENT)));
          bus.finished();
        },
        async cancelTask() {},
      }),
    );
    return serveJson(async (_, response, body) => {
      const context = new ServerCallContext({ requestedVersion: "1.0" });
      const answer = await handler.handle(body as Record<string, unknown>, context);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  },
  async startCaller(address) {
    const client = await new ClientFactory().createFromAgentCard(cardAt(address));
    return {
      encrypter: "none",
      async call(payload) {
        const answer = await client.sendMessage({
          tenant: "",
          message: messageOf(payload, Role.ROLE_USER),
          configuration: undefined,
          metadata: undefined,
        });
        return textOf(answer as Message);
      },
      async stop() {},
    };
  },
};

function messageOf(text: string, role: Role): Message {
  return {
    messageId: randomUUID(),
    contextId: "",
    taskId: "",
    role,
    parts: [{ content: { $case: "text", value: text }, metadata: undefined, filename: "", mediaType: "text/plain" }],
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  };
}

function textOf({ parts }: Message): string {
  const content = parts[0]?.content;
  return content?.$case === "text" ? content.value : "";
}

function cardAt(url: string): AgentCard {
  return {
    name: "echo",
    description: "answers with what it was told",
    supportedInterfaces: [{ url, protocolBinding: "JSONRPC", tenant: "", protocolVersion: "1.0" }],
    provider: undefined,
    version: "1",
    capabilities: { extensions: [] },
    securitySchemes: {},
    securityRequirements: [],
    defaultInputModes: ["text/plain"],
    defaultOutputModes: ["text/plain"],
    skills: [],
    signatures: [],
  };
}
