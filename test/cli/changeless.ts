/** True for text that leaves the terminal's state alone: printable characters, line breaks and tabs. Written without the product's own pattern. */
export function changeless(text: string): boolean {
  return Array.from(text).every((character) => {
    const code = character.codePointAt(0)!;
    const isControl = code < 0x20 || (code >= 0x7f && code <= 0x9f);
    const turnsDirection =
      code === 0x61c ||
      code === 0x200e ||
      code === 0x200f ||
      (code >= 0x202a && code <= 0x202e) ||
      (code >= 0x2066 && code <= 0x2069);
    return character === "\n" || character === "\t" || !(isControl || turnsDirection);
  });
}
