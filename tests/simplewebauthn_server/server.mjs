// An independent FIDO2 server for the tests: @simplewebauthn/server on Node's own HTTP server, with
// a random session cookie tying complete to begin.
//
// Listens on a free port of 127.0.0.1, prints the port as its first line, and ends when its
// standard input is closed. Everything is in memory.
//
//     node server.mjs [--origin ORIGIN]...            origins accepted besides the server's own
//                     [--cert FILE --key FILE]        TLS, for localhost
//                     [--client-ca FILE]              which requires a client certificate of it

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { parseArgs } from "node:util";

import {
  generateAuthenticationOptions,
  generateRegistrationOptions,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from "@simplewebauthn/server";

const { values: given } = parseArgs({
  options: {
    origin: { type: "string", multiple: true, default: [] },
    cert: { type: "string" },
    key: { type: "string" },
    "client-ca": { type: "string" },
  },
});
const BODY_MAX = 8 * 1024;
const origins = [...given.origin];
const accounts = new Map(); // relying party id and username -> { handle, credentials }
const sessions = new Map(); // cookie -> { kind, rpID, account, challenge, required }

class Failure extends Error {
  constructor(http, status, message, code = "") {
    super(message);
    this.http = http;
    this.answer = { status, errorMessage: message, statuscode: code };
  }
}

function text(body, name, otherwise) {
  const value = body[name] ?? otherwise;
  if (typeof value !== "string" || value.length < 1 || value.length > 255) {
    throw new Failure(400, "failed", `${name} must be a string of 1 to 255 characters`);
  }
  return value;
}

function account(body) {
  const key = JSON.stringify([text(body, "rpId"), text(body, "username")]);
  if (!accounts.has(key)) accounts.set(key, { handle: randomBytes(32), credentials: [] });
  return accounts.get(key);
}

function remember(response, session) {
  const sid = randomBytes(16).toString("hex");
  sessions.set(sid, session);
  response.setHeader("Set-Cookie", `sid=${sid}; Path=/fidoapi; HttpOnly; Secure`);
}

function recall(request, kind) {
  const sid = /(?:^|; )sid=([0-9a-f]+)/.exec(request.headers.cookie ?? "")?.[1];
  const session = sessions.get(sid);
  sessions.delete(sid);
  if (session?.kind !== kind) throw new Failure(408, "false", "session expired", "E0024R");
  return session;
}

async function verified(verify, session, options) {
  const expected = {
    expectedChallenge: session.challenge,
    expectedOrigin: origins,
    expectedRPID: session.rpID,
    requireUserVerification: session.required,
  };
  try {
    const result = await verify({ ...expected, ...options });
    if (result.verified) return result;
  } catch (error) {
    throw new Failure(401, "failed", error.message);
  }
  throw new Failure(401, "failed", "not verified");
}

async function beginRegistration(body, _request, response) {
  const { handle, credentials } = account(body);
  const options = await generateRegistrationOptions({
    rpName: body.rpId,
    rpID: body.rpId,
    userName: body.username,
    userID: handle,
    userDisplayName: text(body, "displayName", body.username),
    excludeCredentials: credentials.map(({ id }) => ({ id })),
    authenticatorSelection: { userVerification: body.userVerification ?? "preferred" },
  });
  const required = body.userVerification === "required";
  const { challenge } = options;
  remember(response, { kind: "register", rpID: body.rpId, account: account(body), challenge, required });
  return options;
}

async function completeRegistration(body, request) {
  const session = recall(request, "register");
  const result = await verified(verifyRegistrationResponse, session, { response: body });
  session.account.credentials.push(result.registrationInfo.credential);
  return {};
}

async function beginAuthentication(body, _request, response) {
  const known = account(body);
  if (known.credentials.length === 0) throw new Failure(403, "failed", "no account for that user");
  const options = await generateAuthenticationOptions({
    rpID: body.rpId,
    allowCredentials: known.credentials.map(({ id }) => ({ id })),
    userVerification: body.userVerification ?? "preferred",
  });
  const required = body.userVerification === "required";
  const { challenge } = options;
  remember(response, { kind: "sign in", rpID: body.rpId, account: known, challenge, required });
  return options;
}

async function completeAuthentication(body, request) {
  const session = recall(request, "sign in");
  const credential = session.account.credentials.find(({ id }) => id === body.id);
  if (!credential) throw new Failure(401, "failed", "another user's card");
  const options = { response: body, credential };
  const result = await verified(verifyAuthenticationResponse, session, options);
  credential.counter = result.authenticationInfo.newCounter;
  return {};
}

const routes = new Map(
  [
    [beginRegistration, "certify/attestation/options", "register/begin"],
    [completeRegistration, "certify/attestation/result", "register/complete"],
    [beginAuthentication, "certify/assertion/options", "authenticate/begin"],
    [completeAuthentication, "certify/assertion/result", "authenticate/complete"],
  ].flatMap(([handler, ...paths]) => paths.map((path) => [`POST /fidoapi/${path}`, handler])),
);

async function body(request) {
  let read = "";
  for await (const chunk of request) {
    read += chunk;
    if (read.length > BODY_MAX) throw new Failure(413, "failed", "too large");
  }
  const parsed = JSON.parse(read);
  if (parsed?.constructor !== Object) throw new Failure(400, "failed", "not a JSON object");
  return parsed;
}

async function serve(request, response) {
  let status = 200;
  let answer;
  try {
    const handler = routes.get(`${request.method} ${request.url}`);
    if (!handler) throw new Failure(404, "failed", "not found");
    answer = { status: "ok", errorMessage: "", ...(await handler(await body(request), request, response)) };
  } catch (error) {
    const failure = error instanceof Failure ? error : new Failure(400, "failed", error.message);
    status = failure.http;
    answer = failure.answer;
  }
  response.writeHead(status, { "Content-Type": "application/json; charset=utf-8" });
  response.end(JSON.stringify(answer));
}

const file = (name) => (given[name] ? readFileSync(given[name]) : undefined);
const server = given.cert
  ? https.createServer(
      {
        cert: file("cert"),
        key: file("key"),
        ca: file("client-ca"),
        requestCert: Boolean(given["client-ca"]),
        rejectUnauthorized: Boolean(given["client-ca"]),
      },
      serve,
    )
  : http.createServer(serve);
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  origins.push(given.cert ? `https://localhost:${port}` : `http://127.0.0.1:${port}`);
  console.log(port);
});
process.stdin.on("end", () => process.exit(0)).resume();
