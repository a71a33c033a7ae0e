"""Registers and authenticates a user directly at a FIDO2 server ("client-direct").

    pip install -r requirements.txt
    python client_direct.py https://fido.example.com

Against fido-relay and against the vendor's server alike, only the base URL changes. Where this
program calls its software card, a desktop application would hand the options to the mobile app
and wait for the answer of the card SDK.
"""

import argparse
import sys
from urllib.parse import urlsplit

import requests

from software_card import SoftwareCard

TIMEOUT = 30  # seconds, per request


def register_user(server_url, username, rp_id, origin, card):
    # Phase 1: get registration options
    begin_response = requests.post(
        f"{server_url}/fidoapi/certify/attestation/options",
        json={"username": username, "rpId": rp_id},
        timeout=TIMEOUT,
    )
    begin_data = begin_response.json()
    if begin_data["status"] != "ok":
        return begin_data

    # Phase 2: card operation (the mobile app calls registerCardOnly())
    card_response_data = card.register(begin_data, origin)

    # Phase 3: complete registration, in the same session
    complete_response = requests.post(
        f"{server_url}/fidoapi/certify/attestation/result",
        json=card_response_data,
        cookies=begin_response.cookies,
        timeout=TIMEOUT,
    )
    return complete_response.json()


def authenticate_user(server_url, username, rp_id, origin, card):
    # Phase 1: get authentication options
    begin_response = requests.post(
        f"{server_url}/fidoapi/certify/assertion/options",
        json={"username": username, "rpId": rp_id},
        timeout=TIMEOUT,
    )
    begin_data = begin_response.json()
    if begin_data["status"] != "ok":
        return begin_data

    # Phase 2: card operation (the mobile app calls authenticateCardOnly())
    card_response_data = card.authenticate(begin_data, origin)

    # Phase 3: complete authentication, in the same session
    complete_response = requests.post(
        f"{server_url}/fidoapi/certify/assertion/result",
        json=card_response_data,
        cookies=begin_response.cookies,
        timeout=TIMEOUT,
    )
    return complete_response.json()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("server_url", help="base URL of the FIDO2 server, without /fidoapi")
    arguments.add_argument("--username", default="ada@example.com")
    arguments.add_argument("--rp-id", help="relying party id (default: the server's host name)")
    arguments.add_argument("--origin", help="origin that the card signs (default: the server's)")
    given = arguments.parse_args()

    server_url = given.server_url.rstrip("/")
    parts = urlsplit(server_url)
    rp_id = given.rp_id or parts.hostname
    origin = given.origin or f"{parts.scheme}://{parts.netloc}"

    account = (server_url, given.username, rp_id, origin, SoftwareCard())
    registration = register_user(*account)
    print("Registration:", registration)
    if registration["status"] != "ok":
        return 1
    authentication = authenticate_user(*account)
    print("Authentication:", authentication)
    return 0 if authentication["status"] == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
