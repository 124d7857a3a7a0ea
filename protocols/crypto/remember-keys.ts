/** Whether a key is good never changes, and the same few keys are asked for again with each roster that is read. */
import { toHex } from "../bytes.ts";

const MAX_REMEMBERED = 4096;

/** `check`, which remembers the newest of its answers. */
export function rememberKeys(check: (publicKey: Uint8Array) => boolean): (publicKey: Uint8Array) => boolean {
  const remembered = new Map<string, boolean>();
  return (publicKey) => {
    const name = toHex(publicKey);
    const known = remembered.get(name);
    if (known !== undefined) return known;
    const answer = check(publicKey);
    if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
    remembered.set(name, answer);
    return answer;
  };
}
