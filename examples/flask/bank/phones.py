"""The user's phones and cards."""

from fido_relay import PriorAuth
from flask import abort, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from .web import ask_for_card, pages, relay, required


@pages.get("/phones")
@required("signed_in", "enrolling")
def phones() -> str:
    return render_template("phones.html", devices=relay().devices(g.user["username"]))


@pages.post("/phones")
@required("signed_in", "enrolling", fresh=True)
def pair() -> str:
    """The relay tells the user's earlier phones of a new one; tell the user by mail too."""
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
