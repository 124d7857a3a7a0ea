/** The scenarios, by name. */
import type { Scenario } from "../scenario.ts";
import { backupRestore } from "./backup-restore.ts";
import { churn } from "./churn.ts";
import { clockSkew } from "./clock-skew.ts";
import { diskFaults } from "./disk-faults.ts";
import { killEveryStep } from "./kill-every-step.ts";
import { maliciousPeer } from "./malicious-peer.ts";
import { memberRemovedWhileAway } from "./member-removed-while-away.ts";
import { offlineWeek } from "./offline-week.ts";
import { partitionHeal } from "./partition-heal.ts";

export const SCENARIOS: readonly Scenario[] = [
  partitionHeal,
  offlineWeek,
  clockSkew,
  churn,
  maliciousPeer,
  backupRestore,
  memberRemovedWhileAway,
  diskFaults,
  killEveryStep,
];
