"""Browsers and their sessions.

The cookie holds a random id (signed by Flask, with the CSRF token) and nothing of a ceremony. The
session is in the database, so that signing out, "that was not me" and expiry also apply to copied
cookies. Each sign-in and sign-out changes the id.

A second cookie identifies the browser for three months: bank and relay have separate limits for
browsers in which the user has signed in before. It does not authenticate the user.
"""

import hashlib
import re
import secrets
import time

from flask import g, request, session
from werkzeug.wrappers import Response

from .storage import database

IDLE_S = 10 * 60
ABSOLUTE_S = 8 * 3600
ENROLLING_S = 15 * 60
FRESH_S = 5 * 60
"""How recently the card must have been used to add a phone or a card."""
KEPT = "__Host-browser"
KEPT_S = 90 * 86400
"""How long the relay knows a browser after the last success in it."""


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def browser() -> str:
    """The hashed id of this browser; a new browser gets an id."""
    if "browser" not in session:
        session["browser"] = secrets.token_urlsafe(32)
    return hashed(session["browser"])


def kept_browser() -> str:
    """The long-lived id of this browser as database and relay get it: a hash of the cookie."""
    return hashed(_kept())


def keep_browser(response: Response) -> Response:
    """Extends the cookie by three months from the last use."""
    response.set_cookie(
        KEPT, _kept(), max_age=KEPT_S, secure=True, httponly=True, samesite="Lax"
    )
    return response


def _kept() -> str:
    if "kept" not in g:
        sent = request.cookies.get(KEPT, "")
        g.kept = sent if re.fullmatch(r"[A-Za-z0-9_-]{43}", sent) else secrets.token_urlsafe(32)
    kept: str = g.kept
    return kept


def begin(username: str, level: str) -> None:
    """Signs in under a new id, which prevents session fixation."""
    end()
    now = int(time.time())
    database().execute(
        "INSERT INTO session VALUES (?, ?, ?, ?, ?)", (browser(), username, level, now, now)
    )


def end() -> None:
    """Signs out; the id is never used again."""
    if "browser" in session:
        database().execute("DELETE FROM session WHERE browser = ?", (browser(),))
    session.clear()


def load() -> None:
    """Loads the session: `g.user`, `g.level`, `g.is_fresh`."""
    g.user, g.level, g.is_fresh = None, None, False
    if "browser" not in session:
        return
    db, now = database(), int(time.time())
    row = db.execute(
        "SELECT * FROM session JOIN user USING (username) WHERE browser = ?", (browser(),)
    ).fetchone()
    if row is None:
        return
    longest = ABSOLUTE_S if row["level"] == "signed_in" else ENROLLING_S
    if now - row["seen_at"] >= IDLE_S or now - row["began_at"] >= longest:
        db.execute("DELETE FROM session WHERE browser = ?", (row["browser"],))
        return
    if now != row["seen_at"]:
        db.execute("UPDATE session SET seen_at = ? WHERE browser = ?", (now, row["browser"]))
    g.user, g.level = row, row["level"]
    g.is_fresh = g.level == "enrolling" or now - row["began_at"] < FRESH_S
