"""A simulated FIDO2 card, in place of a phone and a card that it reads over NFC.

Like the card SDK's registerCardOnly() and authenticateCardOnly() it takes the server's options and
returns the card's answer as JSON. One ES256 key pair per account, no PIN, attestation "none". For
experiments only: a real card never exports its keys.
"""

import base64
import hashlib
import json
import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor

# Flags of the authenticator data (WebAuthn Level 3, section 6.1).
USER_PRESENT, USER_VERIFIED, ATTESTED_CREDENTIAL = 0x01, 0x04, 0x40
AAGUID = bytes(16)
ES256 = -7


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    text = text.replace("+", "-").replace("/", "_").rstrip("=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftwareCard:
    def __init__(self):
        self._credentials = {}  # credential id -> (private key, user handle)
        self._signatures = 0

    def register(self, options, origin):
        """Creates a key pair for the account in the options."""
        if not any(wanted["alg"] == ES256 for wanted in options["pubKeyCredParams"]):
            raise ValueError("the card knows ES256 only")
        key = ec.generate_private_key(ec.SECP256R1())
        credential_id = os.urandom(32)
        self._credentials[credential_id] = (key, decode(options["user"]["id"]))

        point = key.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        public_key = cbor.encode({1: 2, 3: ES256, -1: 1, -2: x, -3: y})  # COSE: EC2, P-256
        data = (
            self._authenticator_data(options["rp"]["id"], ATTESTED_CREDENTIAL)
            + AAGUID
            + len(credential_id).to_bytes(2, "big")
            + credential_id
            + public_key
        )
        client_data = self._client_data("webauthn.create", options, origin)
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer(
            credential_id,
            attestationObject=encode(attestation),
            authenticatorData=encode(data),
            clientDataJSON=encode(client_data),
            transports=["nfc"],
        )

    def authenticate(self, options, origin):
        """Signs the challenge with the first allowed credential that is on the card."""
        allowed = [decode(known["id"]) for known in options.get("allowCredentials") or []]
        credential_id = next((known for known in allowed if known in self._credentials), None)
        if credential_id is None:
            raise LookupError("no credential on the card for this account")
        key, user_handle = self._credentials[credential_id]

        data = self._authenticator_data(options["rpId"])
        client_data = self._client_data("webauthn.get", options, origin)
        signature = key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            credential_id,
            authenticatorData=encode(data),
            clientDataJSON=encode(client_data),
            signature=encode(signature),
            userHandle=encode(user_handle),
        )

    def _authenticator_data(self, rp_id, flags=0):
        self._signatures += 1
        flags |= USER_PRESENT | USER_VERIFIED
        return (
            hashlib.sha256(rp_id.encode()).digest()
            + bytes([flags])
            + self._signatures.to_bytes(4, "big")
        )

    @staticmethod
    def _client_data(kind, options, origin):
        challenge = encode(decode(options["challenge"]))
        client_data = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
        return json.dumps(client_data, separators=(",", ":")).encode()

    @staticmethod
    def _answer(credential_id, **response):
        return {
            "id": encode(credential_id),
            "rawId": encode(credential_id),
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }
