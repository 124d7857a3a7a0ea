/** The scenarios, by name. */
import type { Scenario } from "../scenario.ts";
import { partitionHeal } from "./partition-heal.ts";

export const SCENARIOS: readonly Scenario[] = [partitionHeal];
