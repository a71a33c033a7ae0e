"""`python -m bank add-user` and `python -m bank reconcile`; gunicorn serves the bank."""

import argparse
import logging
import secrets
import time

from fido_relay import FidoRelayError
from flask import Flask

from . import reconcile
from .app import create_app
from .sessions import hashed
from .storage import connect
from .web import username_of

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LETTER_S = 30 * 86400


def add_user(app: Flask, username: str, display_name: str) -> str:
    """Creates a user, or a new letter for an existing one (after a lost card, say). Returns its
    code."""
    name = username_of(username)
    if not name:
        raise SystemExit("the username is empty, too long or has characters that are not shown")
    code = "".join(secrets.choice(ALPHABET) for _ in range(20))
    connect(app.config["DATABASE"]).execute(
        "INSERT INTO user VALUES (?, ?, ?, ?) ON CONFLICT (username) DO UPDATE SET"
        " activation_hash = excluded.activation_hash,"
        " activation_ends_at = excluded.activation_ends_at",
        (name, display_name, hashed(code), int(time.time()) + LETTER_S),
    )
    return "-".join(code[i : i + 5] for i in range(0, 20, 5))


def settle_all(app: Flask) -> None:
    db = connect(app.config["DATABASE"])
    try:
        settled = reconcile.reconcile(app.extensions["fido_relay"], db, again_s=0)
    except FidoRelayError as error:
        raise SystemExit(f"the relay does not answer: {error}") from None
    print(f"{settled} settled")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bank")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("reconcile", help="settle what no page and no webhook has settled")
    adding = commands.add_parser("add-user", help="make a user, and print the code of the letter")
    adding.add_argument("username")
    adding.add_argument("display_name")
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    app = create_app()
    if given.command == "reconcile":
        settle_all(app)
    else:
        print(add_user(app, given.username, given.display_name))


if __name__ == "__main__":
    main()
