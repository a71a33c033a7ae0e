import type { WatchState } from "@fido-relay/client";
import { useCeremony } from "@fido-relay/client/react";
import { useEffect, useState } from "react";
import * as api from "./api.js";

const SAYS: Record<string, string> = {
  opened: "Open the app on your phone and type this code.",
  claimed: "Code accepted.",
  challenged: "Hold your card to the back of the phone.",
  card: "Keep the card still.",
  verifying: "Your card has answered. It is being checked.",
};

/** Milliseconds after the deadline in which the end may still arrive. */
const GRACE_MS = 60_000;
/** Pause between two polls of the backend when the watch has failed. */
const AGAIN_MS = 2_000;

export function Waiting({ attempt, onEnd }: { attempt: api.Attempt; onEnd: (status: string) => void }) {
  const deadlineMs = Math.max(0, attempt.until - Date.now()) + GRACE_MS;
  const { events, state, closed, error } = useCeremony(attempt.url, attempt.ticket, { deadlineMs });
  const [cancelling, setCancelling] = useState(false);
  const left = useSecondsLeft(attempt.until);
  const steps = events.map(({ step }) => step);
  const said = steps.filter((step) => step in SAYS).at(-1) ?? "opened";

  // In either case the backend, which can verify the signed result, has the outcome.
  const over = closed !== undefined || error !== undefined;
  useEffect(() => {
    if (!over) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let gone = false;
    const ask = async () => {
      const status = await api.finish(attempt.id).catch(() => "pending");
      if (gone) return;
      if (status === "pending") timer = setTimeout(ask, AGAIN_MS);
      else onEnd(status);
    };
    void ask();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [over, attempt.id, onEnd]);

  return (
    <section aria-label="Your sign-in">
      {/* A code that was typed is of no more use. */}
      {!steps.includes("claimed") && (
        <>
          <output id="code" aria-label="Code for the app">
            {attempt.code}
          </output>
          <p>Type it into the app only. Nobody from the shop will ever ask for it.</p>
          <p>Nothing on the phone? Open the app and type the code.</p>
        </>
      )}
      <p role="status" data-steps={steps.join(" ")}>
        {SAYS[said]}
      </p>
      <Trouble state={state} />
      <p role="timer">{left > 0 ? `${left} s left` : "Time is up"}</p>
      {/* A card that has answered cannot be called back. */}
      <button
        type="button"
        disabled={cancelling || steps.includes("verifying")}
        onClick={() => {
          setCancelling(true);
          // Whatever the answer is, the watch reports the end.
          void api.cancel(attempt.id).catch(() => setCancelling(false));
        }}
      >
        Cancel
      </button>
    </section>
  );
}

/** Advice for the user: the ceremony continues without this page. */
function Trouble({ state }: { state: WatchState }) {
  if (state.kind !== "trouble") return null;
  return (
    <p className="trouble" role="alert">
      {state.why === "busy" ? "The card service is busy. " : "This page has no connection at the moment. "}
      You may go on in the app; the page follows by itself.
    </p>
  );
}

function useSecondsLeft(until: number): number {
  const seconds = () => Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const [left, setLeft] = useState(seconds);
  useEffect(() => {
    const clock = setInterval(() => setLeft(seconds()), 250);
    return () => clearInterval(clock);
  }, [until]);
  return left;
}
