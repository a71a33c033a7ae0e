"""A phone in the backend-proxied pattern: pairs, holds the device socket, has the card sign.

    pip install -r requirements.txt
    python phone.py 'fido-relay://pair?relay=...&token=...'
    python phone.py --pull 'fido-relay://pair?relay=...&token=...'

With --pull it uses HTTP instead of a socket, as an app does after a push message.

Written from docs/protocol.md alone, like a mobile app. The user at the keyboard types the code of
the page, whether or not the phone asks for it, or "no", or "not me". The card is software_card.py
instead of the card SDK's registerCardOnly() and authenticateCardOnly(). Everything is kept in
memory; an app keeps its device key in the phone's key store.
"""

import argparse
import hashlib
import json
import queue
import random
import secrets
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from software_card import SoftwareCard, encode

NEVER_AGAIN = {4403: "this device was revoked", 4409: "a newer socket of this device took over",
               4426: "this app is too old"}
BACK_OFF_FIRST = {1002, 1003, 1007, 1008, 1009, 1013, 4429}
TRY_AGAIN = {"slow_down", "unavailable"}
TAKE_DOWN = {"claimed_elsewhere", "already_closed", "unknown_ceremony"}
CARD_UNKNOWN, NO_CREDENTIAL = 601, 602
ADVICE = {"pin_not_set": "set a PIN in the bank's app first",
          "already_registered": "this card is registered already: use it to sign in",
          "clone_suspected": "call the bank before you use this card again",
          "card_limit": "have a card removed that you no longer use"}
# A pairing that is refused temporarily is retried. One without an answer is not: the token may be
# used up, and the user asks for a new link.
AGAIN = Retry(total=4, connect=4, read=0, allowed_methods=None, status_forcelist=[429, 503],
              backoff_factor=0.2, raise_on_status=False)
CODE_REFUSED = {"wrong_code", "code_malformed", "other_device", "code_ambiguous", "too_many_codes",
                "device_locked"}
CODE_LIVES = 120  # seconds for which a code typed outside of a prompt waits for its answer
VERIFYING = 30  # seconds for which an answer may be verified after the ceremony's deadline


class DeviceKey:
    """The key that authenticates the phone to the relay; the card's key authenticates the user."""

    def __init__(self):
        self._private = ec.generate_private_key(ec.SECP256R1())
        point = self._private.public_key().public_numbers()
        x, y = (encode(number.to_bytes(32, "big")) for number in (point.x, point.y))
        self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def thumbprint(self):
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return encode(hashlib.sha256(canonical.encode()).digest())

    def sign(self, typ, claims):
        claims = {**claims, "iat": int(time.time())}
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"typ": typ})


def pair(link, name):
    """Pairs by a one-time link; returns the device key, device id, socket URL and relay URL."""
    parts = urlsplit(link)
    if (parts.scheme, parts.netloc) != ("fido-relay", "pair"):
        raise SystemExit("not a fido-relay://pair link")
    given = parse_qs(parts.query)
    relay, token = given["relay"][0], given["token"][0]
    url = f"{relay.rstrip('/')}/v1/devices"
    key = DeviceKey()
    token_hash = encode(hashlib.sha256(token.encode()).digest())
    claims = {"aud": url, "token_hash": token_hash, "jkt": key.thumbprint()}
    body = {
        "pairing_token": token,
        "jwk": key.jwk,
        "proof": key.sign("fido-relay-pairing+jwt", claims),
        "name": name,
        "platform": "other",
    }
    with requests.Session() as session:
        session.mount(url, HTTPAdapter(max_retries=AGAIN))
        try:
            response = session.post(url, json=body, timeout=15, allow_redirects=False)
        except requests.RequestException as error:
            raise SystemExit(f"not paired: the relay does not answer: {error}") from None
    if response.status_code == 201:
        device = response.json()
        return key, device["device_id"], device["socket_url"], relay.rstrip("/")
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        raise SystemExit(f"not paired: {response.json()['title']}")
    raise SystemExit(f"not paired: HTTP {response.status_code}")


def retry_after(headers):
    """`Retry-After` in seconds. The relay sends no dates, but a proxy may."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


class Phone:
    def __init__(self, key, device_id, socket_url):
        self._key, self._device_id, self._socket_url = key, device_id, socket_url
        self._card = SoftwareCard()
        self._socket = None
        self._prompts = {}  # ceremony id -> the shown prompt
        self._alone = None  # the claim of a code typed outside of a prompt
        self._noticed = set()
        self._run, self._claims = secrets.token_urlsafe(9), 0
        self._inbox = queue.Queue()  # frames from the relay, lines from the keyboard

    def run(self):
        threading.Thread(target=self._read_keyboard, daemon=True).start()
        failures = 0
        while True:
            started, code, wait = time.monotonic(), None, None
            try:
                code, wait = self._one_socket()
            except InvalidStatus as refusal:  # the upgrade was refused by an HTTP status
                if refusal.response.status_code == 426:
                    return "this app is too old"
                wait = 5 + retry_after(refusal.response.headers)
            except (OSError, InvalidHandshake) as problem:
                print(f"no socket: {problem}")
            if code in NEVER_AGAIN:
                return f"{NEVER_AGAIN[code]} ({code})"
            failures = 0 if time.monotonic() - started > 10 else failures + 1
            if code == 4401 and failures >= 5:
                return "the relay does not know this device: pair again"
            if wait is None:  # exponential backoff with full jitter
                wait = random.uniform(0, min(60, 0.5 * 2 ** min(failures, 16)))
                wait += 5 if code in BACK_OFF_FIRST else 0
            time.sleep(wait)

    def _one_socket(self):
        """Runs one socket to its end; returns the close code and the delay of a goaway."""
        wait = None
        with connect(self._socket_url, subprotocols=["fido-relay.v1"], compression=None,
                     max_size=512 * 1024) as socket:
            threading.Thread(target=self._read_socket, args=[socket], daemon=True).start()
            while True:
                self._take_down_overdue()
                try:
                    source, what = self._inbox.get(timeout=1)
                except queue.Empty:
                    continue
                if source == "keyboard":
                    self._typed(what)
                elif source is not socket:
                    continue  # from an earlier socket
                elif isinstance(what, ConnectionClosed):
                    self._socket = None
                    return (what.rcvd.code if what.rcvd else None), wait
                elif what["type"] in ("hello", "reauth"):
                    claims = {"aud": self._socket_url, "nonce": what["nonce"],
                              "device_id": self._device_id}
                    proof = self._key.sign("fido-relay-device+jwt", claims)
                    socket.send(json.dumps({"type": "auth", "proof": proof}))
                elif what["type"] == "welcome":
                    self._socket = socket
                    print("connected: if a page shows a code now, type it")
                    self._send_again()
                elif what["type"] == "goaway":
                    wait = what["reconnect_in_ms"] / 1000
                else:
                    self._frame(what)

    def _read_socket(self, socket):
        # The library answers the relay's pings, and sends its own to detect a dead connection.
        try:
            for text in socket:
                self._inbox.put((socket, json.loads(text)))
            socket.recv()  # after a clean close, this raises with the close code
        except ConnectionClosed as end:
            self._inbox.put((socket, end))

    def _read_keyboard(self):
        for line in sys.stdin:
            self._inbox.put(("keyboard", line.strip()))

    def _send(self, frame):
        """Sends if there is a socket; a lost frame is sent again when its prompt comes again."""
        if self._socket:
            try:
                self._socket.send(json.dumps(frame))
            except ConnectionClosed:
                pass  # the reader thread reports it

    # Frames of the relay about ceremonies.

    def _frame(self, frame):
        ceremony = frame.get("ceremony_id")
        match frame["type"]:
            case "offer":
                self._send({"type": "ack", "ceremony_id": ceremony, "of": "offer"})
                self._offered(frame)
            case "challenge":
                self._send({"type": "ack", "ceremony_id": ceremony, "of": "challenge"})
                self._challenged(frame)
            case "accepted":
                pass  # stored; the answer is kept until "closed" nevertheless
            case "closed":
                self._send({"type": "ack", "ceremony_id": ceremony, "of": "closed"})
                if self._prompts.pop(ceremony, None):
                    reason = frame.get("reason", "")
                    print(f"{frame['outcome']} {reason}".rstrip())
                    if reason in ADVICE:
                        print(f"  {ADVICE[reason]}")
            case "error":
                self._refused(frame)
            case "notice" if frame["event"] == "prompts_held":
                if frame["notice_id"] not in self._noticed:  # sent again on every socket
                    self._noticed.add(frame["notice_id"])
                    print(f"{frame['count']} prompts were held back: if you are at a page now, type "
                          f"its code; if you did not ask for them, \"not me\"")
            case _:
                pass  # unknown frames of a newer relay are ignored

    def _offered(self, offer):
        prompt = self._prompts.get(offer["ceremony_id"])
        if offer.get("by_code"):
            self._previewed(offer)
        elif prompt is None:
            self._prompts[offer["ceremony_id"]] = {"until": in_seconds(offer["expires_in"])}
            self._show(offer)
            print(f"Type the {offer['code_length']}-digit code of the page, \"no\" or \"not me\":")
        else:
            self._say_again(prompt)

    def _previewed(self, offer):
        """A typed code found this ceremony instead of the prompt that it was typed into, if any."""
        ceremony, claim_id = offer["ceremony_id"], offer.get("claim_id")
        code = None
        if self._alone and self._alone["claim_id"] == claim_id:
            code, self._alone = self._alone["code"], None
        for other, prompt in self._prompts.items():
            said = prompt.get("said", {})
            if said.get("type") == "claim" and said["claim_id"] == claim_id:
                if other == ceremony:  # the prompt's own: the relay did not know that it is shown
                    return self._say_again(prompt)
                code = prompt.pop("said")["code"]
                prompt["agreed"] = False
        prompt = self._prompts.setdefault(ceremony, {"until": in_seconds(offer["expires_in"])})
        if "said" in prompt:
            return self._say_again(prompt)
        prompt["found"] = code
        self._show(offer)
        browser = "a browser that you know" if offer["known_browser"] else "no browser that you know"
        rang = "was also shown to your phones" if offer["rang"] else "rang on no phone"
        print(f"  found by your code: it {rang}, and comes from {browser}")
        if offer["after_not_me"]:
            print('  You said "not me" a short while ago: if you did not just open this page yourself, '
                  'type "not me".')
        print('Did you open this page yourself, to do this? "yes" (or its code), "no" or "not me":')

    def _challenged(self, challenge):
        ceremony = challenge["ceremony_id"]
        prompt = self._prompts.get(ceremony)
        if prompt is None:  # no code needed, or the app was restarted: ask the user
            until = in_seconds(challenge["expires_in"])
            self._prompts[ceremony] = {"until": until, "challenge": challenge}
            self._show(challenge)
            print('Hold the card to the phone: "card", "no" or "not me":')
        elif prompt.get("challenge", {}).get("attempt") == challenge["attempt"]:
            self._say_again(prompt)  # the same attempt is the same prompt
        else:
            prompt["challenge"] = challenge
            if prompt.get("agreed"):
                self._hold_card(ceremony)

    def _refused(self, error):
        print(f"refused: {error['code']} ({error['message']})")
        ceremony, claim_id = error.get("ceremony_id"), error.get("claim_id")
        prompt = self._prompts.get(ceremony)
        if error["code"] in TRY_AGAIN:
            time.sleep(0.5)
            for prompt in [prompt] if prompt else self._prompts.values():
                self._say_again(prompt)
            if self._alone and not ceremony:
                self._send(self._alone)
        elif error["code"] in TAKE_DOWN:
            self._prompts.pop(ceremony, None)
        elif error["code"] in CODE_REFUSED and prompt:
            if prompt.get("said", {}).get("claim_id") == claim_id:  # not for an earlier code
                del prompt["said"]
                prompt.update(agreed=False, found=None)
                print("Type the code again:")
        elif not ceremony and self._alone and claim_id in (None, self._alone["claim_id"]):
            self._alone = None

    def _say_again(self, prompt):
        """Sends the user's or card's answer again, after the relay evidently did not receive it."""
        frame = prompt.get("answer") or prompt.get("said")
        if frame:
            self._send(frame)

    # Actions of the user and the card.

    def _show(self, offer):
        client, rp_id, person = (isolated(offer[name]) for name in ("client_name", "rp_id", "display_name"))
        print(f"\n{client} ({rp_id}) asks {person}: "
              f"{offer['ceremony_type']}, {offer['expires_in']} s left")
        if "message" in offer:
            print(f"  {isolated(offer['message'])}")
        if "transaction" in offer:
            print(f"  {isolated(offer['transaction']['title'])}")
            for field in offer["transaction"]["fields"]:
                print(f"    {isolated(field['label'])}: {isolated(field['value'])}")
        for name, value in offer.get("context", {}).items():
            print(f"  browser's {name}: {isolated(value)}")

    def _typed(self, line):
        waiting = [each for each in self._prompts.items() if "said" not in each[1]]
        waiting.sort(key=lambda each: not each[1].get("found"))  # previews of the user's code first
        ceremony, prompt = next(iter(waiting), (None, None))
        if not line:
            return
        if not ceremony:
            if line == "not me":  # about held-back prompts; it has no reply
                self._send({"type": "decline", "reason": "not_me"})
            else:
                self._alone, self._alone_until = self._claim(line), in_seconds(CODE_LIVES)
                self._send(self._alone)
            return
        if line in ("no", "not me"):
            reason = "declined" if line == "no" else "not_me"
            prompt["said"] = {"type": "decline", "ceremony_id": ceremony, "reason": reason}
            self._send(prompt["said"])
            return
        prompt["agreed"] = True
        if "challenge" in prompt:
            prompt["said"] = {"type": "card", "ceremony_id": ceremony, "event": "present"}
            self._hold_card(ceremony)
        else:
            code = prompt["found"] if line == "yes" and prompt.get("found") else line
            prompt["said"] = self._claim(code, ceremony)
            self._send(prompt["said"])

    def _claim(self, code, ceremony=None):
        """A claim; sent again with the same `claim_id` it counts once."""
        self._claims += 1
        named = {"ceremony_id": ceremony} if ceremony else {}
        return {"type": "claim", **named, "code": code, "claim_id": f"{self._run}.{self._claims}"}

    def _hold_card(self, ceremony):
        challenge = self._prompts[ceremony]["challenge"]
        self._send({"type": "card", "ceremony_id": ceremony, "event": "present"})
        try:
            if challenge["ceremony_type"] == "registration":
                credential = self._card.register(challenge["public_key"], challenge["origin"])
            else:
                credential = self._card.authenticate(challenge["public_key"], challenge["origin"])
        except (LookupError, ValueError) as problem:
            number = NO_CREDENTIAL if isinstance(problem, LookupError) else CARD_UNKNOWN
            print(f"the card failed: {problem}")
            self._send({"type": "card", "ceremony_id": ceremony, "event": "error", "code": number})
            return
        # Kept until "closed": sent again unchanged on a new socket, never signed again.
        self._prompts[ceremony]["answer"] = {
            "type": "answer",
            "ceremony_id": ceremony,
            "attempt": challenge["attempt"],
            "credential": credential,
        }
        self._prompts[ceremony]["until"] += VERIFYING
        self._send(self._prompts[ceremony]["answer"])

    def _take_down_overdue(self):
        """Ends are not reported after a reconnection, so prompts also expire locally."""
        for ceremony, prompt in list(self._prompts.items()):
            if time.monotonic() > prompt["until"]:
                del self._prompts[ceremony]
                print("time is up")
        if self._alone and time.monotonic() > self._alone_until:
            self._alone = None
            print("the code was not answered: look at the page, and type it again")

    def _send_again(self):
        """Sends again what the relay does not ask for on a new socket."""
        for prompt in self._prompts.values():
            if "answer" in prompt or ("found" in prompt and "said" in prompt):
                self._say_again(prompt)
        if self._alone:
            self._send(self._alone)


class PullingPhone(Phone):
    """The same phone without a socket: it polls for frames and posts its own by HTTP."""

    def __init__(self, key, device_id, relay):
        super().__init__(key, device_id, socket_url=None)
        self._relay = relay
        self._nonce, self._http = "", requests.Session()
        self._seen = set()  # (ceremony, attempt) of prompts, since each poll lists all of them
        self._looked = threading.Event()  # the frames of the last poll are processed

    def run(self):
        threading.Thread(target=self._read_keyboard, daemon=True).start()
        threading.Thread(target=self._keep_looking, daemon=True).start()
        while True:
            self._take_down_overdue()
            try:
                source, what = self._inbox.get(timeout=1)
            except queue.Empty:
                continue
            if source == "keyboard":
                self._typed(what)
            elif source == "end":
                return what
            else:
                # Remove ended prompts before showing new ones.
                for frame in sorted(what, key=lambda frame: frame["type"] in ("offer", "challenge")):
                    self._new(frame)
                self._looked.set()

    def _keep_looking(self):
        """In a separate thread: polls for changes."""
        state, failures, first = None, 0, True
        while True:
            try:
                answer = self._look(wait=25, since=state)
            except requests.RequestException as problem:
                print(f"no answer: {problem}")
                failures += 1
                time.sleep(random.uniform(0, min(60, 0.5 * 2 ** min(failures, 16))))
                continue
            if answer.status_code == 401:
                self._inbox.put(("end", "the relay does not know this device: pair again"))
                return
            if answer.status_code != 200:
                time.sleep(1 + retry_after(answer.headers))
                continue
            failures, state = 0, answer.json()["state"]
            if first:
                print("connected by pull: if a page shows a code now, type it")
                first = False
            self._looked.clear()
            self._inbox.put(("look", answer.json()["frames"]))
            self._looked.wait()
            time.sleep(retry_after(answer.headers))  # set if the relay is about to restart

    def _look(self, **query):
        """Polls for open prompts; the relay also reports the end of those named in `shown`."""
        shown = ",".join(list(self._prompts)[:16])
        query = {name: value for name, value in {**query, "shown": shown}.items() if value}
        return self._ask("GET", "/v1/device/ceremonies", query=query)

    def _ask(self, method, path, body=b"", query=None):
        """Sends a request with its proof; once more if the nonce was missing or expired."""
        for _ in range(2):
            url = self._relay + path
            claims = {"aud": self._relay, "htm": method, "htu": url, "device_id": self._device_id,
                      "jti": secrets.token_urlsafe(16), "nonce": self._nonce,
                      "body_sha256": encode(hashlib.sha256(body).digest())}
            proof = self._key.sign("fido-relay-pull+jwt", claims)
            headers = {"Authorization": f"DPoP {proof}"}
            if body:
                headers["Content-Type"] = "application/json"
            answer = self._http.request(method, url, params=query, data=body or None,
                                        headers=headers, timeout=70, allow_redirects=False)
            self._nonce = answer.headers.get("DPoP-Nonce", self._nonce)
            if answer.status_code != 401:
                break
        return answer

    def _new(self, frame):
        """Handles a frame, unless it is a prompt of an earlier poll."""
        named = (frame["type"], frame.get("ceremony_id"), frame.get("attempt"))
        if frame["type"] in ("offer", "challenge"):
            if named in self._seen:
                return
            self._seen.add(named)
        self._frame(frame)

    def _send(self, frame):
        """Posts a frame until the relay has answered; a repeated frame counts once."""
        path = "/v1/device" + (f"/ceremonies/{frame['ceremony_id']}" if "ceremony_id" in frame else "")
        body = json.dumps(frame).encode()
        for attempt in range(6):
            try:
                answer = self._ask("POST", f"{path}/{frame['type']}", body)
            except requests.RequestException:
                time.sleep(random.uniform(0, 0.5 * 2 ** attempt))
                continue
            kind = answer.headers.get("Content-Type", "")
            said = answer.json() if kind == "application/json" else {}
            if answer.status_code in (429, 503) and said.get("retryable", True):
                time.sleep(retry_after(answer.headers) + 0.1)
                continue
            if said:
                self._frame(said)
                if said["type"] == "offer":
                    self._look()  # ends the wait of the other poll, which lacks this prompt
            elif answer.status_code >= 400:
                print(f"refused: HTTP {answer.status_code}")
            return
        print("the relay does not answer")

    def _say_again(self, prompt):
        pass  # every frame was acknowledged by its HTTP answer


def isolated(text):
    """Isolates a text so that it cannot reorder its surroundings (docs/protocol.md, section 8).
    ASCII needs no isolates, which not every terminal supports."""
    return text if text.isascii() else f"\u2068{text}\u2069"


def in_seconds(seconds):
    return time.monotonic() + seconds


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("link", help="the pairing link: fido-relay://pair?relay=...&token=...")
    arguments.add_argument("--name", default="Python phone", help="what the person calls the phone")
    arguments.add_argument("--pull", action="store_true", help="hold no socket, ask by HTTP")
    given = arguments.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    key, device_id, socket_url, relay = pair(given.link, given.name)
    print(f"paired as {device_id}")
    phone = PullingPhone(key, device_id, relay) if given.pull else Phone(key, device_id, socket_url)
    try:
        sys.exit(phone.run())
    except KeyboardInterrupt:
        print("bye")


if __name__ == "__main__":
    main()
