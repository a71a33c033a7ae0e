// Converts the answer of a long poll to the events of a stream.

import type { Phase, Step, WatchEvent } from "./frames.js";

/** The answer of a long poll, the fields used here. */
export interface View {
  status: WatchEvent["status"];
  phase: WatchEvent["phase"];
  progress: { seq: number; step: WatchEvent["step"]; at: string }[];
  reason?: NonNullable<WatchEvent["reason"]>;
}

const LEADS_TO: { [step in Step]?: Phase } = {
  claimed: "preparing",
  challenged: "challenged",
  verifying: "verifying",
  closed: "closed",
};

/** The events that correspond to the answer, identical to those of a stream. */
export function eventsOf(view: View): WatchEvent[] {
  const steps = view.progress.map((entry) => entry.step);
  // With binding `none` a challenge is prepared from the first.
  const code = steps.includes("claimed") || (view.phase !== "preparing" && !steps.includes("challenged"));
  let phase: WatchEvent["phase"] = code ? "offered" : "preparing";
  return view.progress.map(({ seq, step, at }) => {
    phase = LEADS_TO[step as Step] ?? phase;
    if (step !== "closed") return { seq, step, at, status: "pending", phase };
    const end = { seq, step, at, status: view.status, phase };
    return view.reason === undefined ? end : { ...end, reason: view.reason };
  });
}
