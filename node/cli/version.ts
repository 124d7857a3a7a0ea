/** `kin version`, `kin demo`. */
import { packageVersion } from "./command.ts";
import type { Context } from "./context.ts";
import { EXIT } from "./output.ts";

export async function version(context: Context): Promise<number> {
  context.output.object({ version: packageVersion(), node: process.versions.node });
  context.output.line(`kin ${packageVersion()}, Node ${process.versions.node}`);
  return EXIT.ok;
}

export async function demo(context: Context, options: { once?: boolean }): Promise<number> {
  const { runDemo } = await import("./demo.ts");
  return runDemo({ once: options.once ?? false, interrupt: context.signal });
}
