"""A receiver of Web Push messages: makes a subscription's keys and decrypts what was sent to it, by
http_ece. One line of JSON in, one out."""

import base64
import json
import os
import sys

import http_ece
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


key = ec.generate_private_key(ec.SECP256R1())
auth = os.urandom(16)
point = key.public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
)

for line in sys.stdin:
    asked = json.loads(line)
    if "body" in asked:
        body = base64.b64decode(asked["body"])
        text = http_ece.decrypt(body, private_key=key, auth_secret=auth, version="aes128gcm")
        answer = {"text": text.decode(), "length": len(body)}
    else:
        answer = {"p256dh": b64(point), "auth": b64(auth)}
    print(json.dumps(answer), flush=True)
