"""Verifies webhooks of the relay: Standard Webhooks 1.0, `v1` by its official library, `v1a`
(Ed25519, which the library lacks) by the specification."""

import base64
import binascii
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from ._parse import parse
from .errors import InvalidWebhook

TOLERANCE_S = 300
"""Between the sender's clock and this one; also the official library's limit."""


class WebhookHeaders(Protocol):
    """The headers object of any framework (Flask, Starlette, Django) or a plain mapping."""

    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True)
class WebhookEvent:
    """A notification. It decides nothing: read the ceremony with your own credential."""

    webhook_id: str
    """The same in every retry: remember it for three days, act once."""
    type: str
    timestamp: str
    data: Mapping[str, Any] = field(repr=False)


def verify_webhook(
    headers: WebhookHeaders,
    body: bytes,
    *,
    secrets: Sequence[str] = (),
    public_keys: Sequence[str] = (),
    tolerance_s: int = TOLERANCE_S,
) -> WebhookEvent:
    """Returns the event if one of the keys signed exactly these bytes recently.

    `secrets` are `whsec_…` (`v1`), `public_keys` are `whpk_…` (`v1a`); during a rotation pass the
    old and the new. Signatures of a scheme without a key are ignored.

    Raises `InvalidWebhook`; `ValueError` without any key, or for an invalid one.
    """
    if not secrets and not public_keys:
        raise ValueError("no key to verify with: give a secret or a public key")
    if not 0 < tolerance_s <= TOLERANCE_S:
        raise ValueError(f"tolerance_s must be 1 to {TOLERANCE_S}")
    shared = [_secret(secret) for secret in secrets]
    public = [_public_key(key) for key in public_keys]
    given = {name.lower(): value for name, value in headers.items()}
    named = {name: given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")}
    if not all(named.values()):
        raise InvalidWebhook("headers")
    timestamp = named["timestamp"]
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidWebhook("timestamp")
    if abs(time.time() - int(timestamp)) > tolerance_s:
        raise InvalidWebhook("timestamp")
    official = {f"webhook-{name}": value for name, value in named.items()}
    # The library fails on entries of unknown formats.
    entries = (entry for entry in named["signature"].split(" ") if entry.startswith("v1,"))
    official["webhook-signature"] = " ".join(entries)
    signed = f"{named['id']}.{timestamp}.".encode() + body
    if not (
        any(_v1(secret, official, body) for secret in shared)
        or any(_v1a(key, named["signature"], signed) for key in public)
    ):
        raise InvalidWebhook("signature")
    try:
        return parse(WebhookEvent, {**json.loads(body), "webhook_id": named["id"]})
    except (ValueError, TypeError, RecursionError):
        raise InvalidWebhook("form") from None


def _secret(text: str) -> Webhook:
    try:
        key = _decode(text.removeprefix("whsec_"))
    except ValueError:
        key = b""
    if not (key and text.startswith("whsec_")):
        # The message must not contain the text: it is a secret.
        raise ValueError("a secret must be whsec_ and base64")
    return Webhook(key)


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(_decode(text.removeprefix("whpk_")))
    except ValueError:
        raise ValueError("a public key must be whpk_ and 32 bytes in base64") from None


def _v1(secret: Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, headers, json_parse=False)
        return True
    except (WebhookVerificationError, ValueError):
        # ValueError: a malformed entry, or a body that is not text.
        return False


def _v1a(key: Ed25519PublicKey, signatures: str, signed: bytes) -> bool:
    for entry in signatures.split(" "):
        version, _, signature = entry.partition(",")
        if version != "v1a":
            continue
        try:
            key.verify(_decode(signature), signed)
            return True
        except (InvalidSignature, ValueError):
            continue
    return False


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
