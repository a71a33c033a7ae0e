"""The user's phones and cards."""

from typing import Any

from fido_relay import PriorAuth
from flask import abort, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from . import pairings, sessions
from .storage import database
from .web import ask_for_card, pages, relay, required


@pages.get("/phones")
@required("signed_in", "enrolling")
def phones() -> str:
    return render_template("phones.html", devices=relay().devices(g.user["username"]))


@pages.post("/phones")
@required("signed_in", "enrolling", fresh=True)
def pair() -> Any:
    """The relay notifies the user's existing phones of a new one; also notify the user by mail."""
    username = g.user["username"]
    pairings.void(relay(), database(), username)
    pairing = relay().open_pairing(username)
    # If the session has ended meanwhile, the links may have been voided before this one was opened:
    # then it must not be shown.
    sessions.load()
    if g.level is None:
        flash("Please sign in first.")
        return redirect(url_for(".sign_in"), 303)
    return render_template("pairing.html", pairing=pairing)


@pages.post("/phones/<device_id>/revoke")
@required("signed_in")
def revoke(device_id: str) -> Response:
    # The relay lets this bank revoke every user's phone, so the owner must be checked here.
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
