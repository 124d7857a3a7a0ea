/** A view that begins with the rows of a snapshot, if there is one, and folds what the snapshot does not stand for (R16). */
import { openProjection, type Projection, type ProjectionOptions } from "./projection.ts";
import type { Replica } from "./replica.ts";
import type { Base, SnapshotBase } from "./snapshot-base.ts";
import type { SnapshotFold, SnapshotView } from "./snapshot-view.ts";

export async function openSnapshotProjection<Fold extends SnapshotFold>(
  replica: Replica,
  base: Pick<SnapshotBase, "current">,
  view: SnapshotView<Fold>,
  options: Pick<ProjectionOptions, "changed" | "failed"> = {},
): Promise<Projection & { fold(): Fold }> {
  let begun: Base | null = null;
  let fold = begin();
  /** What is shown: while the view folds again, it is what it was. */
  let shown = fold;

  function begin(): Fold {
    begun = base.current();
    const empty = view.open();
    empty.load(begun?.rows(view) ?? []);
    return empty;
  }

  const projection = await openProjection(replica, {
    ...options,
    kinds: view.kinds,
    fold: (event) => {
      if (event.audience === "mesh" && begun?.covers(view, event) !== true) fold.fold(event);
    },
    clear: () => void (fold = begin()),
    changed() {
      shown = fold;
      options.changed?.();
    },
  });
  return { ...projection, fold: () => shown };
}
