/** The verbs of the control socket over a node's parts. */
import type { ControlHandlers } from "../control-api.ts";
import { needMesh, type MeshNode } from "../mesh.ts";
import { ask, call, wait } from "./calls.ts";
import { deviceAdd, deviceItems, deviceRemove } from "./devices.ts";
import { exportFile } from "./export.ts";
import { boardAdd, boardAssign, boardCard, boardColumns, boardEdit, boardMove, boardRemove } from "./boards.ts";
import { noteEdit, noteList, noteNew, noteShare, noteShow } from "./notes.ts";
import { factsGet, factsHistory, factsList, factsSet } from "./facts.ts";
import { syncAllow, syncReissue } from "./forks.ts";
import { keysRotate } from "./keys.ts";
import { leave, leavePlan } from "./leave.ts";
import { agentConfig, agentConfigSet } from "./settings.ts";
import { agentItems, memberItems, peerItems, toolItems } from "./listing.ts";
import { outboxDrop, outboxItems, outboxRetry } from "./outbox.ts";
import { closeInvite, invite, join, remove } from "./people.ts";
import { shareAdd, shareLs, shareRm } from "./shares.ts";
import { snapshotDormant, snapshotList, snapshotMake, snapshotPrune, snapshotShow } from "./snapshots.ts";
import { auditLog, ping, reload, status, viewOf } from "./status.ts";
import { syncNow, syncStatus, syncWhy } from "./sync.ts";

/** `down` is the process's own. */
export function createVerbs(node: MeshNode): Omit<ControlHandlers, "down"> {
  return {
    status: async () => status(node),
    invite: (params) => invite(node, params),
    "invite-close": (params) => closeInvite(node, params),
    "device-add": (params) => deviceAdd(node, params),
    "device-ls": async () => deviceItems(node),
    "device-rm": (params) => deviceRemove(node, params),
    join: (params, item, signal) => join(node, params, item, signal),
    ask: (params, item, signal) => ask(node, params, item, signal),
    call: (params, item, signal) => call(node, params, item, signal),
    wait: (params, item, signal) => wait(node, params, item, signal),
    ping: (params, item, signal) => ping(node, params, item, signal),
    peers: async () => ({ items: peerItems(viewOf(node, needMesh(node))) }),
    agents: async () => ({ items: agentItems(needMesh(node).directory.list(), viewOf(node, needMesh(node))) }),
    tools: async () => ({ items: toolItems(needMesh(node).directory.list(), viewOf(node, needMesh(node))) }),
    members: async () => ({ items: memberItems(viewOf(node, needMesh(node))) }),
    remove: (params) => remove(node, params),
    "keys-rotate": (params) => keysRotate(node, params),
    "leave-plan": () => leavePlan(node),
    leave: (params) => leave(node, params),
    "share-ls": () => shareLs(node),
    "share-add": (params) => shareAdd(node, params),
    "share-rm": (params) => shareRm(node, params),
    "tools-approve": async ({ name }) => {
      await needMesh(node).approveTool(name);
      return { name, problems: needMesh(node).problems() };
    },
    "audit-log": (params) => auditLog(node, params),
    "outbox-ls": async (params) => ({ items: outboxItems(needMesh(node), params) }),
    "outbox-drop": (params) => outboxDrop(node, params),
    "outbox-retry": (params, item, signal) => outboxRetry(node, params, item, signal),
    "sync-status": (_params, _item, signal) => syncStatus(node, signal),
    "sync-now": (_params, item, signal) => syncNow(node, item, signal),
    "sync-why": (params) => syncWhy(node, params),
    "sync-allow": (params) => syncAllow(node, params),
    "sync-reissue": (params) => syncReissue(node, params),
    "facts-set": (params) => factsSet(node, params),
    "facts-get": (params) => factsGet(node, params),
    "facts-ls": (params) => factsList(node, params),
    "facts-history": (params) => factsHistory(node, params),
    "snapshot-make": () => snapshotMake(node),
    "snapshot-ls": async () => snapshotList(node),
    "snapshot-show": (params) => snapshotShow(node, params),
    "snapshot-prune": (params, _item, signal) => snapshotPrune(node, params, signal),
    "snapshot-dormant": (params) => snapshotDormant(node, params),
    export: (params, item, signal) => exportFile(node, params, item, signal),
    "agent-config": (params) => agentConfig(node, params),
    "agent-config-set": (params) => agentConfigSet(node, params),
    "note-new": (params) => noteNew(node, params),
    "note-edit": (params) => noteEdit(node, params),
    "note-show": (params) => noteShow(node, params),
    "note-share": (params) => noteShare(node, params),
    "note-ls": () => noteList(node),
    "board-add": (params) => boardAdd(node, params),
    "board-move": (params) => boardMove(node, params),
    "board-edit": (params) => boardEdit(node, params),
    "board-assign": (params) => boardAssign(node, params),
    "board-card": (params) => boardCard(node, params),
    "board-rm": (params) => boardRemove(node, params),
    "board-columns": (params) => boardColumns(node, params),
    reload: () => reload(node),
  };
}
