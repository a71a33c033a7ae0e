// The sample's backend, in Node without a package: it opens ceremonies with its API key, gives the
// page a ticket to watch, and signs in the user of a verified result. Sessions are in memory.
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { Relay, RelayError } from "../node/relay.mjs";

const RELAY = process.env.FIDO_RELAY_URL ?? "http://127.0.0.1:8080";
const KEY = process.env.FIDO_RELAY_API_KEY;
const [HOST, PORT] = (process.argv[2] ?? "127.0.0.1:8000").split(/:(?=\d+$)/);
const FILES = { "/": ["index.html", "text/html"], "/app.js": ["app.js", "text/javascript"], "/style.css": ["style.css", "text/css"] };
const POLICY = `default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ${new URL(RELAY).origin}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
const BODY_BYTES = 4096;
const SESSION_MS = 30 * 60_000;
/** How long a success can be redeemed and an attempt is kept. */
const REDEEM_S = 120;
const ATTEMPT_MS = 15 * 60_000;
const MOST = 10_000;
/** How long the relay recognises a browser after a success. */
const KNOWN_S = 90 * 86_400;

/** By ceremony: the cookies of the browser that asked, and the outcome once known. */
const attempts = new Map();
/** By the session cookie. */
const sessions = new Map();

class Refused extends Error {
  constructor(status) {
    super(`refused: ${status}`);
    this.status = status;
  }
}

const relay = await Relay.connect({ url: RELAY, apiKey: KEY, maxAge: REDEEM_S });

/** Phases 1 and 2: opens a ceremony; the browser gets the code and the ticket. */
async function signIn(browser, { username }, context) {
  if (typeof username !== "string" || username === "") throw new Refused(400);
  const opened = await relay.open({ type: "authentication", username, context }).catch((error) => {
    throw [400, 422].includes(error.status) ? new Refused(400) : error;
  });
  forget(attempts, ATTEMPT_MS);
  attempts.set(opened.id, { browsers: [browser], opened, at: Date.now() });
  const { id, code, ticket, expires_in } = opened;
  return { id, code, ticket, expires_in, url: `${RELAY}/v1/ceremonies/${id}` };
}

/** Only the browser that asked finds its sign-in. */
function own(browser, id) {
  const attempt = attempts.get(id);
  if (!attempt?.browsers.includes(browser)) throw new Refused(404);
  return attempt;
}

/** Phases 4 and 5: verifies the result and signs the browser in, once. */
async function finish(browser, id, request, response) {
  const attempt = own(browser, id);
  if (!attempt.status) {
    const ceremony = await relay.read(attempt.opened);
    let { status } = ceremony;
    if (status === "succeeded") {
      await relay.verify(ceremony.result, attempt.opened).catch((error) => {
        // An unreachable relay may answer the next time.
        if (error instanceof RelayError) throw error;
        console.error(`${id}: ${error.message}`);
        status = "unproven";
      });
    }
    // Of two concurrent requests the first one decides.
    if (!attempt.status && status !== "pending") {
      attempt.status = status;
      if (status === "succeeded") begin(attempt, browser, request, response);
    }
  }
  return { status: attempt.status ?? "pending" };
}

async function cancel(browser, id) {
  await relay.cancel(own(browser, id).opened);
  return {};
}

/** A sign-in invalidates both earlier cookies. */
function begin(done, browser, request, response) {
  forget(sessions, SESSION_MS);
  sessions.delete(cookie(request, "session"));
  const [session, renewed] = [random(), random()];
  sessions.set(session, { username: done.opened.username, at: Date.now() });
  // Attempts of other tabs continue.
  for (const attempt of attempts.values()) if (attempt.browsers.includes(browser)) attempt.browsers = [renewed];
  // If this answer is lost, the browser asks again with its old cookies, and gets only the status.
  done.browsers.push(browser);
  keep(response, "session", session);
  keep(response, "browser", renewed);
}

const random = () => randomBytes(32).toString("base64url");

/** Drops expired entries, and the oldest of too many. */
function forget(kept, mostMs) {
  for (const [id, { at }] of kept) {
    if (at + mostMs > Date.now() && kept.size < MOST) return;
    kept.delete(id);
  }
}

/** SameSite and JSON bodies exclude other sites, the prefix other hosts of this domain. */
function keep(response, name, value, sameSite = "Strict") {
  response.appendHeader("Set-Cookie", `__Host-${name}=${value}; Path=/; HttpOnly; SameSite=${sameSite}; Secure`);
}

function cookie(request, name) {
  return new RegExp(`(?:^|; )__Host-${name}=([\\w-]+)`).exec(request.headers.cookie ?? "")?.[1];
}

async function json(request) {
  if (request.headers["content-type"] !== "application/json") throw new Refused(415);
  let text = "";
  for await (const piece of request.setEncoding("utf8")) {
    text += piece;
    if (text.length > BODY_BYTES) throw new Refused(413);
  }
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new Refused(400);
  }
}

async function answer(request, response, pathname) {
  const [, id, what] = /^\/api\/sign-in\/([\w-]+)\/(finish|cancel)$/.exec(pathname) ?? [];
  const session = sessions.get(cookie(request, "session"));
  if (request.method === "GET" && pathname === "/api/me") {
    return { username: session && session.at + SESSION_MS > Date.now() ? session.username : null };
  }
  if (request.method !== "POST") throw new Refused(404);
  const body = await json(request);
  let browser = cookie(request, "browser");
  if (pathname === "/api/sign-in") {
    // One for all tabs, so that a second tab's sign-in does not affect the first.
    if (!browser) keep(response, "browser", (browser = random()));
    // Outlives sessions, so that the relay recognises this browser; it does not authenticate.
    const known = cookie(request, "known") ?? random();
    keep(response, "known", `${known}; Max-Age=${KNOWN_S}`, "Lax");
    const context = { ip: request.socket.remoteAddress, user_agent: request.headers["user-agent"], browser: known };
    return signIn(browser, body, context);
  }
  if (what === "finish") return finish(browser, id, request, response);
  if (what === "cancel") return cancel(browser, id);
  if (pathname !== "/api/sign-out") throw new Refused(404);
  sessions.delete(cookie(request, "session"));
  keep(response, "session", "; Max-Age=0");
  return {};
}

const server = createServer(async (request, response) => {
  response.setHeader("Cache-Control", "no-store");
  response.setHeader("Content-Security-Policy", POLICY);
  response.setHeader("X-Content-Type-Options", "nosniff");
  const [pathname] = request.url.split("?");
  const [file, type] = (request.method === "GET" && FILES[pathname]) || [];
  try {
    const text = file ? await readFile(new URL(`public/${file}`, import.meta.url)) : JSON.stringify(await answer(request, response, pathname));
    response.setHeader("Content-Type", file ? `${type}; charset=utf-8` : "application/json");
    response.end(text);
  } catch (error) {
    const status = error instanceof Refused ? error.status : 503;
    if (status === 503) console.error(`${request.method} ${request.url}: ${error.message}`);
    response.statusCode = status;
    response.setHeader("Content-Type", "application/json");
    response.end("{}");
  }
});

server.listen(Number(PORT), HOST, () => console.log(`the shop is open: http://${HOST}:${server.address().port}`));
