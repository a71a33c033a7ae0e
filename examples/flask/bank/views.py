"""The pages. Whatever needs a card opens a ceremony and leads to its page, which waits, and then
asks `finish` for what came of it. Every change is a POST with a CSRF token."""

import hmac
import re
import time
import unicodedata
from typing import Any

from fido_relay import CeremonyType, Context, FidoRelay, FidoRelayError, PriorAuth
from flask import (
    Blueprint,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response

from . import ceremonies, sessions, words
from .sessions import required
from .storage import database

pages = Blueprint("pages", __name__)

JOINERS = dict.fromkeys(map(ord, "\u200c\u200d\ufe0f"))
LADDER = (
    ("opened", "Asked for", "bank"),
    ("delivered", "Shown on your phone", "phone"),
    ("claimed", "Code accepted", "phone"),
    ("challenged", "Challenge made", "card service"),
    ("card", "Card at the phone", "card"),
    ("verifying", "Answer being checked", "card service"),
    ("closed", "Finished", "bank"),
)


def relay() -> FidoRelay:
    client: FidoRelay = current_app.extensions["fido_relay"]
    return client


def ask_for_card(
    ceremony_type: CeremonyType, username: str, prior_auth: PriorAuth, payment: Any = None
) -> Response:
    """Phase 1, and off to the page of phases 2 and 3."""
    context: Context = {"user_agent": request.user_agent.string}
    if request.remote_addr:
        context["ip"] = request.remote_addr
    ceremony_id = ceremonies.phase_1_receive(
        relay(),
        database(),
        ceremony_type,
        username,
        sessions.browser(),
        context=context,
        prior_auth=prior_auth,
        payment=payment,
    )
    return redirect(url_for(".ceremony", ceremony_id=ceremony_id), 303)


# ---- signing in and out ----------------------------------------------------------------------


@pages.get("/sign-in")
def sign_in() -> str:
    return render_template("sign_in.html")


@pages.post("/sign-in")
def start_sign_in() -> Any:
    """Does not look whether there is such a user: nobody learns that here."""
    username = _username()
    if not username:
        return render_template("sign_in.html", mistake="Please enter your username."), 400
    return ask_for_card("authentication", username, "none")


@pages.post("/sign-out")
def sign_out() -> Response:
    sessions.end()
    flash("You are signed out.")
    return redirect(url_for(".sign_in"), 303)


@pages.get("/enrol")
def enrol() -> str:
    return render_template("enrol.html")


@pages.post("/enrol")
def start_enrolment() -> Any:
    """The code of the bank's letter: by it alone a person without a card is known."""
    username, code = _username(), request.form.get("code", "")
    code = "".join(code.split()).replace("-", "").upper()
    row = database().execute("SELECT * FROM user WHERE username = ?", (username,)).fetchone()
    known = (row["activation_hash"] if row else None) or sessions.hashed("nobody's")
    if not hmac.compare_digest(known, sessions.hashed(code)):
        mistake = "Username and code do not fit together, or the code was used."
        return render_template("enrol.html", mistake=mistake), 400
    sessions.begin(row["username"], "enrolling")
    return redirect(url_for(".phones"), 303)


# ---- a ceremony: phases 2 to 5 as the browser sees them --------------------------------------


def _own_ceremony(ceremony_id: str) -> Any:
    """Of this browser: to any other there is none."""
    row = ceremonies.phase_2_show(database(), ceremony_id, sessions.browser())
    return row or abort(404)


@pages.get("/ceremony/<ceremony_id>")
def ceremony(ceremony_id: str) -> str:
    row, payment = _own_ceremony(ceremony_id), None
    if row["payment_id"]:
        payment = (
            database()
            .execute("SELECT * FROM payment WHERE id = ?", (row["payment_id"],))
            .fetchone()
        )
    if row["status"] == "pending":
        return render_template(
            "waiting.html",
            row=row,
            title=words.TITLES[row["type"]],
            ladder=LADDER,
            lasts=row["expires_at"] - row["opened_at"],
            left=max(0, row["expires_at"] - int(time.time())),
            transaction=ceremonies.words_of(payment) if payment else None,
        )
    said = words.of(row["type"], row["status"], row["reason"])
    good = row["status"] == "succeeded" and row["type"] != "authentication"
    if good and payment and payment["state"] != "approved":
        said, good = words.SUPERSEDED, False
    return render_template("outcome.html", row=row, words=said, good=good, payment=payment)


@pages.get("/ceremony/<ceremony_id>/progress")
def progress(ceremony_id: str) -> dict[str, Any]:
    """The steps so far, as soon as there is one after `since`. Tells nothing of how it ended."""
    row = _own_ceremony(ceremony_id)
    seen = ceremonies.phase_3_wait(relay(), row, request.args.get("since", 0, int))
    return {
        "seq": seen.seq,
        "steps": [entry.step for entry in seen.progress],
        "left": seen.expires_in,
        "closed": seen.is_closed,
    }


@pages.post("/ceremony/<ceremony_id>/finish")
def finish(ceremony_id: str) -> Response:
    """Phases 4 and 5, and for a sign-in the session."""
    row = _own_ceremony(ceremony_id)
    ceremonies.settle(relay(), database(), row["id"])
    username = ceremonies.collect_sign_in(database(), row["id"], sessions.browser())
    if username:
        sessions.begin(username, "signed_in")
        flash("You are signed in. Your card confirmed it.")
        return redirect(url_for(".overview"), 303)
    return redirect(url_for(".ceremony", ceremony_id=row["id"]), 303)


@pages.post("/ceremony/<ceremony_id>/cancel")
def cancel(ceremony_id: str) -> Response:
    row = _own_ceremony(ceremony_id)
    if row["status"] == "pending":
        ceremonies.cancel(relay(), database(), row)
    return redirect(url_for(".ceremony", ceremony_id=row["id"]), 303)


# ---- payments --------------------------------------------------------------------------------


@pages.get("/")
@required("signed_in")
def overview() -> str:
    return _overview()


def _overview(mistake: str | None = None) -> str:
    db = database()
    waiting = db.execute(
        "SELECT id FROM ceremony WHERE username = ? AND type = 'approval' AND status = 'pending'"
        " AND expires_at <= ?",
        (g.user["username"], int(time.time())),
    )
    try:
        # Whose page was closed, and of which no webhook told.
        for row in waiting.fetchall():
            ceremonies.settle(relay(), db, row["id"])
    except FidoRelayError as error:
        ceremonies.log.error("the relay: %s", error)
    payments = db.execute(
        "SELECT * FROM payment WHERE username = ? AND state != 'withdrawn' ORDER BY id DESC",
        (g.user["username"],),
    ).fetchall()
    return render_template("overview.html", payments=payments, mistake=mistake)


@pages.post("/payments")
@required("signed_in")
def pay() -> Any:
    """Notes the payment, and has its exact words approved. Nothing is paid before."""
    payee = _printable(request.form.get("payee", ""), 60)
    reference = _printable(request.form.get("reference", ""), 140)
    cents = _cents(request.form.get("amount", ""))
    if not payee or reference is None or not cents:
        return _overview(
            "Please enter a payee and an amount such as 120.50 or 120,50, without separators "
            "between thousands."
        ), 400
    payment = (
        database()
        .execute(
            "INSERT INTO payment (username, payee, cents, reference, made_at)"
            " VALUES (?, ?, ?, ?, ?) RETURNING *",
            (g.user["username"], payee, cents, reference, int(time.time())),
        )
        .fetchall()[0]
    )
    return ask_for_card("approval", g.user["username"], "session", payment)


def _own_payment(payment_id: int) -> Any:
    row = (
        database()
        .execute(
            "SELECT * FROM payment WHERE id = ? AND username = ? AND state = 'open'",
            (payment_id, g.user["username"]),
        )
        .fetchone()
    )
    return row or abort(404)


@pages.post("/payments/<int:payment_id>/approve")
@required("signed_in")
def approve(payment_id: int) -> Response:
    return ask_for_card("approval", g.user["username"], "session", _own_payment(payment_id))


@pages.post("/payments/<int:payment_id>/withdraw")
@required("signed_in")
def withdraw(payment_id: int) -> Response:
    payment = _own_payment(payment_id)
    database().execute(
        "UPDATE payment SET state = 'withdrawn' WHERE id = ? AND state = 'open'", (payment["id"],)
    )
    flash("The payment is withdrawn.")
    return redirect(url_for(".overview"), 303)


# ---- phones and cards ------------------------------------------------------------------------


@pages.get("/phones")
@required("signed_in", "enrolling")
def phones() -> str:
    return render_template("phones.html", devices=relay().devices(g.user["username"]))


@pages.post("/phones")
@required("signed_in", "enrolling", fresh=True)
def pair() -> str:
    """A new phone is told to the user's earlier ones by the relay; tell the user by mail too."""
    pairing = relay().open_pairing(g.user["username"])
    return render_template("pairing.html", pairing=pairing)


@pages.post("/phones/<device_id>/revoke")
@required("signed_in")
def revoke(device_id: str) -> Response:
    # The relay lets this bank revoke any of its users' phones: whose it is, is ours to check.
    if device_id not in {device.device_id for device in relay().devices(g.user["username"])}:
        abort(404)
    relay().revoke(device_id)
    flash("The phone is revoked: nothing is sent to it any more.")
    return redirect(url_for(".phones"), 303)


@pages.post("/cards")
@required("signed_in", "enrolling", fresh=True)
def register_card() -> Response:
    prior_auth: PriorAuth = "session" if g.level == "signed_in" else "password"
    return ask_for_card("registration", g.user["username"], prior_auth)


# ---- what people type ------------------------------------------------------------------------


def _username() -> str | None:
    return _printable(request.form.get("username", "").lower(), 255)


def _printable(text: str, longest: int) -> str | None:
    """What may be shown on a phone: one line without control or invisible characters, in one
    spelling. Whether a joiner is where its script needs it is the relay's to judge."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    seen = text.translate(JOINERS)
    return text if seen.isprintable() and len(text) <= longest else None


def _cents(text: str) -> int | None:
    # At most two digits after it: `1.000` is a thousand to some and one to others.
    written = re.fullmatch(r"([0-9]{1,7})(?:[.,]([0-9]{1,2}))?", text.strip())
    if written is None:
        return None
    cents = int(written[1]) * 100 + int((written[2] or "").ljust(2, "0"))
    return cents if 0 < cents <= 100_000_000 else None
