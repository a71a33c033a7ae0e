"""The five phases of a card's part in what the bank does, one after the other.

    Phase 1  the backend receives the request          -> opens a ceremony at the relay
    Phase 2  the challenge goes to the phone           -> the page shows the code for it
    Phase 3  the phone and the card do their part      -> the page watches at the relay
    Phase 4  the answer comes back                     -> the signed result is verified
    Phase 5  the backend completes what was asked      -> a session, a card, a payment: once

Between phases 2 and 4 everything happens at the relay: challenges and card answers never come
here. Phases 4 and 5 are `settle`. The page, a webhook, the reconciler and every later action of
the same user call it; the first call acts, further calls change nothing. Nothing here knows of HTTP
or of pages.
"""

import hashlib
import json
import logging
import secrets
import sqlite3
import time
from dataclasses import dataclass

from fido_relay import (
    Ceremony,
    CeremonyType,
    Context,
    Expected,
    FidoRelay,
    InvalidResult,
    PriorAuth,
    Problem,
    Result,
    Transaction,
)

from . import pairings
from .storage import transaction

log = logging.getLogger(__name__)

UNPROVEN = "unproven"
"""Beside the relay's outcomes: it reports success, and the result token does not prove it."""
LASTS_S = 120
"""How long the person has."""
GRACE_S = 60
"""What the check of an answer that came in time may add, and what clocks may differ by."""
COLLECT_S = 60
"""How long after the card's yes a sign-in can be collected by its browser."""
OPTIONS = {"userVerification": "required"}
NOT_TAKEN = ("invalid_request", "unprocessable")
"""The relay's refusals of what was entered: the same again is refused again."""


# ---- Phase 1: the backend receives the request -----------------------------------------------


@dataclass(frozen=True)
class Order:
    """What a browser wants confirmed by a card, as one form said it."""

    browser: str
    form_id: str
    type: CeremonyType
    username: str
    prior_auth: PriorAuth
    context: Context
    payment_id: int | None = None

    @property
    def key(self) -> str:
        return form_key(self.browser, self.form_id, self.type)


def form_key(browser: str, form_id: str, purpose: str) -> str:
    """A form of one browser. A form id that another browser has seen is worth nothing."""
    return hashlib.sha256(f"{browser}.{purpose}.{form_id}".encode()).hexdigest()


def phase_1_receive(relay: FidoRelay, db: sqlite3.Connection, order: Order) -> sqlite3.Row | None:
    """Opens a ceremony, or finds the one that the same form has opened; `None` if its payment is
    closed, or the browser is asking for something else at this moment.

    A browser asks for one thing at a time, and a payment is asked for once at a time: what is still
    open is cancelled first. Whether the user exists makes no difference here, nor at the relay.
    """
    row = _of_form(db, order.key)
    if row is None:
        for other in pending(db, order.browser, order.payment_id):
            # Of a double click, the other request may have noted this form meanwhile.
            if other["key"] != order.key:
                cancel(relay, db, other)
        _note(db, order)
        row = _of_form(db, order.key)
    if row is not None and row["id"] is None and row["status"] == "pending":
        row = _open(relay, db, row)
    return row if row is not None and row["id"] else None


def _of_form(db: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.execute(
        "SELECT * FROM ceremony WHERE key = ?", (key,)
    ).fetchone()
    return found


def _note(db: sqlite3.Connection, order: Order) -> None:
    """Before the relay is asked: a repetition after a lost answer must be the very same request."""
    user = db.execute(
        "SELECT display_name FROM user WHERE username = ?", (order.username,)
    ).fetchone()
    request = {
        # Shown on the phone. Sent in any case, so that requests do not differ.
        "display_name": user["display_name"] if user else order.username,
        "context": order.context,
        "prior_auth": order.prior_auth,
        "client_nonce": secrets.token_urlsafe(24),
        "timeout_s": LASTS_S,
        "options": OPTIONS,
    }
    now = int(time.time())
    db.execute(
        "INSERT INTO ceremony (key, browser, username, type, payment_id, request, opened_at,"
        " expires_at, looked_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?7"
        " WHERE NOT EXISTS (SELECT 1 FROM ceremony WHERE status = 'pending'"
        "   AND (browser = ?2 OR payment_id = ?5))"
        " AND (?5 IS NULL OR EXISTS (SELECT 1 FROM payment WHERE id = ?5 AND state = 'open'))"
        " ON CONFLICT (key) DO NOTHING",
        (
            order.key,
            order.browser,
            order.username,
            order.type,
            order.payment_id,
            json.dumps(request),
            now,
            now + LASTS_S,
        ),
    )


def _open(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> sqlite3.Row | None:
    arguments = json.loads(row["request"])
    if row["payment_id"] is not None:
        arguments["transaction"] = _transaction(db, row)
    try:
        opened = relay.open(row["type"], row["username"], idempotency_key=row["key"], **arguments)
    except Problem as refusal:
        if refusal.code in NOT_TAKEN:
            _drop(db, row)
        raise
    is_wanted = db.execute(
        "UPDATE ceremony SET id = ?, code = ?, ticket = ?, expires_at = ?"
        " WHERE key = ? AND status = 'pending'",
        (
            opened.id,
            opened.code,
            opened.ticket,
            int(time.time()) + opened.expires_in,
            row["key"],
        ),
    ).rowcount
    if not is_wanted:
        # Withdrawn while the relay was asked.
        relay.cancel(opened.id)
    return _of_form(db, row["key"])


def _drop(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """What the relay does not take: the form can be sent again with other words, and a payment that
    was never asked for in these ones leaves the list."""
    with transaction(db):
        db.execute(
            "DELETE FROM ceremony WHERE key = ? AND id IS NULL AND status = 'pending'",
            (row["key"],),
        )
        db.execute(
            "UPDATE payment SET state = 'withdrawn', key = NULL WHERE id = ? AND state = 'open'"
            " AND NOT EXISTS (SELECT 1 FROM ceremony WHERE payment_id = payment.id"
            "   AND id IS NOT NULL)",
            (row["payment_id"],),
        )


def _transaction(db: sqlite3.Connection, row: sqlite3.Row) -> Transaction:
    payment = db.execute("SELECT * FROM payment WHERE id = ?", (row["payment_id"],)).fetchone()
    return words_of(payment)


def words_of(payment: sqlite3.Row) -> Transaction:
    """The payment in the words that the person reads on the phone and the card vouches for."""
    fields = [("Amount", amount(payment["cents"]))]
    if payment["reference"]:
        fields.append(("Reference", payment["reference"]))
    return Transaction(f"Payment to {payment['payee']}", tuple(fields))


def amount(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02} EUR"


# ---- Phase 2: the challenge goes to the phone ------------------------------------------------


def phase_2_show(db: sqlite3.Connection, ceremony_id: str, browser: str) -> sqlite3.Row | None:
    """What the page shows, the code among it: to the browser where it began, and to no other.

    The relay has offered the ceremony to the phone. It sends the challenge once the person has
    typed the code there that stands in the page.
    """
    found: sqlite3.Row | None = db.execute(
        "SELECT * FROM ceremony WHERE id = ? AND browser = ?", (ceremony_id, browser)
    ).fetchone()
    return found


# ---- Phase 3: the phone and the card do their part -------------------------------------------


def phase_3_watch(relay_url: str, row: sqlite3.Row) -> str:
    """Where the page watches the steps by its ticket (`static/waiting.js`), so that a page that
    waits costs this backend nothing. The ticket reads this one ceremony, and never the result."""
    return f"{relay_url}/v1/ceremonies/{row['id']}"


def cancel(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Takes the prompt off the phone. An outcome that was there first stays, and is acted upon."""
    if row["id"] is None:
        is_cancelled = db.execute(
            "UPDATE ceremony SET status = 'cancelled', closed_at = ?"
            " WHERE key = ? AND id IS NULL AND status = 'pending'",
            (int(time.time()), row["key"]),
        ).rowcount
        row = _of_form(db, row["key"]) or row
        if is_cancelled or row["id"] is None:
            return
    try:
        relay.cancel(row["id"])
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
    settle(relay, db, row["id"])


# ---- Phase 4: the answer comes back ----------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How a ceremony ended. Without `result` nothing was proven, whatever `status` says."""

    status: str
    reason: str | None = None
    result: Result | None = None
    token: str | None = None


def phase_4_verify(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> Verdict | None:
    """How it ended, proven; `None` as long as it goes on."""
    try:
        ceremony = relay.read(row["id"])
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        # The relay keeps outcomes for a day: this one will not be known any more.
        return Verdict("indeterminate", "forgotten")
    if not ceremony.is_closed:
        return None
    if ceremony.status != "succeeded":
        return Verdict(ceremony.status, ceremony.reason)
    try:
        return _proven(relay, db, row, ceremony)
    except InvalidResult as error:
        log.error("ceremony %s: %s", row["id"], error)
        return Verdict(UNPROVEN)


def _proven(
    relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row, ceremony: Ceremony
) -> Verdict:
    expected = Expected(
        ceremony_id=row["id"],
        ceremony_type=row["type"],
        username=row["username"],
        client_nonce=json.loads(row["request"])["client_nonce"],
        # Not of what was sent to the phone, but of what is about to be booked.
        tx_hash=_transaction(db, row).hash() if row["payment_id"] is not None else None,
    )
    result = relay.verify_result(ceremony.result, expected, need_pin=True)
    if not row["opened_at"] - GRACE_S <= result.auth_time <= row["expires_at"] + GRACE_S:
        raise InvalidResult("auth_time")
    return Verdict(ceremony.status, None, result, ceremony.result)


# ---- Phase 5: the backend completes what was asked -------------------------------------------


def phase_5_act(db: sqlite3.Connection, row: sqlite3.Row, verdict: Verdict) -> None:
    """Stores the outcome and does what follows from it, in one transaction, once."""
    # A yes counts from when the card gave it, however late this bank comes to know.
    closed_at = verdict.result.auth_time if verdict.result else int(time.time())
    with transaction(db):
        is_first = db.execute(
            "UPDATE ceremony SET status = ?, reason = ?, code = NULL, ticket = NULL, closed_at = ?"
            " WHERE id = ? AND status = 'pending'",
            (verdict.status, verdict.reason, closed_at, row["id"]),
        ).rowcount
        if not is_first:
            return
        if verdict.result and row["type"] == "approval":
            _book(db, row["payment_id"], verdict.result, verdict.token)
        elif verdict.result and row["type"] == "registration":
            _end_enrolment(db, row["username"])
            pairings.note(db, row["username"])
        elif verdict.reason == "not_me":
            _alarm(db, row)
        # A sign-in is its browser's to collect.


def _book(
    db: sqlite3.Connection, payment_id: int, result: Result, token: str | None
) -> None:
    db.execute(
        "UPDATE payment SET state = 'approved', approved_at = ?, tx_binding = ?, with_pin = ?,"
        " card = ?, phone = ?, result = ? WHERE id = ? AND state = 'open'",
        (
            result.auth_time,
            result.tx_binding,
            "pin" in result.amr,
            result.cred_hash,
            result.device_id,
            token,
            payment_id,
        ),
    )


def _end_enrolment(db: sqlite3.Connection, username: str) -> None:
    """The letter opens nothing any more, nor does a session that began with it."""
    db.execute("UPDATE user SET activation_hash = NULL WHERE username = ?", (username,))
    db.execute(
        "DELETE FROM session WHERE username = ? AND level = 'enrolling'", (username,)
    )


def _alarm(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """The user did not ask for this. If it came from within a session, that session is not the
    user's; if it was a registration, the letter may be in wrong hands."""
    log.warning("security: not me, of ceremony %s (%s)", row["id"], row["type"])
    db.execute("DELETE FROM session WHERE browser = ?", (row["browser"],))
    pairings.note(db, row["username"])
    if row["type"] != "authentication":
        db.execute("DELETE FROM session WHERE username = ?", (row["username"],))
    if row["type"] == "registration":
        _end_enrolment(db, row["username"])


# ---- Phases 4 and 5 together -----------------------------------------------------------------


def settle(relay: FidoRelay, db: sqlite3.Connection, ceremony_id: str) -> None:
    """Verifies and acts upon a ceremony of this bank that may have ended."""
    row = db.execute("SELECT * FROM ceremony WHERE id = ?", (ceremony_id,)).fetchone()
    if row is None or row["status"] != "pending":
        return
    verdict = phase_4_verify(relay, db, row)
    if verdict:
        phase_5_act(db, row, verdict)
        pairings.void_noted(relay, db, row["username"])


def settle_pending(
    relay: FidoRelay, db: sqlite3.Connection, browser: str, username: str
) -> None:
    """Settle before you decide: a page that closed and a webhook that never came are ordinary.

    Sign-ins of other browsers are left out: they change nothing for this user, and strangers can
    open as many as they like.
    """
    rows = db.execute(
        "SELECT id FROM ceremony WHERE status = 'pending' AND id IS NOT NULL"
        " AND (browser = ? OR username = ? AND type != 'authentication')",
        (browser, username),
    )
    for row in rows.fetchall():
        settle(relay, db, row["id"])


def pending(
    db: sqlite3.Connection, browser: str | None, payment_id: int | None
) -> list[sqlite3.Row]:
    """What this browser is asking for, or what is asked for this payment."""
    return db.execute(
        "SELECT * FROM ceremony WHERE status = 'pending' AND (browser = ? OR payment_id = ?)",
        (browser, payment_id),
    ).fetchall()


def collect_sign_in(db: sqlite3.Connection, ceremony_id: str, browser: str) -> str | None:
    """Who may be signed in now: once, by the browser that asked, soon after the card's yes."""
    rows = db.execute(
        "UPDATE ceremony SET collected = 1 WHERE id = ? AND browser = ?"
        " AND type = 'authentication' AND status = 'succeeded' AND collected = 0"
        " AND closed_at > ? RETURNING username",
        (ceremony_id, browser, int(time.time()) - COLLECT_S),
    ).fetchall()
    return rows[0]["username"] if rows else None
