"""Webhooks: only what the relay sent is accepted."""

import base64
import json
import time
from datetime import datetime, timezone
from typing import Any

import django.http.request
import httpx
import pytest
import starlette.datastructures
import werkzeug.datastructures
from conftest import SCOPES, Endpoint, Relay
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks.webhooks import Webhook
from werkzeug.datastructures import EnvironHeaders

from fido_relay import FidoRelay, InvalidWebhook, verify_webhook

BODY = b'{"type":"ceremony.closed","data":{"id":"cer_1"},"timestamp":"2026-11-23T18:00:00.042Z"}'
OLD, NEW = ("whsec_" + base64.b64encode(bytes([n] * 32)).decode() for n in (1, 2))
OLD_KEY, NEW_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))


def public(key: Ed25519PrivateKey) -> str:
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def v1(secret: str, at: int) -> str:
    when = datetime.fromtimestamp(at, tz=timezone.utc)
    return Webhook(secret).sign("msg_1", when, BODY.decode())


def v1a(key: Ed25519PrivateKey, at: int, body: bytes = BODY) -> str:
    signature = key.sign(f"msg_1.{at}.".encode() + body)
    return f"v1a,{base64.b64encode(signature).decode()}"


def headers(*signatures: str, at: int) -> dict[str, str]:
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": " ".join(signatures),
    }


def refusal(given: dict[str, str], body: bytes = BODY, **keys: Any) -> str:
    with pytest.raises(InvalidWebhook) as raised:
        verify_webhook(given, body, **keys)
    return raised.value.code


def test_any_valid_key_verifies() -> None:
    now = int(time.time())
    both = headers(v1a(OLD_KEY, now), v1a(NEW_KEY, now), v1(OLD, now), v1(NEW, now), at=now)
    for keys in [
        {"secrets": [OLD]},
        {"secrets": [NEW, OLD]},
        {"public_keys": [public(OLD_KEY)]},
        {"public_keys": [public(NEW_KEY)]},
    ]:
        event = verify_webhook(both, BODY, **keys)
        assert (event.webhook_id, event.type) == ("msg_1", "ceremony.closed")
        assert event.data == {"id": "cer_1"}
    last = headers(v1a(OLD_KEY, now), v1(OLD, now), at=now)
    verify_webhook(last, BODY, secrets=[NEW, OLD])
    verify_webhook(last, BODY, public_keys=[public(NEW_KEY), public(OLD_KEY)])
    verify_webhook(last, BODY, secrets=[NEW], public_keys=[public(OLD_KEY)])


def test_wrong_keys_bytes_and_times_are_refused() -> None:
    now = int(time.time())
    old = headers(v1a(OLD_KEY, now), v1(OLD, now), at=now)
    assert refusal(old, secrets=[NEW]) == "signature"
    assert refusal(old, public_keys=[public(NEW_KEY)]) == "signature"
    for keys in ({"secrets": [OLD]}, {"public_keys": [public(OLD_KEY)]}):
        verify_webhook(old, BODY, **keys)
        assert refusal(old, BODY + b" ", **keys) == "signature"
        assert refusal(old | {"Webhook-Id": "msg_2"}, **keys) == "signature"
        assert refusal(old | {"Webhook-Timestamp": str(now - 1)}, **keys) == "signature"
        assert refusal(old | {"Webhook-Timestamp": f"{now}.5"}, **keys) == "timestamp"
        assert refusal(old | {"Webhook-Signature": "v1,? v1a,? v1"}, **keys) == "signature"
        assert refusal(old | {"Webhook-Signature": ""}, **keys) == "headers"
        for at in (now - 400, now + 400):
            late = headers(v1a(OLD_KEY, at), v1(OLD, at), at=at)
            assert refusal(late, **keys) == "timestamp"
        lately = headers(v1a(OLD_KEY, now - 60), v1(OLD, now - 60), at=now - 60)
        assert refusal(lately, tolerance_s=30, **keys) == "timestamp"
        verify_webhook(lately, BODY, **keys)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"type":1,"timestamp":2,"data":3}',
        b'{"type":"a","timestamp":"b","data":[]}',
        b'{"type":"a","timestamp":"b"}',
        b"[]",
        b"null",
        b"\xff",
    ],
)
def test_a_signed_body_of_another_format_is_refused(body: bytes) -> None:
    now = int(time.time())
    signed = headers(v1a(OLD_KEY, now, body), at=now)
    assert refusal(signed, body, public_keys=[public(OLD_KEY)]) == "form"


def test_a_public_key_is_no_secret_and_no_key_verifies_nothing() -> None:
    now = int(time.time())
    # Signed with the public key as if it were a shared secret.
    forged = headers(v1("whsec_" + public(OLD_KEY).removeprefix("whpk_"), now), at=now)
    assert refusal(forged, public_keys=[public(OLD_KEY)]) == "signature"
    for keys in (
        {},
        {"secrets": [public(OLD_KEY)]},
        {"secrets": [OLD.removeprefix("whsec_")]},
        {"public_keys": ["whpk_short"]},
    ):
        with pytest.raises(ValueError):
            verify_webhook(forged, BODY, **keys)
    with pytest.raises(ValueError) as raised:
        verify_webhook(forged, BODY, secrets=["whsec_!secret"])
    assert "!secret" not in str(raised.value)


def test_a_relays_webhook_verifies_by_both_schemes(relay: Relay, endpoint: Endpoint) -> None:
    key = relay.client(scopes=f"{SCOPES},webhook:admin")["key"]
    with FidoRelay(relay.url, api_key=key) as bank:
        made = bank.webhooks.create(endpoint.url, schemes=["v1a", "v1"])
        opened = bank.open("authentication", "nobody")
        bank.cancel(opened.id)
    given, body = endpoint.next()
    public_keys = [one.public_key for one in made.keys if one.public_key]
    for keys in ({"secrets": [made.secret]}, {"public_keys": public_keys}):
        event = verify_webhook(given, body, **keys)
        assert (event.type, event.data["id"]) == ("ceremony.closed", opened.id)
        assert json.loads(body)["timestamp"] == event.timestamp
        assert event.data["seq"] == 60, "the number that every other road tells the end by"


def test_headers_of_every_framework_are_accepted() -> None:
    now = int(time.time())
    signed = headers(v1a(OLD_KEY, now), at=now)
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed.items()}
    for given in (
        EnvironHeaders(environ),
        werkzeug.datastructures.Headers(signed),
        starlette.datastructures.Headers(signed),
        django.http.request.HttpHeaders(environ),
        httpx.Headers(signed),
    ):
        event = verify_webhook(given, BODY, public_keys=[public(OLD_KEY)])
        assert event.webhook_id == "msg_1"
        with pytest.raises(InvalidWebhook):
            verify_webhook(given, BODY, public_keys=[public(NEW_KEY)])
