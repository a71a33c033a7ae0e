"""Verifies webhooks as a receiver does: `v1` by the official library, `v1a` (which that does not
know) by the specification's own words. Reads {"secret", "public_key", "headers", "body"} a line
from standard input; prints what the library parsed, or fails."""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def v1a_is_good(public_key: str, headers: dict, body: str) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    for one in headers["webhook-signature"].split(" "):
        version, signature = one.split(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(signature), signed)
            return True
        except InvalidSignature:
            pass
    return False


for line in sys.stdin:
    given = json.loads(line)
    headers, body, webhook = given["headers"], given["body"], Webhook(given["secret"])
    parsed = webhook.verify(body, headers)
    assert v1a_is_good(given["public_key"], headers, body), "v1a"
    for name in ["webhook-id", "webhook-timestamp"]:
        changed = headers | {name: headers[name][:-1] + ("1" if headers[name][-1] != "1" else "2")}
        try:
            webhook.verify(body, changed)
            sys.exit(f"a changed {name} was taken")
        except WebhookVerificationError:
            assert not v1a_is_good(given["public_key"], changed, body), name
    try:
        webhook.verify(body + " ", headers)
        sys.exit("a changed body was taken")
    except WebhookVerificationError:
        assert not v1a_is_good(given["public_key"], headers, body + " "), "body"
    print(json.dumps(parsed))
