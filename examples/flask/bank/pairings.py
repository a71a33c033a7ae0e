"""Pairing links: a user has at most one open link, which is voided with the letter that opened it
and by "that was not me".

The transaction that ends a link also stores that it must be voided; the note is removed after the
relay has done it. Until then the reconciler retries; a relay that is down pairs no phone either.
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
    """Voids this user's links now. A failure is left to the reconciler, since it must not affect
    the report of the stored outcome."""
    if username in noted(db):
        try:
            void(relay, db, username)
        except FidoRelayError as error:
            log.warning("security: pairing links are still to be voided: %s", error)
