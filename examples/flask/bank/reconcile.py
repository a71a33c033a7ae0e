"""The reconciler: settles ceremonies that no page and no webhook has settled, and removes old rows.
`python -m bank reconcile` runs it once; under gunicorn a thread runs it."""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fido_relay import FidoRelay, FidoRelayError, Problem
from flask import Flask

from . import pairings, tries
from .ceremonies import GRACE_S, settle
from .sessions import ABSOLUTE_S, ENROLLING_S, IDLE_S
from .storage import connect

log = logging.getLogger(__name__)

EVERY_S = 10
AGAIN_S = 15
"""Seconds between two checks of the same ceremony."""
AT_ONCE = 200
"""Ceremonies of one run: payments first, then registrations, and of each type those that were
checked longest ago. Sign-ins come last, since anyone can open any number of them."""
ABANDONED_S = 30 * 86400


def reconcile(relay: FidoRelay, db: sqlite3.Connection, *, again_s: int = AGAIN_S) -> int:
    """Returns the number of settled ceremonies. Raises `FidoRelayError` if the relay cannot answer;
    earlier ones stay settled."""
    purge(db)
    for username in pairings.noted(db):
        with _refusals_logged("voiding pairing links"):
            pairings.void(relay, db, username)
    now, settled = int(time.time()), 0
    rows = db.execute(
        "SELECT id FROM ceremony WHERE status = 'pending' AND id IS NOT NULL AND looked_at <= ?"
        " ORDER BY CASE type WHEN 'approval' THEN 0 WHEN 'registration' THEN 1 ELSE 2 END,"
        " looked_at LIMIT ?",
        (now - again_s, AT_ONCE),
    )
    for row in rows.fetchall():
        db.execute("UPDATE ceremony SET looked_at = ? WHERE id = ?", (now, row["id"]))
        with _refusals_logged(f"ceremony {row['id']}"):
            settle(relay, db, row["id"])
        settled += db.execute(
            "SELECT count(*) FROM ceremony WHERE id = ? AND status != 'pending'", (row["id"],)
        ).fetchone()[0]
    return settled


@contextmanager
def _refusals_logged(what: str) -> Iterator[None]:
    """One refused request must not block the others."""
    try:
        yield
    except Problem as refusal:
        if refusal.status >= 500 or refusal.status == 429:
            raise
        log.error("%s: %s", what, refusal)


def purge(db: sqlite3.Connection) -> None:
    """Removes expired codes, tickets, letters and sessions, and rows abandoned for a month."""
    tries.purge(db)
    now = int(time.time())
    db.execute(
        "UPDATE ceremony SET code = NULL, ticket = NULL WHERE code IS NOT NULL AND expires_at <= ?",
        (now - GRACE_S,),
    )
    # The relay's answer was lost and the form not sent again: without its code no card can confirm
    # it.
    db.execute(
        "UPDATE ceremony SET status = 'expired', closed_at = ?"
        " WHERE status = 'pending' AND id IS NULL AND expires_at <= ?",
        (now, now - GRACE_S),
    )
    db.execute(
        "DELETE FROM session WHERE seen_at <= ? OR began_at <= ?"
        " OR level = 'enrolling' AND began_at <= ?",
        (now - IDLE_S, now - ABSOLUTE_S, now - ENROLLING_S),
    )
    db.execute("UPDATE user SET activation_hash = NULL WHERE activation_ends_at <= ?", (now,))
    db.execute(
        "DELETE FROM ceremony WHERE status != 'pending' AND closed_at <= ?", (now - ABANDONED_S,)
    )
    # Approved payments stay as records.
    db.execute(
        "DELETE FROM payment WHERE state != 'approved' AND made_at <= ? AND NOT EXISTS"
        " (SELECT 1 FROM ceremony WHERE payment_id = payment.id)",
        (now - ABANDONED_S,),
    )


def run(app: Flask, stop: threading.Event) -> None:
    """Reconciles until `stop` is set; of several workers one works at a time."""
    while not stop.wait(EVERY_S * random.uniform(0.5, 1)):
        try:
            db = connect(app.config["DATABASE"])
            try:
                if _takes_turn(db):
                    reconcile(app.extensions["fido_relay"], db)
            finally:
                db.close()
        except (FidoRelayError, sqlite3.OperationalError) as error:
            log.warning("reconciling goes on later: %s", error)
        except Exception:
            # The thread must survive every failure.
            log.exception("reconciling")


def _takes_turn(db: sqlite3.Connection) -> bool:
    now = int(time.time())
    turn = "UPDATE duty SET until = ? WHERE name = 'reconcile' AND until <= ?"
    return db.execute(turn, (now + EVERY_S - 1, now)).rowcount == 1
