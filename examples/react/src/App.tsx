import { useCallback, useEffect, useState } from "react";
import * as api from "./api.js";
import { SignIn } from "./SignIn.js";
import { Waiting } from "./Waiting.js";

/** Notifies other tabs of this browser of a sign-in or sign-out. */
const CHANNEL = "session";
/** The tab's attempt, so that a reload continues it. */
const KEPT = "attempt";

const ENDS: Record<string, string> = {
  cancelled: "Cancelled. You are not signed in.",
  denied: "Declined on the phone. You are not signed in.",
  expired: "Time ran out. You are not signed in.",
};
const OTHERWISE = "This did not work. You are not signed in. Please start again.";

function kept(): api.Attempt | undefined {
  const text = sessionStorage.getItem(KEPT);
  return text ? (JSON.parse(text) as api.Attempt) : undefined;
}

export function App() {
  const [username, setUsername] = useState<string | null>();
  const [attempt, setAttempt] = useState(kept);
  const [told, setTold] = useState("");

  useEffect(() => {
    if (attempt) sessionStorage.setItem(KEPT, JSON.stringify(attempt));
    else sessionStorage.removeItem(KEPT);
  }, [attempt]);

  /** Only the backend knows who is signed in. */
  const look = useCallback(async () => {
    try {
      setUsername(await api.me());
    } catch {
      setTold("The shop does not answer. Please try again.");
    }
  }, []);
  const announce = useCallback(async () => {
    const channel = new BroadcastChannel(CHANNEL);
    channel.postMessage("changed");
    channel.close();
    await look();
  }, [look]);

  useEffect(() => {
    void look();
    const channel = new BroadcastChannel(CHANNEL);
    channel.onmessage = () => void look();
    return () => channel.close();
  }, [look]);

  // Another tab signed in: cancel this tab's prompt.
  useEffect(() => {
    if (!username || !attempt) return;
    void api.cancel(attempt.id).catch(() => {});
    setAttempt(undefined);
  }, [username, attempt]);

  const ended = useCallback(
    async (status: string) => {
      setAttempt(undefined);
      setTold(status === "succeeded" ? "" : (ENDS[status] ?? OTHERWISE));
      if (status === "succeeded") await announce();
    },
    [announce],
  );

  if (username === undefined) return <p role="status">{told || "One moment …"}</p>;
  if (username) {
    return (
      <>
        <h1>Welcome</h1>
        <p role="status">
          You are signed in as <bdi>{username}</bdi>.
        </p>
        <button onClick={() => void api.signOut().then(announce, () => setTold("You are still signed in."))}>Sign out</button>
      </>
    );
  }
  return (
    <>
      <h1>Sign in</h1>
      {told && <p role="status">{told}</p>}
      {attempt ? (
        <Waiting key={attempt.id} attempt={attempt} onEnd={ended} />
      ) : (
        <SignIn
          onAttempt={(begun) => {
            setTold("");
            setAttempt(begun);
          }}
        />
      )}
    </>
  );
}
