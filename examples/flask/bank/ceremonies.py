"""The five phases of a card's part in what the bank does, one after the other.

    Phase 1  the backend receives the request          -> opens a ceremony at the relay
    Phase 2  the challenge goes to the phone           -> the page shows the code for it
    Phase 3  the phone and the card do their part      -> the page waits
    Phase 4  the answer comes back                     -> the signed result is verified
    Phase 5  the backend completes what was asked      -> a session, a card, a payment: once

Between phases 2 and 4 everything happens at the relay: challenges and card answers never come
here. Phases 4 and 5 are `settle`: whoever comes first does it, the page, a webhook or the list of
payments, and whoever comes second finds it done. Nothing here knows of HTTP or of pages.
"""

import dataclasses
import json
import logging
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

from .storage import transaction

log = logging.getLogger(__name__)

UNPROVEN = "unproven"
"""Beside the relay's outcomes: it says success, and its token does not prove it."""
COLLECT_S = 60
"""A sign-in that succeeded is its browser's for so long."""
HOLD_S = 20
"""A page that waits is answered after so long at the latest."""


# ---- Phase 1: the backend receives the request -----------------------------------------------


def phase_1_receive(
    relay: FidoRelay,
    db: sqlite3.Connection,
    ceremony_type: CeremonyType,
    username: str,
    browser: str,
    *,
    context: Context,
    prior_auth: PriorAuth,
    payment: sqlite3.Row | None = None,
) -> str:
    """Opens a ceremony, and notes who asked for what. Gives its id.

    Whether there is such a user makes no difference here, nor at the relay.
    """
    user = db.execute("SELECT display_name FROM user WHERE username = ?", (username,)).fetchone()
    opened = relay.open(
        ceremony_type,
        username,
        # The phone greets its user by it. Sent in any case, so that requests do not differ.
        display_name=user["display_name"] if user else username,
        context=context,
        prior_auth=prior_auth,
        options={"userVerification": "required"},
        **({"transaction": words_of(payment)} if payment else {}),
    )
    now = int(time.time())
    db.execute(
        "INSERT INTO ceremony (id, browser, username, type, expected, payment_id, code,"
        " opened_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            opened.id,
            browser,
            username,
            ceremony_type,
            json.dumps(dataclasses.asdict(opened.expected)),
            payment["id"] if payment else None,
            opened.code,
            now,
            now + opened.expires_in,
        ),
    )
    return opened.id


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


def phase_3_wait(relay: FidoRelay, row: sqlite3.Row, since: int) -> Ceremony:
    """The ceremony, as soon as there is a step after number `since`; at the latest after `HOLD_S`."""
    return relay.read(row["id"], wait_s=HOLD_S, since=since)


def cancel(relay: FidoRelay, db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Takes the prompt off the phone. An outcome that was there first stays, and is acted upon."""
    relay.cancel(row["id"])
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
    """How it ended, proven; nothing as long as it goes on."""
    try:
        ceremony = relay.read(row["id"])
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        # The relay keeps results for a day; nobody asked in time.
        return Verdict("expired")
    if not ceremony.is_closed:
        return None
    if ceremony.status != "succeeded":
        return Verdict(ceremony.status, ceremony.reason)
    expected = Expected(**json.loads(row["expected"]))
    if row["payment_id"] is not None:
        # Not what was sent to the phone, but what is about to be done.
        payment = db.execute("SELECT * FROM payment WHERE id = ?", (row["payment_id"],)).fetchone()
        expected = dataclasses.replace(expected, tx_hash=words_of(payment).hash())
    try:
        result = relay.verify_result(ceremony.result, expected)
    except InvalidResult as error:
        log.error("ceremony %s: %s", row["id"], error)
        return Verdict(UNPROVEN)
    return Verdict(ceremony.status, None, result, ceremony.result)


# ---- Phase 5: the backend completes what was asked -------------------------------------------


def phase_5_act(db: sqlite3.Connection, row: sqlite3.Row, verdict: Verdict) -> None:
    """Stores the outcome and does what follows from it, in one transaction, once."""
    # A yes counts from when the card gave it, however late this bank comes to know.
    closed_at = verdict.result.auth_time if verdict.result else int(time.time())
    with transaction(db):
        is_first = db.execute(
            "UPDATE ceremony SET status = ?, reason = ?, code = NULL, closed_at = ?"
            " WHERE id = ? AND status = 'pending'",
            (verdict.status, verdict.reason, closed_at, row["id"]),
        ).rowcount
        if not is_first:
            return
        if verdict.result and row["type"] == "approval":
            _book(db, row["payment_id"], verdict.result, verdict.token)
        elif verdict.result and row["type"] == "registration":
            # The letter has served its purpose, and so has whoever came by it.
            db.execute(
                "UPDATE user SET activation_hash = NULL WHERE username = ?", (row["username"],)
            )
            db.execute(
                "DELETE FROM session WHERE username = ? AND level = 'enrolling'",
                (row["username"],),
            )
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


def _alarm(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Somebody asked in this person's name. If that was from within a session, somebody has it."""
    log.warning("security: %s says of ceremony %s: not me", row["username"], row["id"])
    db.execute("DELETE FROM session WHERE browser = ?", (row["browser"],))
    if row["type"] != "authentication":
        db.execute("DELETE FROM session WHERE username = ?", (row["username"],))


def settle(relay: FidoRelay, db: sqlite3.Connection, ceremony_id: str) -> None:
    """Phases 4 and 5, for a ceremony of ours that may have ended."""
    row = db.execute("SELECT * FROM ceremony WHERE id = ?", (ceremony_id,)).fetchone()
    if row is None or row["status"] != "pending":
        return
    verdict = phase_4_verify(relay, db, row)
    if verdict:
        phase_5_act(db, row, verdict)


def collect_sign_in(db: sqlite3.Connection, ceremony_id: str, browser: str) -> str | None:
    """Who may be signed in now: once, by the browser that asked, and only if it comes soon."""
    rows = db.execute(
        "UPDATE ceremony SET collected = 1 WHERE id = ? AND browser = ?"
        " AND type = 'authentication' AND status = 'succeeded' AND collected = 0"
        " AND closed_at > ? RETURNING username",
        (ceremony_id, browser, int(time.time()) - COLLECT_S),
    ).fetchall()
    return rows[0]["username"] if rows else None
