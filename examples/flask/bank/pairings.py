"""Pairing links: at most one is open for a user, and none outlives the letter that opened it, nor
"that was not me".

That links are to be voided is stored in the transaction that makes it so, and removed after the
relay has done it. Until then the reconciler repeats it: a relay that is down pairs no phone either.
"""

import logging
import sqlite3

from fido_relay import FidoRelay, FidoRelayError

log = logging.getLogger(__name__)


def note(db: sqlite3.Connection, username: str) -> None:
    db.execute("INSERT INTO pairings_to_void (username) VALUES (?)", (username,))


def noted(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT username FROM pairings_to_void GROUP BY username ORDER BY min(id)")
    return [row["username"] for row in rows.fetchall()]


def void(relay: FidoRelay, db: sqlite3.Connection, username: str) -> None:
    (last,) = db.execute(
        "SELECT max(id) FROM pairings_to_void WHERE username = ?", (username,)
    ).fetchone()
    relay.void_pairings(username)
    db.execute("DELETE FROM pairings_to_void WHERE username = ? AND id <= ?", (username, last))


def void_noted(relay: FidoRelay, db: sqlite3.Connection, username: str) -> None:
    """Of this user, at once. A failure is left to the reconciler: the outcome that was stored
    stands all the same, and is not to be reported as unknown."""
    if username in noted(db):
        try:
            void(relay, db, username)
        except FidoRelayError as error:
            log.warning("security: pairing links are still to be voided: %s", error)
