import { Uint8ArrayList } from "uint8arraylist";
import { expect, test } from "vitest";
import { coalesceSends } from "../../node/net/coalesce.ts";

const UPDATE = Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 4, 0);
const RESET = Uint8Array.of(0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0);

function connection() {
  const written: number[][] = [];
  const sender = {
    sendData(data: Uint8ArrayList) {
      for (const piece of data) written.push([...piece]);
      return { sentBytes: data.byteLength, canSendMore: true };
    },
  };
  coalesceSends(sender);
  return { sender, written };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a window update rides in the write of the data that follows it, and what was sent is what the caller gave", () => {
  const { sender, written } = connection();
  expect(sender.sendData(new Uint8ArrayList(UPDATE))).toEqual({ sentBytes: 12, canSendMore: true });
  expect(written).toEqual([]);
  const result = sender.sendData(new Uint8ArrayList(Uint8Array.of(1, 2), Uint8Array.of(3)));
  expect(result).toEqual({ sentBytes: 3, canSendMore: true });
  expect(written).toEqual([[...UPDATE, 1, 2, 3]]);
});

test("with nothing to ride on it leaves alone, two turns of the loop later", async () => {
  const { sender, written } = connection();
  sender.sendData(new Uint8ArrayList(UPDATE));
  sender.sendData(new Uint8ArrayList(UPDATE));
  for (let turns = 0; turns < 3; turns++) await turn();
  expect(written).toEqual([[...UPDATE, ...UPDATE]]);
});

test("a frame that opens, closes or resets a stream does not wait", () => {
  const { sender, written } = connection();
  sender.sendData(new Uint8ArrayList(UPDATE));
  sender.sendData(new Uint8ArrayList(RESET));
  expect(written).toEqual([[...UPDATE, ...RESET]]);
});

test("held updates are bounded", () => {
  const { sender, written } = connection();
  for (let i = 0; i < 200; i++) sender.sendData(new Uint8ArrayList(UPDATE));
  expect(written.map((bytes) => bytes.length)).toEqual([129 * 12]);
});
