"""Signing in and out, and enrolling by the bank's letter."""

import hmac
import time
from typing import Any

from fido_relay import FidoRelayError
from flask import current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from . import ceremonies, sessions
from .storage import database
from .web import ask_for_card, limit_tries, pages, relay, username_sent


@pages.get("/sign-in")
def sign_in() -> str:
    return render_template("sign_in.html")


@pages.post("/sign-in")
def start_sign_in() -> Any:
    """Does not look up the user: the answer is the same whether there is one."""
    username = username_sent()
    if not username:
        return render_template("sign_in.html", mistake="Please enter your username."), 400
    limit_tries(username)
    return ask_for_card("authentication", username, "none")


@pages.post("/sign-out")
def sign_out() -> Response:
    """Always possible; what still waits for a card is taken off the phone if the relay answers."""
    db, browser = database(), sessions.browser()
    sessions.end()
    try:
        for row in ceremonies.pending(db, browser, None):
            ceremonies.cancel(relay(), db, row)
    except FidoRelayError as error:
        current_app.logger.warning("not cancelled at sign-out: %s", error)
    flash("You are signed out.")
    return redirect(url_for(".sign_in"), 303)


@pages.get("/enrol")
def enrol() -> str:
    return render_template("enrol.html")


@pages.post("/enrol")
def start_enrolment() -> Any:
    """The code of the bank's letter: by it alone a person without a card is known."""
    username, code = username_sent(), request.form.get("code", "")
    code = "".join(code.split()).replace("-", "").upper()
    if username:
        limit_tries(username)
    # Before it is accepted: its card may be registered by now, or "not me" have voided it. Asked
    # only for a right code, so that a wrong one costs the relay nothing and tells nothing.
    if username and _opens(username, code):
        ceremonies.settle_pending(relay(), database(), sessions.browser(), username)
    if not username or not _opens(username, code):
        mistake = "Username and code do not fit together, or the code was used or is too old."
        return render_template("enrol.html", mistake=mistake), 400
    sessions.begin(username, "enrolling")
    return redirect(url_for(".phones"), 303)


def _opens(username: str, code: str) -> bool:
    row = (
        database()
        .execute(
            "SELECT activation_hash FROM user WHERE username = ? AND activation_ends_at > ?",
            (username, int(time.time())),
        )
        .fetchone()
    )
    known = (row["activation_hash"] if row else None) or sessions.hashed("of no letter")
    return hmac.compare_digest(known, sessions.hashed(code))
