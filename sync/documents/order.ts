/**
 * Places in a row as text: between any two there is another, so that who puts something between two others changes nothing but
 * it. An order is a fraction, its digits after the point: 0 < "4" < "4i" < "5". It never ends in "0", for between "4" and "40"
 * there is nothing. Each has some digits of chance at its end, so that two who put something at one place at once don't make
 * the same; what is the same all the same stands by its id.
 */
import type { Random } from "../../protocols/effects.ts";

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz";
const BASE = DIGITS.length;
/** At the ends of a row orders are counted in so many digits: 1.6 million there before they grow. */
const COUNTED = 4;
const COUNT = BASE ** COUNTED;
const CHANCE = 3;
/** Somebody who has put hundreds of things between the same two gives all of them new orders. */
export const MAX_ORDER_DIGITS = 64;
const ORDER = /^[0-9a-z]*[1-9a-z]$/;

export function isOrder(text: string): boolean {
  return text.length <= MAX_ORDER_DIGITS && ORDER.test(text);
}

/** After `left` (null: the beginning) and before `right` (null: the end), where `left` < `right`. May be over {@link MAX_ORDER_DIGITS}. */
export function orderBetween(left: string | null, right: string | null, random: Random): string {
  return placeBetween(left, right) + chance(random);
}

/** What may be followed by any digits and still stands there. */
function placeBetween(left: string | null, right: string | null): string {
  if (right === null) return left === null ? DIGITS[BASE / 2]! : after(left);
  if (left !== null) return middle(left, right);
  const counted = countOf(right);
  return counted > 0 ? counter(counted - 1) : middle("", right);
}

function after(left: string): string {
  const counted = countOf(left);
  return counted + 1 < COUNT ? counter(counted + 1) : above(left);
}

/** Of its first digits. */
function countOf(order: string): number {
  return Number.parseInt(order.slice(0, COUNTED).padEnd(COUNTED, "0"), BASE);
}

function counter(count: number): string {
  return count.toString(BASE).padStart(COUNTED, "0");
}

function middle(left: string, right: string): string {
  let at = 0;
  while (digitAt(left, at) === digitAt(right, at)) at++;
  const [low, high] = [digitAt(left, at), digitAt(right, at)];
  const same = right.slice(0, at);
  if (high - low > 1) return same + DIGITS[(low + high) >> 1]!;
  return same + DIGITS[low]! + above(left.slice(at + 1));
}

function above(left: string): string {
  let at = 0;
  while (digitAt(left, at) === BASE - 1) at++;
  return left.slice(0, at) + DIGITS[(digitAt(left, at) + BASE) >> 1]!;
}

function digitAt(order: string, at: number): number {
  return at < order.length ? DIGITS.indexOf(order[at]!) : 0;
}

function chance(random: Random): string {
  const bytes = random.bytes(CHANCE);
  const digits = [...bytes].map((byte, i) => (i < CHANCE - 1 ? byte % BASE : 1 + (byte % (BASE - 1))));
  return digits.map((digit) => DIGITS[digit]).join("");
}
