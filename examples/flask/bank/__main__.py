"""`python -m bank serve` and `python -m bank add-user`."""

import argparse
import logging
import secrets

import waitress

from .app import create_app
from .sessions import hashed
from .storage import connect

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def serve(listen: str) -> None:
    """Each page that waits holds a thread for up to 20 s at a time; see the README for many."""
    app = create_app()
    server = waitress.create_server(
        app,
        listen=listen,
        threads=32,
        ident=None,
        # What proxies say reaches the application only where there are proxies: by default
        # waitress takes it away.
        clear_untrusted_proxy_headers=not app.config["PROXIES"],
    )
    host, port = server.effective_host, server.effective_port
    print(f"Harbour Bank is open: http://{host}:{port}", flush=True)
    server.run()


def add_user(username: str, display_name: str) -> None:
    """Makes a user; for one that is there, a new letter (a lost card, say)."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(20))
    app = create_app()
    db = connect(app.config["DATABASE"])
    db.execute(
        "INSERT INTO user VALUES (?, ?, ?) ON CONFLICT (username) DO UPDATE SET activation_hash ="
        " excluded.activation_hash",
        (username.lower(), display_name, hashed(code)),
    )
    print("-".join(code[i : i + 5] for i in range(0, 20, 5)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bank")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="open the bank")
    serving.add_argument("--listen", default="127.0.0.1:5000", help="address:port, 0 for any port")
    adding = commands.add_parser("add-user", help="make a user, and print the code of the letter")
    adding.add_argument("username")
    adding.add_argument("display_name")
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    if given.command == "serve":
        serve(given.listen)
    else:
        add_user(given.username, given.display_name)


if __name__ == "__main__":
    main()
