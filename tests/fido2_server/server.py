"""An independent FIDO2 server for the tests: Yubico's fido2 library under Flask, with Flask's
session cookie tying complete to begin.

Listens on a free port of 127.0.0.1, prints the port as its first line, and ends when its
standard input is closed. Everything is in memory.

    python server.py [--origin ORIGIN]...            # origins accepted besides the server's own
                     [--cert FILE --key FILE]        # TLS, for localhost
                     [--client-ca FILE]              # which requires a client certificate of it
"""

import argparse
import dataclasses
import logging
import os
import ssl
import sys
import threading

from fido2.server import Fido2Server
from fido2.webauthn import AuthenticationResponse, RegistrationResponse
from flask import Flask, request, session
from werkzeug.serving import make_server


@dataclasses.dataclass
class Account:
    handle: bytes = dataclasses.field(default_factory=lambda: os.urandom(32))
    credentials: list = dataclasses.field(default_factory=list)


class Failure(Exception):
    """An answer that is no success."""

    def __init__(self, http, status, message, code=""):
        self.answer = {"status": status, "errorMessage": message, "statuscode": code}, http


app = Flask(__name__)
app.secret_key = os.urandom(32)
app.config["MAX_CONTENT_LENGTH"] = 8 * 1024
origins = set()
accounts = {}  # (relying party id, username) -> Account
lock = threading.Lock()


def route(*paths):
    """Serves a function under both of its paths, with its result in the interface's form."""

    def decorate(function):
        def view():
            body = request.get_json(silent=True)
            if not isinstance(body, dict):
                raise Failure(400, "failed", "not a JSON object")
            return {"status": "ok", "errorMessage": "", **function(body)}

        for path in paths:
            app.add_url_rule(f"/fidoapi/{path}", path, view, methods=["POST"])
        return function

    return decorate


@app.errorhandler(Failure)
def failed(failure):
    return failure.answer


def text(body, name, default=None):
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise Failure(400, "failed", f"{name} must be a string of 1 to 255 characters")
    return value


def server_for(rp_id):
    rp = {"id": rp_id, "name": rp_id}
    return Fido2Server(rp, verify_origin=lambda origin: origin in origins)


def remember(kind, rp_id, username, state):
    session["ceremony"] = {"kind": kind, "rp_id": rp_id, "username": username, "state": state}


def recall(kind):
    ceremony = session.pop("ceremony", None)
    if ceremony is None or ceremony["kind"] != kind:
        raise Failure(408, "false", "session expired", "E0024R")
    return ceremony["rp_id"], ceremony["username"], ceremony["state"]


def parsed(form, body):
    try:
        return form.from_dict(body)
    except Exception as error:
        raise Failure(400, "failed", "not a credential") from error


@route("certify/attestation/options", "register/begin")
def begin_registration(body):
    username, rp_id = text(body, "username"), text(body, "rpId")
    display_name = text(body, "displayName", username)
    with lock:
        account = accounts.setdefault((rp_id, username), Account())
    options, state = server_for(rp_id).register_begin(
        {"id": account.handle, "name": username, "displayName": display_name},
        account.credentials,
        user_verification=body.get("userVerification"),
    )
    remember("registration", rp_id, username, state)
    return dict(options)["publicKey"]


@route("certify/attestation/result", "register/complete")
def complete_registration(body):
    rp_id, username, state = recall("registration")
    credential = parsed(RegistrationResponse, body)
    try:
        data = server_for(rp_id).register_complete(state, credential).credential_data
    except ValueError as error:
        raise Failure(401, "failed", str(error)) from error
    with lock:
        known = (c.credential_id for account in accounts.values() for c in account.credentials)
        if data.credential_id in known:
            raise Failure(400, "failed", "the credential is registered already")
        accounts[rp_id, username].credentials.append(data)
    return {}


@route("certify/assertion/options", "authenticate/begin")
def begin_authentication(body):
    username, rp_id = text(body, "username"), text(body, "rpId")
    account = accounts.get((rp_id, username))
    if account is None or not account.credentials:
        raise Failure(403, "failed", "no account for that user")
    options, state = server_for(rp_id).authenticate_begin(
        account.credentials, user_verification=body.get("userVerification")
    )
    remember("authentication", rp_id, username, state)
    return dict(options)["publicKey"]


@route("certify/assertion/result", "authenticate/complete")
def complete_authentication(body):
    rp_id, username, state = recall("authentication")
    credential = parsed(AuthenticationResponse, body)
    account = accounts[rp_id, username]
    try:
        server_for(rp_id).authenticate_complete(state, account.credentials, credential)
    except ValueError as error:
        raise Failure(401, "failed", str(error)) from error
    if credential.response.user_handle not in (None, account.handle):
        raise Failure(401, "failed", "another user's handle")
    return {}


def tls(arguments):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.cert, arguments.key)
    if arguments.client_ca:
        context.load_verify_locations(arguments.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main():
    arguments = argparse.ArgumentParser(description="a FIDO2 server for tests")
    arguments.add_argument("--origin", action="append", default=[])
    for file in ("--cert", "--key", "--client-ca"):
        arguments.add_argument(file)
    arguments = arguments.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    context = tls(arguments) if arguments.cert else None
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    base = "https://localhost" if context else "http://127.0.0.1"
    origins.add(f"{base}:{server.server_port}")
    origins.update(arguments.origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
