// The page's own backend (server.mjs). Only it has the API key and knows who is signed in.

export interface Attempt {
  id: string;
  /** The URL to watch, with the ticket. */
  url: string;
  ticket: string;
  code: string;
  /** By `Date.now()`. */
  until: number;
}

export class Refused extends Error {
  constructor(
    path: string,
    readonly status: number,
  ) {
    super(`${path}: ${status}`);
  }
}

async function call<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(`/api/${path}`, {
    method,
    ...(body ? { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {}),
  });
  if (!answer.ok) throw new Refused(path, answer.status);
  return (await answer.json()) as T;
}

export const me = async () => (await call<{ username: string | null }>("GET", "me")).username;

export async function signIn(username: string): Promise<Attempt> {
  const { expires_in, ...opened } = await call<Attempt & { expires_in: number }>("POST", "sign-in", { username });
  return { ...opened, until: Date.now() + expires_in * 1000 };
}

/** The outcome; `pending` while open. Idempotent. */
export const finish = async (id: string) => (await call<{ status: string }>("POST", `sign-in/${id}/finish`, {})).status;

export const cancel = (id: string) => call<object>("POST", `sign-in/${id}/cancel`, {});

export const signOut = () => call<object>("POST", "sign-out", {});
