import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  DEFAULT_CONFIG,
  SETTINGS,
  addShareConfig,
  widenShareConfig,
  loadConfig,
  parseConfig,
  parseSetting,
  removeShareConfig,
  setConfig,
} from "../../node/config.ts";
import { changesBetween, didYouMean } from "../../node/did-you-mean.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kin-config-"));
  file = join(folder, "config.jsonc");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("without a file, or with an empty one, the defaults hold", () => {
  expect(loadConfig(file)).toEqual(DEFAULT_CONFIG);
  expect(parseConfig("", file)).toEqual(DEFAULT_CONFIG);
  expect(parseConfig("// nothing\n", file)).toEqual(DEFAULT_CONFIG);
  expect(parseConfig('{ "listen": { "port": 4001 } }', file).listen).toEqual({ ...DEFAULT_CONFIG.listen, port: 4001 });
});

test("comments and trailing commas are fine; every field is read", () => {
  const config = parseConfig(
    `{ // me
      "name": "ben", "device": "laptop", "discovery": { "dht": false },
      "transports": ["tcp"], "encrypters": ["noise", "tls"], "addresses": ["/ip4/192.0.2.1/tcp/4001"],
      "shares": [{ "name": "app", "folder": "/src/app", "for": ["ana", "li~k3f2"] }],
      "mcpServers": { "files": { "command": "mcp", "args": ["", "-x"], "env": { "PATH": "/bin" }, "for": "mesh" } },
    }`,
    file,
  );
  expect(config.discovery).toEqual({ log: true, dht: false, mdns: true });
  expect(config.shares).toEqual([{ name: "app", folder: "/src/app", rights: "read", for: ["ana", "li~k3f2"] }]);
  expect(config.mcpServers["files"]).toEqual({
    command: "mcp",
    args: ["", "-x"],
    env: { PATH: "/bin" },
    for: "mesh",
    trustReadOnly: false,
  });
});

const BAD: [text: string, position: string, sentence: string, hint?: string][] = [
  ['{\n  "nmae": "ben"\n}', "2:3", 'unknown setting "nmae"', 'did you mean "name"?'],
  ['{ "discovery": { "mdn": true } }', "1:18", 'unknown setting "discovery.mdn"', 'did you mean "mdns"?'],
  ['{ "zzzzzz": 1 }', "1:3", 'unknown setting "zzzzzz"', "settings here: name"],
  ['{ "__proto__": 1 }', "1:3", 'unknown setting "__proto__"'],
  ['{ "name": "Ben Smith" }', "1:11", 'name is "Ben Smith", expected a name'],
  ['{ "listen": { "port": 70000 } }', "1:23", "listen.port is 70000, expected a port"],
  ['{ "listen": { "port": "1" } }', "1:23", 'listen.port is "1", expected a port'],
  ['{ "listen": [] }', "1:13", "listen is [], expected { … }"],
  ['{ "listen": { "hosts": [] } }', "1:24", "listen.hosts is empty"],
  ['{ "discovery": { "log": "on" } }', "1:25", 'discovery.log is "on", expected true or false'],
  ['{ "transports": ["tcp", "quic"] }', "1:25", 'transports[1] is "quic", expected "tcp" or'],
  ['{ "transports": [] }', "1:17", "transports is empty"],
  ['{ "encrypters": ["tls", "tls"] }', "1:17", "encrypters names one twice"],
  ['{ "addresses": ["192.0.2.1:80"] }', "1:17", "expected a multiaddr"],
  ['{ "shares": { } }', "1:13", "shares is {}, expected a list"],
  ['{ "shares": [{ "name": "a", "folder": "src", "for": "mesh" }] }', "1:39", "expected an absolute path"],
  ['{ "shares": [{ "name": "a", "folder": "/src" }] }', "1:14", 'shares[0] has no "for"'],
  ['{ "shares": [{ "name": "a", "folder": "/s", "for": "all" }] }', "1:52", 'expected "mesh" or a list of people'],
  ['{ "shares": [{ "name": "a", "folder": "/s", "for": [], "rights": "write" }] }', "1:66", 'expected "read"'],
  [
    '{ "shares": [{ "name": "a", "folder": "/s", "for": [] }, { "name": "a", "folder": "/t", "for": [] }] }',
    "1:68",
    'a second share is named "a"',
  ],
  ['{ "mcpServers": { "Files": { "command": "x" } } }', "1:19", "\"Files\" can't be a server's name"],
  ['{ "mcpServers": { "files": { } } }', "1:28", 'needs a "command" or a "url"'],
  ['{ "mcpServers": { "files": { "command": "x", "url": "http://h" } } }', "1:28", 'needs a "command" or a "url"'],
  ['{ "mcpServers": { "files": { "url": "file:///x" } } }', "1:37", "expected an http or https URL"],
  ['{ "name": "a", "name": "b" }', "1:16", '"name" is set twice'],
  ['{ "name": "a" ', "1:15", "not JSON with comments"],
  ["[]", "1:1", "the settings is [], expected { … }"],
  ["hello", "1:1", "not JSON with comments"],
];

for (const [text, position, sentence, hint] of BAD)
  test(`refused with line and column: ${sentence} [config-errors]`, () => {
    expect(() => parseConfig(text, file)).toThrow(
      expect.objectContaining({
        code: "CONFIG_INVALID",
        message: expect.stringContaining(`${file}:${position}: `) && expect.stringContaining(sentence),
        ...(hint === undefined ? {} : { hint: expect.stringContaining(hint) }),
      }),
    );
    expect(() => parseConfig(text, file)).toThrow(`${file}:${position}: `);
  });

test("any text is read or refused with a position, never crashes", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseConfig(text, "f");
      } catch (error) {
        expect(error).toMatchObject({ code: "CONFIG_INVALID", message: expect.stringMatching(/^f:\d+:\d+: /) });
      }
    }),
  );
});

test("kin set keeps the comments and checks before it writes [set-keeps]", () => {
  writeFileSync(file, '{\n  // my name\n  "name": "ben", // that is me\n  "listen": { "port": 1 }\n}\n');
  const config = setConfig(file, "listen.port", 4001);
  expect(config.listen.port).toBe(4001);
  setConfig(file, "discovery.mdns", false);
  const text = readFileSync(file, "utf8");
  expect(text).toContain("// my name");
  expect(text).toContain("// that is me");
  expect(loadConfig(file)).toMatchObject({
    name: "ben",
    listen: { port: 4001 },
    discovery: { mdns: false, log: true },
  });
  expect(() => setConfig(file, "listen.port", -1)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  expect(readFileSync(file, "utf8")).toBe(text);
});

test("the first setting makes the file, for me alone; a broken file is not changed", () => {
  setConfig(file, "name", "ana");
  expect(loadConfig(file).name).toBe("ana");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  writeFileSync(file, "{ oops");
  expect(() => setConfig(file, "name", "li")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  expect(readFileSync(file, "utf8")).toBe("{ oops");
  expect(() => setConfig(join(file, "config.jsonc"), "name", "li")).toThrow(/cannot make the folder|not a directory/);
});

test("a share is widened: who is in stays in, nobody twice; one for the mesh stays for the mesh", () => {
  addShareConfig(file, { name: "lib", folder: "/lib", rights: "read", for: ["ana"] });
  const forOf = (name: string): unknown => loadConfig(file).shares.find((share) => share.name === name)?.for;
  widenShareConfig(file, "lib", ["li", "ana"]);
  expect(forOf("lib")).toEqual(["ana", "li"]);
  widenShareConfig(file, "lib", "mesh");
  expect(forOf("lib")).toBe("mesh");
  widenShareConfig(file, "lib", ["ana"]);
  expect(forOf("lib")).toBe("mesh");
  expect(() => widenShareConfig(file, "lob", "mesh")).toThrow(
    expect.objectContaining({ code: "NOT_FOUND", hint: 'did you mean "lib"?' }),
  );
});

test("shares are added and removed by name", () => {
  addShareConfig(file, { name: "app", folder: "/app", rights: "read", for: "mesh" });
  const two = addShareConfig(file, { name: "lib", folder: "/lib", rights: "read", for: ["ana"] });
  expect(two.shares.map((share) => share.name)).toEqual(["app", "lib"]);
  expect(() => addShareConfig(file, two.shares[0]!)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  expect(removeShareConfig(file, "app").shares.map((share) => share.name)).toEqual(["lib"]);
  expect(() => removeShareConfig(file, "lob")).toThrow(
    expect.objectContaining({ code: "NOT_FOUND", hint: 'did you mean "lib"?' }),
  );
});

test("words of kin set become values of the right kind", () => {
  expect(parseSetting("listen.port", "4001")).toBe(4001);
  expect(parseSetting("discovery.mdns", "off")).toBe(false);
  expect(parseSetting("transports", "tcp, websocket")).toEqual(["tcp", "websocket"]);
  expect(parseSetting("addresses", "")).toEqual([]);
  expect(() => parseSetting("discovery.mdsn", "off")).toThrow(
    expect.objectContaining({ code: "USAGE", hint: 'did you mean "discovery.mdns"?' }),
  );
  for (const { path, defaultValue } of SETTINGS)
    expect(path.split(".").reduce<unknown>((value, key) => (value as never)[key], DEFAULT_CONFIG)).toEqual(
      defaultValue,
    );
  expect(existsSync(file)).toBe(false);
});

test("did-you-mean finds what is near and nothing else", () => {
  expect(didYouMean("staus", ["status", "share"])).toBe("status");
  expect(didYouMean("sahre", ["status", "share"])).toBe("share");
  expect(didYouMean("frobnicate", ["status", "share"])).toBeNull();
  expect(didYouMean("", ["status"])).toBeNull();
  expect(didYouMean("x".repeat(10_000), ["status"])).toBeNull();
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      expect(changesBetween(a, b)).toBe(changesBetween(b, a));
      expect(changesBetween(a, b) === 0).toBe(a === b);
      expect(changesBetween(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});
