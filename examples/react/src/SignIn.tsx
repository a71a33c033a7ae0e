import { useState, type FormEvent } from "react";
import * as api from "./api.js";

export function SignIn({ onAttempt }: { onAttempt: (attempt: api.Attempt) => void }) {
  const [asking, setAsking] = useState(false);
  const [failed, setFailed] = useState("");

  async function ask(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const username = new FormData(event.currentTarget).get("username");
    setAsking(true);
    setFailed("");
    try {
      onAttempt(await api.signIn(String(username)));
    } catch (error) {
      const isRefused = error instanceof api.Refused && error.status === 400;
      setFailed(isRefused ? "This is no username." : "The shop does not answer. Please try again.");
      setAsking(false);
    }
  }

  return (
    <form onSubmit={ask}>
      <label>
        Username <input name="username" autoComplete="username" required maxLength={255} />
      </label>
      <button disabled={asking}>Sign in with your card</button>
      {failed && <p role="alert">{failed}</p>}
    </form>
  );
}
