"""Two authenticators in Python that other projects wrote: soft-webauthn and soft-fido2.

Reads one order a line, and writes one answer a line; ends with its input:

    {"authenticator", "card", "verified", "format", "algorithm", "origin", "create" or "get": options}
    {"credential": ...} or {"declined": why the authenticator made nothing}

`card` names a card of the authenticator, made when it is named first. `format` and `algorithm` are
of its first order; soft-webauthn has one of each, and never verifies its user.
"""

import base64
import functools
import json
import sys

import cryptography.x509 as x509
from soft_fido2 import CertUtils, Fido2Authenticator, KeyPair
from soft_webauthn import SoftWebauthnDevice


def encoded(value):
    """Bytes within a credential as base64url, which is JSON's form of them."""
    if isinstance(value, dict):
        return {name: encoded(member) for name, member in value.items()}
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    return value


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftWebauthn:
    def __init__(self, order):
        self.device = SoftWebauthnDevice()

    def create(self, options, order):
        options = {**options, "user": {**options["user"], "id": decoded(options["user"]["id"])}}
        return self.credential(self.device.create, options, order)

    def get(self, options, order):
        return self.credential(self.device.get, options, order)

    def credential(self, function, options, order):
        options = {**options, "challenge": decoded(options["challenge"])}
        made = function({"publicKey": options}, order["origin"])
        # Its id is base64url already, padded, and bytes.
        return {**encoded(made), "id": made["id"].decode()}


@functools.cache
def authority():
    name = x509.NameAttribute(x509.NameOID.COMMON_NAME, "soft-fido2 of a test")
    key = KeyPair.generate_ecdsa()
    return key, CertUtils.gen_ca_cert(subject=x509.Name([name]), keyPair=key)


class SoftFido2:
    keys = {
        "ES256": KeyPair.generate_ecdsa,
        "RS256": KeyPair.generate_rsa,
        "EdDSA": KeyPair.generate_ed25519,
    }

    def __init__(self, order):
        key, certificate = authority()
        self.format = order["format"]
        self.authenticator = Fido2Authenticator(
            keyPair=self.keys[order["algorithm"]](), caKeyPair=key, caCert=certificate
        )

    def create(self, options, order):
        options = {**options, "origin": order["origin"]}
        return self.authenticator.credential_create(
            options, atteStmtFmt=self.format, uv=order["verified"]
        )

    def get(self, options, order):
        options = {**options, "origin": order["origin"]}
        return self.authenticator.credential_request(options, uv=order["verified"])


makers = {"soft-webauthn": SoftWebauthn, "soft-fido2": SoftFido2}
cards = {}
for line in sys.stdin:
    order = json.loads(line)
    try:
        name = order["authenticator"], order["card"]
        card = cards.get(name) or cards.setdefault(name, makers[name[0]](order))
        verb = "create" if "create" in order else "get"
        answer = {"credential": getattr(card, verb)(order[verb], order)}
    except Exception as error:  # whatever it is, it is the authenticator's word
        answer = {"declined": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
