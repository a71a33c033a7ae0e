r"""A bank's backend in the backend-proxied pattern: registers a card, signs in, approves a payment.

    pip install -r requirements.txt
    fido-relay client create --name "Example Bank" \
        --scope ceremony:auth,ceremony:reg,ceremony:approve,ceremony:read,device:pair,prior_auth:assert
    export FIDO_RELAY_API_KEY=rk_...
    python backend_proxied.py http://127.0.0.1:8080

It opens ceremonies at fido-relay and waits for their outcome; challenges and answers do not pass
through it. Where it prints, a web application would render a page. It prints a pairing link for a
phone: run phone.py or `fido-relay phone --pair LINK` in another terminal.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import time
import uuid
from urllib.parse import quote

import jwt
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

WAIT = 25  # seconds for which the relay may hold one long poll
TIMEOUT = WAIT + 10
# Requests without an answer, or with 429 or 5xx, are retried, respecting Retry-After. This is safe
# for POST too: an open has an Idempotency-Key, and another pairing link does no harm.
REPEAT = Retry(
    total=4,
    allowed_methods=None,
    status_forcelist=[429, 500, 502, 503, 504],
    backoff_factor=0.2,
    backoff_jitter=0.2,
    raise_on_status=False,
)


class Relay:
    """The initiator's side of fido-relay: open, wait, verify."""

    def __init__(self, url, api_key):
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.mount(self._url, HTTPAdapter(max_retries=REPEAT))
        self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._client_id = self._call("GET", "/v1/clients/self")["client_id"]
        self._keys = {}

    def pair(self, username):
        """Returns a link that makes a phone this user's device. Authenticate the user first."""
        return self._call("POST", "/v1/pairings", json={"username": username})["uri"]

    def has_device(self, username):
        return bool(self._call("GET", f"/v1/users/{segment(username)}/devices")["devices"])

    def open(self, ceremony_type, username, **more):
        """Opens a ceremony. Retries send the same key and body, so they open no second one."""
        body = {"type": ceremony_type, "username": username, "client_nonce": uuid.uuid4().hex, **more}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return body, self._call("POST", "/v1/ceremonies", json=body, headers=headers)

    def outcome(self, ceremony_id, seen=lambda step: None):
        """Long-polls until the ceremony is closed."""
        since, reported = 0, set()
        while True:
            view = self._call("GET", f"/v1/ceremonies/{ceremony_id}?wait={WAIT}&since={since}")
            for entry in view["progress"]:
                if entry["seq"] not in reported:
                    reported.add(entry["seq"])
                    seen(entry["step"])
            since = view["seq"]
            if view["status"] != "pending":
                return view

    def verify(self, view, asked):
        """Returns the claims of the result token if they match what this backend opened."""
        token = view["result"]
        header = jwt.get_unverified_header(token)
        if header.get("typ") != "ceremony-result+jwt":
            raise jwt.InvalidTokenError("not a result token")
        claims = jwt.decode(
            token,
            self._key(header.get("kid")),
            algorithms=["ES256"],  # never the token's own `alg`
            audience=self._client_id,
            issuer=self._url,
            leeway=5,
            options={"require": ["iss", "aud", "sub", "jti", "iat", "exp"]},
        )
        expected = {
            "outcome": "succeeded",
            "jti": view["id"],
            "sub": asked["username"],
            "ceremony_type": asked["type"],
            "client_nonce": asked["client_nonce"],
            "binding": asked.get("binding", "code"),
        }
        if "transaction" in asked:
            expected["tx_hash"] = transaction_hash(asked["transaction"])
        for name, value in expected.items():
            if claims.get(name) != value:
                raise jwt.InvalidTokenError(f"{name} is not what was asked for")
        if "pin" not in claims.get("amr", []):
            raise jwt.InvalidTokenError("the card did not verify its user")
        return claims

    def _key(self, kid):
        """The relay's key; the cached set is fetched again for an unknown one."""
        if kid not in self._keys:
            shown = jwt.PyJWKSet.from_dict(self._call("GET", "/.well-known/jwks.json"))
            self._keys = {key.key_id: key for key in shown.keys}
        if kid not in self._keys:
            raise jwt.InvalidTokenError("signed by no key of the relay's")
        return self._keys[kid]

    def _call(self, method, path, **more):
        response = self._session.request(
            method, f"{self._url}{path}", timeout=TIMEOUT, allow_redirects=False, **more
        )
        if not response.ok:
            raise SystemExit(f"{method}: {problem(response)}")
        return response.json()


def segment(text):
    """Quotes one segment of a path."""
    return quote(text, safe="")


def problem(response):
    """The error of the relay (RFC 9457), or the status if something else answered."""
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return f"HTTP {response.status_code}"
    error = response.json()
    return f"{error['code']}: {error['title']} ({error.get('detail', 'no detail')})"


def transaction_hash(transaction):
    """SHA-256 of the transaction's canonical JSON (RFC 8785), base64url without padding.

    For strings with these ASCII keys, sorted keys and no blanks are sufficient for RFC 8785.
    """
    canonical = json.dumps(transaction, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def run(relay, ceremony_type, username, **more):
    """Runs one ceremony from opening to verified result."""
    asked, opened = relay.open(ceremony_type, username, **more)
    print(f"{ceremony_type}: type this code into the app: {opened['code']}")
    view = relay.outcome(opened["id"], seen=lambda step: print(f"  {step}"))
    if view["status"] != "succeeded":
        raise SystemExit(f"{ceremony_type}: {view['status']} ({view.get('reason', 'no reason')})")
    claims = relay.verify(view, asked)
    print(f"{ceremony_type}: succeeded, verified for {claims['sub']}, amr {claims['amr']}")
    return claims


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("relay_url", help="base URL of fido-relay")
    arguments.add_argument("--username", default="ada@example.com")
    given = arguments.parse_args()
    api_key = os.environ.get("FIDO_RELAY_API_KEY") or sys.exit("set FIDO_RELAY_API_KEY")
    sys.stdout.reconfigure(line_buffering=True)

    relay = Relay(given.relay_url, api_key)
    username = given.username
    if not relay.has_device(username):
        print(f"pair a phone: {relay.pair(username)}")
        while not relay.has_device(username):
            time.sleep(0.5)

    run(relay, "registration", username, display_name="Ada Lovelace")
    run(relay, "authentication", username, message="Sign in to Example Bank", prior_auth="password")
    payment = {
        "title": "Payment to Grace Hopper",
        "fields": [{"label": "Amount", "value": "120.00 EUR"}, {"label": "Reference", "value": "Rent"}],
    }
    claims = run(relay, "approval", username, transaction=payment, prior_auth="session")
    print(f"the payment is vouched for by the {claims['tx_binding']}")


if __name__ == "__main__":
    try:
        main()
    except requests.RequestException as error:
        sys.exit(f"the relay does not answer: {error}")
    except jwt.PyJWTError as error:
        sys.exit(f"not verified, nothing is done: {error}")
