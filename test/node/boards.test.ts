/** A board by real processes: two who are apart move, edit and remove the same cards, and see one board when they meet. */
import { expect, test } from "vitest";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

interface Shown {
  id: string;
  columns: { name: string; cards: { id: string; short: string; text: string; for: string[] }[] }[];
}

const boardOf = (person: Person) => person.json<Shown>(["note", "show", "Release 1.0"]);

async function shows(person: Person): Promise<string> {
  const { columns } = await boardOf(person);
  return columns.map(({ name, cards }) => `${name}: ${cards.map(({ text }) => text).join(", ")}`).join("; ");
}

test("board-apart: two real nodes move the same card while apart: each card is in one column on both, no word is lost", async () => {
  await using world = await openWorld();
  const { ana, ben } = await twoPeople(world, null);
  const does = async (person: Person, ...args: string[]) => {
    const ran = await person.kin(["board", ...args]);
    expect(ran, ran.err).toMatchObject({ code: 0 });
    return ran.out;
  };
  const board = "Release 1.0";
  expect((await ana.kin(["note", "new", "--board", board])).out).toContain('board add "Release 1.0" "…"');
  await does(ana, "add", board, "fix login", "--for", "ben");
  await does(ana, "add", board, "write", "docs");
  await does(ana, "add", board, "sleep");
  await until(async () => (await ben.json<{ items: unknown[] }>(["board", "ls"])).items.length === 1);
  await until(async () => (await shows(ben)) === "todo: fix login, write docs, sleep; doing: ; done: ");

  await ana.kin(["down"]);
  await does(ben, "move", board, "fix login", "doing");
  await does(ben, "edit", board, "write", "--text", "write good docs");
  await does(ben, "move", board, "sleep", "--before", "fix login");
  await does(ben, "rm", board, "sleep");
  await ben.kin(["down"]);
  await ana.kin(["up"]);
  await does(ana, "move", board, "fix login", "done");
  await does(ana, "move", board, "write", "doing", "--top");
  await does(ana, "edit", board, "sleep", "--text", "sleep well");
  await does(ana, "columns", board, "todo,doing,review,done");
  await ben.kin(["up"]);

  await until(async () => {
    const [hers, his] = [await shows(ana), await shows(ben)];
    return hers === his && ["good docs", "review", "sleep well"].every((words) => hers.includes(words));
  });
  const { columns } = await boardOf(ben);
  const columnOf = (text: string): string[] =>
    columns.filter(({ cards }) => cards.some((card) => card.text === text)).map(({ name }) => name);
  expect(columns.map(({ name }) => name)).toEqual(["todo", "doing", "review", "done"]);
  expect(["doing", "done"]).toContain(columnOf("fix login").join());
  expect(columnOf("write good docs")).toEqual(["doing"]);
  // He removed it, and she edited it meanwhile: it is back, where he had moved it.
  expect(columnOf("sleep well")).toEqual(["doing"]);
  const all = columns.flatMap(({ cards }) => cards);
  expect(all).toHaveLength(3);
  expect(all.find(({ text }) => text === "fix login")!.for).toEqual(["ben"]);

  // The views may be thrown away, and a node that is killed has what it said it had.
  const hers = JSON.stringify((await boardOf(ana)).columns);
  process.kill(await ana.pid(), "SIGKILL");
  expect(await ana.kin(["up"])).toMatchObject({ code: 0 });
  expect(JSON.stringify((await boardOf(ana)).columns)).toBe(hers);
  expect((await ana.kin(["board", "show", board])).out).toContain("done · ");
  expect(await ana.kin(["note", "edit", board, "--append", "x"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("is a board"),
  });
  expect(await ana.kin(["board", "move", board, "nothing", "done"])).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no card "nothing" on "Release 1.0"'),
  });
  expect(await ana.kin(["board", "add", board, "x", "--column", "dne"])).toMatchObject({ code: 1 });
}, 180_000);
