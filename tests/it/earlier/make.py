"""Makes the data directory of a version with every state in it, for the tests in `earlier.rs`.

    python tests/it/earlier/make.py path/to/that/fido-relay tests/it/earlier/0.1.0.tar.gz

The archive holds the directory as SIGKILL left it (`data`), one phone of that version with its card
(`ada.json`), and what that version said of its content (`told.json`). Needs `cryptography` and a
minute; run it once for each release, and keep the earlier archives: each later version opens all.
"""

import atexit
import base64
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

PROGRAM, ARCHIVE = sys.argv[1], sys.argv[2]
PORT, UPSTREAM_PORT, HOOKS_PORT = 18740, 18741, 18742
URL = f"http://127.0.0.1:{PORT}"
HOME = pathlib.Path(tempfile.mkdtemp())
ENV = {
    "FIDO_RELAY_DATA_DIR": str(HOME / "data"),
    "FIDO_RELAY_LISTEN": f"127.0.0.1:{PORT}",
    "FIDO_RELAY_RECEIPTS": "true",
    "FIDO_RELAY_WEBHOOKS__ALLOW_LOOPBACK_HTTP": "true",
}
EXTERNAL = {
    "FIDO_RELAY_UPSTREAM__URL": f"http://127.0.0.1:{UPSTREAM_PORT}",
    "FIDO_RELAY_TENANT__RP_ID": "localhost",
}
LONGEST = 600


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Hooks(Quiet):
    """Takes what is sent to /ok, is gone at /gone and down everywhere else."""

    def do_POST(self):
        self.body()
        self.answer({"/ok": 200, "/gone": 410}.get(self.path, 503))


class Upstream(Quiet):
    """A FIDO2 server that agrees, except with users whose names say otherwise."""

    def do_POST(self):
        order = json.loads(self.body() or b"{}")
        user = order.get("username") or self.headers.get("Cookie", "").partition("=")[2]
        if self.path.endswith("/result"):
            if user in ("leo", "mia"):
                time.sleep(LONGEST)
            if user == "rosa":
                refusal = {"status": "failed", "errorMessage": "the signature is wrong"}
                return self.answer(400, json.dumps(refusal).encode(), Content_Type="application/json")
            return self.answer(200, b'{"status":"ok","errorMessage":""}', Content_Type="application/json")
        if user == "jane":
            time.sleep(LONGEST)
        if user == "sven":
            return self.answer(500)
        options = {
            "status": "ok",
            "errorMessage": "",
            "challenge": b64(os.urandom(24)),
            "rp": {"id": "localhost", "name": "Example"},
            "user": {"id": b64(user.encode()), "name": user, "displayName": user},
            "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        }
        cookie = f"session={user}; Path=/; HttpOnly"
        self.answer(200, json.dumps(options).encode(), Content_Type="application/json", Set_Cookie=cookie)


def listen(port, handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments], env=ENV, cwd=HOME, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def start(*arguments, **more):
    process = subprocess.Popen([PROGRAM, *arguments], env=ENV | more, cwd=HOME, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)
    return process


def serve(**more):
    relay = start("serve", **more)
    until(lambda: call("GET", "/readyz", fails=True)[0] == 200)
    return relay


def until(holds):
    for _ in range(400):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError


def call(method, path, body=None, fails=False, **headers):
    headers = {"Authorization": f"Bearer {KEY}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    if isinstance(body, dict):
        body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(URL + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if text.startswith(("{", "[")) else text
    except (urllib.error.URLError, OSError) as error:
        if not fails:
            sys.exit(f"{method} {path}: {error} {getattr(error, 'read', str)()}")
        return getattr(error, "code", 0), None


def opens(user, kind="registration", binding="none", key=None, **more):
    order = {"type": kind, "username": user, "binding": binding, "prior_auth": "session"} | more
    headers = {"Idempotency-Key": key} if key else {}
    opened = call("POST", "/v1/ceremonies", order, **headers)[1]
    OPENED[opened["id"]] = order
    if key:
        KEYS[key] = opened["id"]
    return opened


def phone(user, opened, *faults, pair=True):
    arguments = ["phone", "--state", str(HOME / f"{user}.json"), "--name", f"phone of {user}", "--once"]
    if pair:
        arguments += ["--pair", call("POST", "/v1/pairings", {"username": user})[1]["uri"]]
    if "code" in opened:
        arguments += ["--code", opened["code"]]
    process = start(*arguments, *faults)
    if "--withhold-card" not in faults:
        threading.Thread(target=say_yes, args=(process,), daemon=True).start()
    return process


def say_yes(process):
    """Presses Enter again and again: the card is held to the phone."""
    while process.poll() is None:
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
        except OSError:
            return
        time.sleep(0.2)


def view(opened):
    return call("GET", f"/v1/ceremonies/{opened['id']}")[1]


def comes_to(opened, **fields):
    try:
        until(lambda: fields.items() <= view(opened).items())
    except TimeoutError:
        sys.exit(f"not {fields}: {view(opened)}")


def nobody(member):
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


KEY, OPENED, KEYS = "", {}, {}
listen(UPSTREAM_PORT, Upstream)
listen(HOOKS_PORT, Hooks)

# Clients: one with an API key that may do everything, one with a key pair.
SCOPES = "ceremony:auth,ceremony:reg,ceremony:approve,ceremony:read,device:pair,device:revoke,presence:read,webhook:admin"
KEY = run("client", "create", "--name", "Shop", "--scope", SCOPES, "--binding", "code,none", "--new-store", "--quiet").strip()
pair = ec.generate_private_key(ec.SECP256R1())
numbers = pair.public_key().public_numbers()
jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}
(HOME / "terminal.jwk").write_text(json.dumps(jwk))
terminal = json.loads(run("client", "create", "--name", "Terminal", "--jwk", str(HOME / "terminal.jwk"), "--json"))

# The built-in FIDO2 server.
relay = serve()
shop = call("GET", "/v1/clients/self")[1]["client_id"]
for path in ("ok", "gone", "down"):
    run("webhook", "add", shop, f"http://127.0.0.1:{HOOKS_PORT}/{path}", "--event", "ceremony.closed,device.paired,device.revoked,user.not_me")
expires = opens("erin", timeout_s=30)
assert phone("ada", opens("ada", key="order-1")).wait(60) == 0
for kind, more in (("authentication", {}), ("approval", {"transaction": {"title": "Payment to Charles", "fields": [{"label": "Amount", "value": "120.00 EUR"}]}, "client_nonce": "order-4711"})):
    assert phone("ada", opens("ada", kind, "code", key=kind, **more), pair=False).wait(60) == 0
assert phone("bob", opens("bob"), "--decline").wait(60) == 3
assert phone("carol", opens("carol"), "--not-me").wait(60) == 3
opens("carol", timeout_s=LONGEST)
cancelled = opens("gina", "registration", "code")
process = phone("gina", cancelled, "--withhold-card")
comes_to(cancelled, phase="challenged")
call("DELETE", f"/v1/ceremonies/{cancelled['id']}")
assert process.wait(60) == 3
device = call("GET", "/v1/users/gina/devices")[1]["devices"][0]["device_id"]
call("DELETE", f"/v1/devices/{device}")
void = call("POST", "/v1/pairings", {"username": "nora"})[1]
wrong = void["typed_code"][:-1] + ("0" if void["typed_code"][-1] != "0" else "1")
for _ in range(5):
    order = {"typed_code": wrong, "jwk": jwk, "platform": "other", "proof": "e30.e30.AA"}
    assert call("POST", "/v1/devices", order, fails=True)[0] == 401
call("POST", "/v1/pairings", {"username": "olaf"})
ticket = call("POST", f"/v1/ceremonies/{cancelled['id']}/events/ticket", Authorization=f"Bearer {cancelled['ticket']}")[1]["ticket"]
urllib.request.urlopen(f"{URL}/v1/ceremonies/{cancelled['id']}/events?ticket={urllib.parse.quote(ticket)}").read()
now = int(time.time())
head = b64(json.dumps({"alg": "ES256", "typ": "JWT", "kid": terminal["kid"]}).encode())
ident = terminal["client_id"]
claims = {"iss": ident, "sub": ident, "aud": f"{URL}/oauth/token", "iat": now, "exp": now + 60, "jti": "once"}
signed = f"{head}.{b64(json.dumps(claims).encode())}"
r, s = utils.decode_dss_signature(pair.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
form = {"grant_type": "client_credentials", "client_assertion": f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
request = urllib.request.Request(f"{URL}/oauth/token", urllib.parse.urlencode(form).encode())
urllib.request.urlopen(request).read()
comes_to(expires, status="expired")
relay.send_signal(signal.SIGTERM)
relay.wait()

# An external FIDO2 server, which fails and hangs; SIGKILL in the middle of completions.
relay = serve(**EXTERNAL)
for user, status in (("rosa", "rejected"), ("sven", "failed")):
    opened = opens(user)
    phone(user, opened)
    comes_to(opened, status=status)
lost = opens("mia")
phone("mia", lost)
comes_to(lost, phase="verifying")
relay.kill()
relay.wait()
relay = serve(**EXTERNAL)
comes_to(lost, status="indeterminate")
opens("henry", "authentication", "code", key="open", timeout_s=LONGEST)
opens("ivan", timeout_s=LONGEST)
challenged = opens("kate", "registration", "code", timeout_s=LONGEST)
phones = [phone("kate", challenged, "--withhold-card")]
claimed = opens("jane", "registration", "code", timeout_s=LONGEST)
phones.append(phone("jane", claimed))
verifying = opens("leo", timeout_s=LONGEST)
phones.append(phone("leo", verifying))
comes_to(challenged, phase="challenged")
comes_to(claimed, phase="preparing")
comes_to(verifying, phase="verifying")
hooks = call("GET", "/v1/webhooks")[1]["webhooks"]
TOLD = {
    "made_at": int(time.time() * 1000),
    "key": KEY,
    "ceremonies": {id: call("GET", f"/v1/ceremonies/{id}")[1] for id in OPENED},
    "orders": {key: {"id": id, "body": json.dumps(OPENED[id])} for key, id in KEYS.items()},
    "get": {path: call("GET", path)[1] for path in [
        "/v1/clients/self", "/v1/webhooks", "/.well-known/jwks.json",
        *(f"/v1/users/{user}/devices" for user in ("ada", "bob", "gina")),
        *(f"/v1/webhooks/{hook['id']}/deliveries" for hook in hooks)]},
}
relay.kill()
relay.wait()
(HOME / "told.json").write_text(json.dumps(TOLD, indent=1))
with tarfile.open(ARCHIVE, "w:gz", compresslevel=9) as archive:
    for name in ("data", "ada.json", "told.json"):
        archive.add(HOME / name, name, filter=nobody)
print(os.path.getsize(ARCHIVE), "bytes;", *((v["phase"], v["status"]) for v in TOLD["ceremonies"].values()))
