"""Signing in and out, and enrolment with the code of the bank's letter."""

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
    """Does not look up the user, so that the answer does not reveal whether one exists."""
    username = username_sent()
    if not username:
        return render_template("sign_in.html", mistake="Please enter your username."), 400
    limit_tries(username)
    return ask_for_card("authentication", username, "none")


@pages.post("/sign-out")
def sign_out() -> Response:
    """Always possible; open prompts are cancelled if the relay answers."""
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
    """The code of the bank's letter, which authenticates a user without a card."""
    username, code = username_sent(), request.form.get("code", "")
    code = "".join(code.split()).replace("-", "").upper()
    if username:
        limit_tries(username)
    # Settle first: the card may be registered by now, or "not me" may have voided the letter. Only
    # for a right code, so that a wrong one causes no call and reveals nothing.
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
