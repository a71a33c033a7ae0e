"""Payments: stored, approved with the card for their exact text, or withdrawn."""

import re
import time
from typing import Any

from flask import abort, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from . import ceremonies, sessions
from .storage import database
from .web import ask_for_card, form_id, pages, printable, relay, required

# The largest SQLite integer, so also the largest id of a payment.
PAYMENT = f"/payments/<int(max={2**63 - 1}):payment_id>"


@pages.get("/")
@required("signed_in")
def overview() -> str:
    return _overview()


def _overview(mistake: str | None = None) -> str:
    payments = (
        database()
        .execute(
            "SELECT payment.*, ceremony.id AS ceremony_id, ceremony.browser = ? AS is_here"
            " FROM payment LEFT JOIN ceremony"
            "   ON payment_id = payment.id AND ceremony.status = 'pending'"
            " WHERE payment.username = ? AND state != 'withdrawn' ORDER BY payment.id DESC",
            (sessions.browser(), g.user["username"]),
        )
        .fetchall()
    )
    return render_template("overview.html", payments=payments, mistake=mistake)


@pages.post("/payments")
@required("signed_in")
def pay() -> Any:
    """Stores the payment, and opens an approval of its exact text. Nothing is paid before."""
    payee = printable(request.form.get("payee", ""), 60)
    reference = printable(request.form.get("reference", ""), 140)
    cents = cents_of(request.form.get("amount", ""))
    if not payee or reference is None or not cents:
        return _overview(
            "Please enter a payee and an amount such as 120.50 or 120,50, without separators "
            "between thousands."
        ), 400
    db, username = database(), g.user["username"]
    key = ceremonies.form_key(sessions.browser(), form_id(), "payment")
    db.execute(
        "INSERT INTO payment (username, payee, cents, reference, made_at, key)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
        (username, payee, cents, reference, int(time.time()), key),
    )
    payment = db.execute("SELECT * FROM payment WHERE key = ?", (key,)).fetchone()
    words = (payee, cents, reference)
    # None if the relay refused the text of another request of this form.
    if not payment or (payment["payee"], payment["cents"], payment["reference"]) != words:
        return _overview("This form was sent before with other words. Please look at it again."), 400
    return ask_for_card("approval", username, "session", payment["id"])


def _own_payment(payment_id: int) -> Any:
    row = (
        database()
        .execute(
            "SELECT * FROM payment WHERE id = ? AND username = ?", (payment_id, g.user["username"])
        )
        .fetchone()
    )
    return row or abort(404)


@pages.post(f"{PAYMENT}/approve")
@required("signed_in")
def approve(payment_id: int) -> Response:
    payment = _own_payment(payment_id)
    return ask_for_card("approval", g.user["username"], "session", payment["id"])


@pages.post(f"{PAYMENT}/withdraw")
@required("signed_in")
def withdraw(payment_id: int) -> Response:
    """Cancels at the relay first, so that the phone never shows "succeeded" for a withdrawn
    payment."""
    db, payment = database(), _own_payment(payment_id)
    for row in ceremonies.pending(db, None, payment["id"]):
        ceremonies.cancel(relay(), db, row)
    is_withdrawn = db.execute(
        "UPDATE payment SET state = 'withdrawn' WHERE id = ? AND state = 'open' AND NOT EXISTS"
        " (SELECT 1 FROM ceremony WHERE payment_id = payment.id AND status = 'pending')",
        (payment["id"],),
    ).rowcount
    if is_withdrawn:
        flash("The payment is withdrawn.")
    else:
        flash("The payment was not withdrawn: it is approved or closed, or just being confirmed.")
    return redirect(url_for(".overview"), 303)


def cents_of(text: str) -> int | None:
    # At most two digits after it, since `1.000` is a thousand in some countries and one in others.
    written = re.fullmatch(r"([0-9]{1,7})(?:[.,]([0-9]{1,2}))?", text.strip())
    if written is None:
        return None
    cents = int(written[1]) * 100 + int((written[2] or "").ljust(2, "0"))
    return cents if 0 < cents <= 100_000_000 else None
