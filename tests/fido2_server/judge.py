"""What Yubico's fido2 library says of a card's answer. Reads one case a line and writes one
verdict a line; ends with its input:

    {"challenge", "rp_id", "origin", "required": whether the user must be verified,
     "answer": a credential's JSON, "credential": {"id", "public_key"} of an authentication}
    {"refused": why, or null}

Attestation is verified as far as the library knows its format, and trusted whatever it leads to.
"""

import json
import sys

from fido2 import cbor
from fido2.attestation import Attestation, UnsupportedType
from fido2.server import Fido2Server
from fido2.utils import websafe_decode
from fido2.webauthn import Aaguid, AttestedCredentialData


def verify_attestation(attestation, client_data_hash):
    try:
        verifier = Attestation.for_type(attestation.fmt)()
        verifier.verify(attestation.att_stmt, attestation.auth_data, client_data_hash)
    except UnsupportedType:
        pass


def judge(case):
    server = Fido2Server(
        {"id": case["rp_id"], "name": case["rp_id"]},
        attestation="direct",
        verify_origin=lambda origin: origin == case["origin"],
        verify_attestation=verify_attestation,
    )
    verification = "required" if case["required"] else "preferred"
    state = {"challenge": case["challenge"], "user_verification": verification}
    credential = case.get("credential")
    if credential is None:
        server.register_complete(state, case["answer"])
        return
    identifier, key = (websafe_decode(credential[name]) for name in ("id", "public_key"))
    data = AttestedCredentialData.create(Aaguid.NONE, identifier, cbor.decode(key))
    server.authenticate_complete(state, [data], case["answer"])


for line in sys.stdin:
    refused = None
    try:
        judge(json.loads(line))
    except Exception as error:  # the library has no one kind of error for answers that are none
        refused = f"{type(error).__name__}: {error}"
    print(json.dumps({"refused": refused}), flush=True)
