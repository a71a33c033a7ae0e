import { useState, type FormEvent } from "react";
import * as api from "./api.js";

export function SignIn({ onAttempt }: { onAttempt: (attempt: api.Attempt) => void }) {
  const [asking, setAsking] = useState(false);
  const [failed, setFailed] = useState(false);

  async function ask(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const username = new FormData(event.currentTarget).get("username");
    setAsking(true);
    setFailed(false);
    try {
      onAttempt(await api.signIn(String(username)));
    } catch {
      setFailed(true);
      setAsking(false);
    }
  }

  return (
    <form onSubmit={ask}>
      <label>
        Username <input name="username" autoComplete="username" required maxLength={255} />
      </label>
      <button disabled={asking}>Sign in with your card</button>
      {failed && <p role="alert">The shop does not answer. Please try again.</p>}
    </form>
  );
}
