"""Registers and authenticates a user directly at a FIDO2 server ("client-direct").

    pip install -r requirements.txt
    python client_direct.py https://fido.example.com   # the vendor's server
    python client_direct.py http://localhost:8080      # fido-relay serve on this machine

Only the base URL differs. Where this program calls its software card, a desktop application would
pass the options to the mobile app and wait for the answer of the card SDK.
"""

import argparse
import sys
from urllib.parse import urlsplit

import requests

from software_card import SoftwareCard

TIMEOUT = 30  # seconds, per request


def post(url, body, cookies=None):
    """Posts and returns the server's answer, whose "status" is "ok" after a success."""
    response = requests.post(
        url, json=body, cookies=cookies, timeout=TIMEOUT, allow_redirects=False
    )
    try:
        data = response.json()
    except requests.JSONDecodeError:
        data = None
    if not isinstance(data, dict) or "status" not in data:
        # A proxy answered, not the FIDO2 server.
        data = {"status": "failed", "errorMessage": f"HTTP {response.status_code}"}
    return data, response.cookies


def register_user(server_url, username, rp_id, origin, card):
    # Phase 1: get registration options
    begin_data, session = post(
        f"{server_url}/fidoapi/certify/attestation/options",
        {"username": username, "rpId": rp_id},
    )
    if begin_data["status"] != "ok":
        return begin_data

    # Phase 2: card operation (the mobile app calls registerCardOnly())
    card_response_data = card.register(begin_data, origin)

    # Phase 3: complete registration, in the same session
    complete_data, _ = post(
        f"{server_url}/fidoapi/certify/attestation/result", card_response_data, session
    )
    return complete_data


def authenticate_user(server_url, username, rp_id, origin, card):
    # Phase 1: get authentication options
    begin_data, session = post(
        f"{server_url}/fidoapi/certify/assertion/options",
        {"username": username, "rpId": rp_id},
    )
    if begin_data["status"] != "ok":
        return begin_data

    # Phase 2: card operation (the mobile app calls authenticateCardOnly())
    card_response_data = card.authenticate(begin_data, origin)

    # Phase 3: complete authentication, in the same session
    complete_data, _ = post(
        f"{server_url}/fidoapi/certify/assertion/result", card_response_data, session
    )
    return complete_data


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
    try:
        sys.exit(main())
    except requests.RequestException as error:
        # Not retried: the registration may have succeeded without its answer arriving.
        sys.exit(f"the server does not answer: {error}")
