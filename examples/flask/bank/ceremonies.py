"""The five phases of a ceremony, in order.

    Phase 1  the backend receives the request          -> opens a ceremony at the relay
    Phase 2  the challenge goes to the phone           -> the page shows the code for it
    Phase 3  the phone and the card do their part      -> the page watches at the relay
    Phase 4  the answer comes back                     -> the signed result is verified
    Phase 5  the backend completes what was asked      -> a session, a card, a payment: once

Between phases 2 and 4 everything happens at the relay: challenges and card answers never come
here. Phases 4 and 5 are `settle`, which the page, a webhook, the reconciler and every later action
of the same user call; the first call acts, further calls change nothing. This module is independent
of HTTP and pages.
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
"""An additional outcome: the relay reports success, but the result token does not prove it."""
LASTS_S = 120
"""Lifetime of a ceremony."""
GRACE_S = 60
"""Tolerance for the check of an answer that came in time, and for clock differences."""
COLLECT_S = 60
"""How long after the card's answer the browser can collect a sign-in."""
OPTIONS = {"userVerification": "required"}
NOT_TAKEN = ("invalid_request", "unprocessable")
"""Refusals that a retry with the same input cannot change."""


# ---- Phase 1: the backend receives the request -----------------------------------------------


@dataclass(frozen=True)
class Order:
    """A request for confirmation by a card, from one form of a browser."""

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
    """Binds a form id to its browser, so that another browser cannot use it."""
    return hashlib.sha256(f"{browser}.{purpose}.{form_id}".encode()).hexdigest()


def phase_1_receive(relay: FidoRelay, db: sqlite3.Connection, order: Order) -> sqlite3.Row | None:
    """Opens a ceremony, or finds the one that the same form has opened; `None` if its payment is
    closed, or the browser has another request at this moment.

    A browser has one open request at a time, and so has a payment: earlier ones are cancelled
    first. Existing and unknown users are treated alike, here and at the relay.
    """
    row = _of_form(db, order.key)
    if row is None:
        for other in pending(db, order.browser, order.payment_id):
            # After a double click, the other request may have stored this form meanwhile.
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
    """Stores the request before it is sent, so that a retry sends the identical one."""
    user = db.execute(
        "SELECT display_name FROM user WHERE username = ?", (order.username,)
    ).fetchone()
    request = {
        # Shown on the phone. Also sent for unknown users, so that requests do not differ.
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
        # Withdrawn during the call.
        relay.cancel(opened.id)
    return _of_form(db, row["key"])


def _drop(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Removes a request that the relay refused, so that the form can be sent again with other text;
    its payment is withdrawn unless an earlier ceremony of it was opened."""
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
    """The transaction text that the user reads on the phone and the card signs."""
    fields = [("Amount", amount(payment["cents"]))]
    if payment["reference"]:
        fields.append(("Reference", payment["reference"]))
    return Transaction(f"Payment to {payment['payee']}", tuple(fields))


def amount(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02} EUR"


# ---- Phase 2: the challenge goes to the phone ------------------------------------------------


def phase_2_show(db: sqlite3.Connection, ceremony_id: str, browser: str) -> sqlite3.Row | None:
    """The ceremony with its code, for the browser that began it only.

    The relay has offered the ceremony to the phone. It sends the challenge once the user has typed
    the page's code there.
    """
    found: sqlite3.Row | None = db.execute(
        "SELECT * FROM ceremony WHERE id = ? AND browser = ?", (ceremony_id, browser)
    ).fetchone()
    return found


# ---- Phase 3: the phone and the card do their part -------------------------------------------


def phase_3_watch(relay_url: str, row: sqlite3.Row) -> str:
    """The URL at which the page watches the steps with its ticket (`static/waiting.js`), so that a
    waiting page costs this backend nothing. The ticket reads this ceremony only, never the
    result."""
    return f"{relay_url}/v1/ceremonies/{row['id']}"


def cancel(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Removes the prompt from the phone. An earlier outcome stays, and is acted upon."""
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
    """The end of a ceremony. Only `result` proves a success, not `status`."""

    status: str
    reason: str | None = None
    result: Result | None = None
    token: str | None = None


def phase_4_verify(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> Verdict | None:
    """The verified end; `None` while the ceremony is open."""
    try:
        ceremony = relay.read(row["id"])
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        # The relay keeps outcomes for a day: this one is lost.
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
        # Computed from the row to be booked, not from what was sent to the phone.
        tx_hash=_transaction(db, row).hash() if row["payment_id"] is not None else None,
    )
    result = relay.verify_result(ceremony.result, expected, need_pin=True)
    if not row["opened_at"] - GRACE_S <= result.auth_time <= row["expires_at"] + GRACE_S:
        raise InvalidResult("auth_time")
    return Verdict(ceremony.status, None, result, ceremony.result)


# ---- Phase 5: the backend completes what was asked -------------------------------------------


def phase_5_act(db: sqlite3.Connection, row: sqlite3.Row, verdict: Verdict) -> None:
    """Stores the outcome and its consequences in one transaction, once."""
    # The time of the card's answer counts, not the time of this call.
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
        # A sign-in waits for its browser to collect it.


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
    """Voids the letter and the sessions that began with it."""
    db.execute("UPDATE user SET activation_hash = NULL WHERE username = ?", (username,))
    db.execute(
        "DELETE FROM session WHERE username = ? AND level = 'enrolling'", (username,)
    )


def _alarm(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """The user reported that they did not request this. Ends the requesting session, which is not
    the user's; after a registration also voids the letter, which another person may have."""
    log.warning("security: not me, of ceremony %s (%s)", row["id"], row["type"])
    db.execute("DELETE FROM session WHERE browser = ?", (row["browser"],))
    pairings.note(db, row["username"])
    if row["type"] != "authentication":
        db.execute("DELETE FROM session WHERE username = ?", (row["username"],))
    if row["type"] == "registration":
        _end_enrolment(db, row["username"])


# ---- Phases 4 and 5 together -----------------------------------------------------------------


def settle(relay: FidoRelay, db: sqlite3.Connection, ceremony_id: str) -> None:
    """Verifies a ceremony that may have ended, and acts upon it."""
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
    """Settles the user's open ceremonies before a decision, since pages close and webhooks get
    lost.

    Sign-ins of other browsers are left out: they change nothing for this user, and anyone can open
    any number of them.
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
    """The open ceremonies of this browser or this payment."""
    return db.execute(
        "SELECT * FROM ceremony WHERE status = 'pending' AND (browser = ? OR payment_id = ?)",
        (browser, payment_id),
    ).fetchall()


def collect_sign_in(db: sqlite3.Connection, ceremony_id: str, browser: str) -> str | None:
    """The user to sign in: once, in the requesting browser, soon after the card's answer."""
    rows = db.execute(
        "UPDATE ceremony SET collected = 1 WHERE id = ? AND browser = ?"
        " AND type = 'authentication' AND status = 'succeeded' AND collected = 0"
        " AND closed_at > ? RETURNING username",
        (ceremony_id, browser, int(time.time()) - COLLECT_S),
    ).fetchall()
    return rows[0]["username"] if rows else None
