"""Shared by all pages. Every change is a POST with a CSRF token; one that needs a card opens a
ceremony and redirects to its page."""

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from fido_relay import CeremonyType, Context, FidoRelay, PriorAuth
from flask import Blueprint, abort, current_app, flash, g, redirect, request, url_for
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from . import ceremonies, sessions, tries
from .storage import database

pages = Blueprint("pages", __name__)

JOINERS = dict.fromkeys(map(ord, "\u200c\u200d\ufe0f"))


def relay() -> FidoRelay:
    client: FidoRelay = current_app.extensions["fido_relay"]
    return client


def required(*levels: str, fresh: bool = False) -> Callable[..., Any]:
    """Restricts a page to signed-in users (or, by `levels`, enrolling ones).

    Settles first, since an answer on the phone such as "that was not me" may end this session.
    While the relay does not answer, the page is not served.
    """

    def wrap(page: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(page)
        def guarded(*args: Any, **more: Any) -> Any:
            if g.level in levels:
                username = g.user["username"]
                ceremonies.settle_pending(relay(), database(), sessions.browser(), username)
                sessions.load()
            if g.level not in levels:
                flash("Please sign in first.")
                return redirect(url_for("pages.sign_in"), 303)
            if fresh and not g.is_fresh:
                flash("For this, please sign in again with your card.")
                return redirect(url_for("pages.sign_in"), 303)
            return page(*args, **more)

        return guarded

    return wrap


def form_id() -> str:
    """The one-time id of the form, which makes repeated submissions idempotent."""
    sent = request.form.get("form_id", "")
    return sent if re.fullmatch(r"[A-Za-z0-9_-]{22}", sent) else abort(400)


def ask_for_card(
    ceremony_type: CeremonyType, username: str, prior_auth: PriorAuth, payment_id: int | None = None
) -> Response:
    """Phase 1, and a redirect to the page of phases 2 and 3."""
    context: Context = {
        "user_agent": request.user_agent.string,
        "browser": sessions.kept_browser(),
    }
    if request.remote_addr:
        context["ip"] = request.remote_addr
    order = ceremonies.Order(
        sessions.browser(), form_id(), ceremony_type, username, prior_auth, context, payment_id
    )
    row = ceremonies.phase_1_receive(relay(), database(), order)
    if row is None:
        flash("That was not asked for: it is closed, or you asked for something else meanwhile.")
        return redirect(url_for(".overview"), 303)
    return sessions.keep_browser(redirect(url_for(".ceremony", ceremony_id=row["id"]), 303))


def limit_tries(username: str) -> None:
    """Refuses with 429 after too many tries, with the same text for every username."""
    seconds = tries.wait_s(
        database(),
        current_app.config["TRIES"],
        request.remote_addr or "",
        username,
        sessions.kept_browser(),
    )
    if seconds:
        raise TooManyRequests(retry_after=seconds)


def username_sent() -> str | None:
    return username_of(request.form.get("username", ""))


def username_of(text: str) -> str | None:
    """The normalised username."""
    return printable(text.lower(), 255)


def printable(text: str, longest: int) -> str | None:
    """A text for the phone: one normalised line without control or invisible characters. The relay
    checks whether joiners are allowed where they are."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    seen = text.translate(JOINERS)
    return text if seen.isprintable() and len(text) <= longest else None
