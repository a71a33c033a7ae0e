// The backend of page.html: signs a browser in with the client of ../node. Sessions are in memory, so it
// is a single process. The API key needs the scopes ceremony:auth,ceremony:read.
//
//   export FIDO_RELAY_URL=http://127.0.0.1:8080 FIDO_RELAY_API_KEY=rk_…
//   node server.mjs 8000
//   fido-relay client change cli_… --page-origin http://127.0.0.1:8000
//
// Behind TLS set SHOP_ORIGIN to the browsers' URL (https://shop.example). If this program uses another
// URL of the relay than the public one, set FIDO_RELAY_ISSUER to the public one, which the page uses.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Relay, RelayError } from "../node/relay.mjs";

const ATTEMPT_MS = 5 * 60_000;
const SESSION_MS = 30 * 60_000;
const MOST_ATTEMPTS = 10_000;
/** How long the relay recognises a browser after a success. It does not authenticate the user. */
const BROWSER_S = 90 * 86_400;
/** Per minute. The proxy, which knows the addresses, limits tries by address. */
const TRIES_PER_USERNAME = 10;

const { FIDO_RELAY_URL: url, FIDO_RELAY_API_KEY: apiKey, FIDO_RELAY_ISSUER: issuer } = process.env;
const relay = await Relay.connect({ url, apiKey, issuer });

const page = readFileSync(new URL("page.html", import.meta.url), "utf8");
const hash = (tag) => {
  const text = page.split(`<${tag}>`)[1].split(`</${tag}>`)[0];
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
};
const policy = `default-src 'none'; script-src ${hash("script")}; style-src ${hash("style")}; ` +
  `connect-src 'self' ${new URL(relay.issuer).origin}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** Values with an expiry, by the secret in a browser's cookie. */
class Kept extends Map {
  keep(value, forMs) {
    const name = randomBytes(32).toString("base64url");
    this.set(name, { value, until: Date.now() + forMs });
    return name;
  }

  forget() {
    for (const [name, { until }] of this) if (until < Date.now()) this.delete(name);
  }

  find(name) {
    const kept = this.get(name);
    return kept && kept.until >= Date.now() ? kept.value : undefined;
  }
}
const attempts = new Kept();
const sessions = new Kept();

class Refused extends Error {
  constructor(status) {
    super();
    this.status = status;
  }
}

/** What the page needs to show and watch an attempt: no API key, no name. */
function shown({ id, code, ticket, expires_in, opened_at }) {
  const left = opened_at + expires_in - Math.floor(Date.now() / 1000);
  return { url: `${relay.issuer}/v1/ceremonies/${id}`, id, code, ticket, expires_in: Math.max(0, left) };
}

const tries = new Map();
const known = new Set();
let minute = 0;

/** Counts unknown users too. Browsers in which the user has signed in do not count, so that an attacker
 * cannot lock the user out. */
function limit(username, browser) {
  const now = Math.floor(Date.now() / 60_000);
  if (now !== minute) tries.clear();
  minute = now;
  if (known.has(`${browser} ${username}`)) return;
  tries.set(username, (tries.get(username) ?? 0) + 1);
  if (tries.get(username) > TRIES_PER_USERNAME) throw new Refused(429);
}

async function signIn({ cookies, body, request, set }) {
  if (typeof body.username !== "string") throw new Refused(400);
  const browser = /^[\w-]{43}$/.test(cookies.browser) ? cookies.browser : randomBytes(32).toString("base64url");
  limit(body.username, browser);
  attempts.forget();
  sessions.forget();
  if (attempts.size >= MOST_ATTEMPTS) throw new Refused(503);
  // A browser has one attempt: cancel the earlier one.
  const earlier = attempts.find(cookies.waiting);
  attempts.delete(cookies.waiting);
  if (earlier) await relay.cancel(earlier).catch(console.error);
  const context = { ip: request.socket.remoteAddress, user_agent: request.headers["user-agent"], browser };
  const opened = await relay.open({ type: "authentication", username: body.username, context });
  set("waiting", attempts.keep({ ...opened, browser }, ATTEMPT_MS));
  set("browser", `${browser}; Max-Age=${BROWSER_S}`, "Lax");
  return shown(opened);
}

async function finish({ cookies, body, set }) {
  const opened = attempts.find(cookies.waiting);
  if (!opened || opened.id !== body.id) throw new Refused(404);
  const view = await relay.read(opened);
  if (view.status === "pending") return { status: "pending" };
  let { status } = view;
  if (status === "succeeded") {
    await relay.verify(view.result, opened).catch((error) => {
      // Without the relay's keys nothing is decided: keep the attempt, and let the page ask again.
      if (error instanceof RelayError) throw error;
      console.error(error);
      status = "unproven";
    });
  }
  // Of two concurrent calls one continues.
  if (!attempts.delete(cookies.waiting)) throw new Refused(404);
  set("waiting", "");
  if (status === "succeeded") {
    sessions.delete(cookies.session);
    set("session", sessions.keep(opened.username, SESSION_MS));
    if (known.size >= MOST_ATTEMPTS) known.delete(known.values().next().value);
    known.add(`${opened.browser} ${opened.username}`);
  }
  return { status, reason: view.reason };
}

async function cancel({ cookies, body }) {
  const opened = attempts.find(cookies.waiting);
  if (!opened || opened.id !== body.id) throw new Refused(404);
  await relay.cancel(opened);
  return {};
}

function me({ cookies }) {
  const attempt = attempts.find(cookies.waiting);
  return { username: sessions.find(cookies.session), attempt: attempt && shown(attempt) };
}

function signOut({ cookies, set }) {
  sessions.delete(cookies.session);
  set("session", "");
  return {};
}

const ROUTES = {
  "GET /me": me,
  "POST /sign-in": signIn,
  "POST /finish": finish,
  "POST /cancel": cancel,
  "POST /sign-out": signOut,
};

let origin = process.env.SHOP_ORIGIN;
const secure = Boolean(origin?.startsWith("https:"));
const prefix = secure ? "__Host-" : "";

async function bodyOf(request) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > 4096) throw new Refused(413);
  }
  try {
    return Object(JSON.parse(text || "{}"));
  } catch {
    throw new Refused(400);
  }
}

async function answer(request, response) {
  const cookies = {};
  for (const pair of (request.headers.cookie ?? "").split("; ")) {
    const [name, value] = pair.split("=");
    if (name.startsWith(prefix)) cookies[name.slice(prefix.length)] = value;
  }
  const set = (name, value, sameSite = "Strict") => response.appendHeader("Set-Cookie",
    `${prefix}${name}=${value}; Path=/; HttpOnly; SameSite=${sameSite}${secure ? "; Secure" : ""}${value ? "" : "; Max-Age=0"}`);
  response.setHeader("Cache-Control", "no-store");
  const route = `${request.method} ${request.url.split("?")[0]}`;
  if (route === "GET /") {
    response.setHeader("Content-Security-Policy", policy);
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    return response.end(page);
  }
  try {
    if (!Object.hasOwn(ROUTES, route)) throw new Refused(404);
    // Browsers send the Origin on every POST; other sites must not act for this visitor.
    if (request.method === "POST" && request.headers.origin !== origin) throw new Refused(403);
    const body = await bodyOf(request);
    const result = await ROUTES[route]({ cookies, body, request, set });
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(result));
  } catch (error) {
    const bad = error instanceof RelayError && [400, 422].includes(error.status);
    response.statusCode = error instanceof Refused ? error.status : bad ? 400 : 503;
    if (response.statusCode === 503) console.error(error);
    response.end();
  }
}

const server = createServer((request, response) => void answer(request, response));
server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => {
  const here = `http://127.0.0.1:${server.address().port}`;
  origin ??= here;
  console.log(`open: ${here}`);
});
