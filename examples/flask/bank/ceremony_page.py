"""The pages of a ceremony: phases 2 and 3 on the waiting page, then 4 and 5."""

import time
from typing import Any

from flask import abort, current_app, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from . import ceremonies, sessions, tries, words
from .storage import database
from .web import pages, relay

LADDER = (
    ("opened", "Asked for", "bank"),
    ("claimed", "Code accepted", "phone"),
    ("challenged", "Challenge made", "card service"),
    ("card", "Card at the phone", "card"),
    ("verifying", "Answer being checked", "card service"),
    ("closed", "Finished", "bank"),
)


def _own_ceremony(ceremony_id: str) -> Any:
    """Phase 2. Other browsers get 404."""
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
            watch=ceremonies.phase_3_watch(current_app.config["RELAY_PAGE_URL"], row),
            lasts=ceremonies.LASTS_S,
            left=max(0, row["expires_at"] - int(time.time())),
            transaction=ceremonies.words_of(payment) if payment else None,
        )
    said = words.of(row["type"], row["status"], row["reason"])
    good = row["status"] == "succeeded" and row["type"] != "authentication"
    if good and payment and payment["state"] != "approved":
        said, good = words.SUPERSEDED, False
    return render_template("outcome.html", row=row, words=said, good=good, payment=payment)


@pages.post("/ceremony/<ceremony_id>/finish")
def finish(ceremony_id: str) -> Response:
    """Phases 4 and 5, and after a sign-in the session."""
    db, browser = database(), sessions.browser()
    row = _own_ceremony(ceremony_id)
    ceremonies.settle(relay(), db, row["id"])
    row = _own_ceremony(ceremony_id)
    if row["type"] == "authentication" and row["status"] == "succeeded":
        ceremonies.settle_pending(relay(), db, browser, row["username"])
        username = ceremonies.collect_sign_in(db, row["id"], browser)
        if username:
            tries.know(db, sessions.kept_browser(), username)
            sessions.begin(username, "signed_in")
            flash("You are signed in. Your card confirmed it.")
            return redirect(url_for(".overview"), 303)
    if row["status"] == "pending":
        flash("Your phone has not finished yet.")
    return redirect(url_for(".ceremony", ceremony_id=row["id"]), 303)


@pages.post("/ceremony/<ceremony_id>/cancel")
def cancel(ceremony_id: str) -> Response:
    row = _own_ceremony(ceremony_id)
    if row["status"] == "pending":
        ceremonies.cancel(relay(), database(), row)
    return redirect(url_for(".ceremony", ceremony_id=row["id"]), 303)
