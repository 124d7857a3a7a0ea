/**
 * SQLite's write-ahead log, looked at before SQLite does (https://sqlite.org/fileformat2.html#the_write_ahead_log). SQLite reads it up
 * to the first frame whose sum is wrong and silently forgets the rest: right after a power cut, whose last transaction was not
 * synced, and wrong where a bit has flipped in what was.
 *
 *   header = u32 magic (its last bit: sums over big-endian words) · version · page size · sequence · salt 1, 2 · sum 1, 2
 *   frame  = u32 page · u32 size of the database after a commit, else 0 · salt 1, 2 · sum 1, 2 · the page
 *
 * The sum of a frame goes on from the frame before. So frames behind a damaged one are still told by the sum that stands in it:
 * where a whole transaction follows the one that is damaged, that one was synced before the next began.
 */

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;

type Sum = readonly [number, number];

/** What is damaged in a write-ahead log, or null: then SQLite may forget its last transaction at most. */
export function walDamage(bytes: Uint8Array): string | null {
  if (bytes.length < HEADER_BYTES || bytes.subarray(0, HEADER_BYTES).every((byte) => byte === 0)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const littleEndian = (view.getUint32(0) & 1) === 0;
  const start = sumOver(view, 0, HEADER_BYTES - 8, [0, 0], littleEndian);
  const isHeader = (view.getUint32(0) & ~1) >>> 0 === MAGIC && isSum(view, HEADER_BYTES - 8, start);
  if (!isHeader) return "its header is not what its sum says";
  const pageBytes = view.getUint32(8);
  const frameBytes = FRAME_HEADER_BYTES + pageBytes;
  let sum: Sum = start;
  let damagedFrame: number | null = null;
  /** Commits behind the damaged frame: the first one may be its own. */
  let commitsBehind = 0;
  let commitsToTell = 2;
  for (let at = HEADER_BYTES, frame = 0; at + frameBytes <= bytes.length; at += frameBytes, frame++) {
    // Frames of before the last checkpoint stand behind those of now.
    const isOfNow = view.getUint32(at + 8) === view.getUint32(16) && view.getUint32(at + 12) === view.getUint32(20);
    const head = sumOver(view, at, 8, sum, littleEndian);
    const isRight =
      isOfNow && isSum(view, at + 16, sumOver(view, at + FRAME_HEADER_BYTES, pageBytes, head, littleEndian));
    const isCommit = view.getUint32(at + 4) !== 0;
    if (isRight && isCommit && damagedFrame !== null) commitsBehind++;
    // A damaged one ended its transaction: the next commit is another's.
    if (!isRight && isOfNow && isCommit) commitsToTell = 1;
    if (!isRight) damagedFrame ??= frame;
    if (commitsBehind === commitsToTell)
      return `its frame ${damagedFrame} is damaged, and transactions that came later follow it`;
    sum = [view.getUint32(at + 16), view.getUint32(at + 20)];
  }
  return null;
}

function sumOver(view: DataView, from: number, length: number, [first, second]: Sum, littleEndian: boolean): Sum {
  let a = first;
  let b = second;
  for (let at = from; at < from + length; at += 8) {
    a = (a + view.getUint32(at, littleEndian) + b) >>> 0;
    b = (b + view.getUint32(at + 4, littleEndian) + a) >>> 0;
  }
  return [a, b];
}

function isSum(view: DataView, at: number, [first, second]: Sum): boolean {
  return view.getUint32(at) === first && view.getUint32(at + 4) === second;
}
