"""The application: configuration, middleware, and error pages.

All configuration is read from environment variables by `settings`.
"""

import base64
import contextlib
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fido_relay import FidoRelayError, Problem
from flask import Flask, Response, g, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, SecurityError, TooManyRequests
from werkzeug.middleware.proxy_fix import ProxyFix

from . import ceremonies, ceremony_page, payments, phones, relay, sessions, sign_in, storage, words
from .webhooks import hooks
from .web import pages

log = logging.getLogger(__name__)

# Importing them registers their pages on the blueprint.
PAGES = (sign_in, ceremony_page, payments, phones)

# Everything is served from here, except the relay, which pages connect to. The QR code of a pairing
# is a `data:` image, which cannot run scripts.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src {relay}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The CSRF protection checks the referrer of the bank's own pages.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration by environment variables; the README has the table."""
    folder = Path(environment.get("BANK_DATA_DIR", "./bank-data"))
    keys = environment.get("BANK_WEBHOOK_KEYS", "").split()
    return {
        "DATABASE": folder / "bank.sqlite3",
        "RELAY_URL": environment.get("FIDO_RELAY_URL", "http://127.0.0.1:8080"),
        # Its public URL, if the bank connects to another one: pages watch there.
        "RELAY_ISSUER": environment.get("FIDO_RELAY_ISSUER"),
        "RELAY_API_KEY": environment.get("FIDO_RELAY_API_KEY", ""),
        "WEBHOOK_PUBLIC_KEYS": [key for key in keys if key.startswith("whpk_")],
        "WEBHOOK_SECRETS": [key for key in keys if key.startswith("whsec_")],
        # The number of proxies in front that set X-Forwarded-For, -Proto and -Host.
        "PROXIES": int(environment.get("BANK_PROXIES", "0")),
        "TRUSTED_HOSTS": environment.get("BANK_HOSTS", "127.0.0.1 localhost").split(),
        # Sign-in and letter attempts a minute, per address and per username.
        "TRIES": (
            int(environment.get("BANK_TRIES_PER_ADDRESS", "20")),
            int(environment.get("BANK_TRIES_PER_USERNAME", "10")),
        ),
        "SECRET_KEY": environment.get("BANK_SECRET_KEY") or _kept_secret(folder),
    }


def _kept_secret(folder: Path) -> str:
    """Created at the first start, readable by the bank's user only, and atomically: several workers
    may start at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "secret-key"
    if not file.exists():
        mine = folder / f"secret-key.{os.getpid()}"
        with open(os.open(mine, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(mine, file)
        mine.unlink()
    return file.read_text()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The application factory, found by `flask --app bank.app run`."""
    app = Flask(__name__)
    app.config.update(
        # Browsers accept a `__Host-` cookie only from this very host, over https or on loopback
        # (Safari: only over https).
        SESSION_COOKIE_NAME="__Host-bank",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        # Not `Strict`: a visit through a link would come without the cookie, get a new one, and be
        # signed out. Every change is a POST with a token.
        SESSION_COOKIE_SAMESITE="Lax",
        # A form's token lives as long as its session.
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.config.update(settings(os.environ) if config is None else config)
    if not app.config["RELAY_API_KEY"]:
        raise SystemExit("set FIDO_RELAY_API_KEY (fido-relay client create …)")
    if app.config["PROXIES"]:
        count = app.config["PROXIES"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    app.config["RELAY_PAGE_URL"] = (
        app.config["RELAY_ISSUER"] or app.config["RELAY_URL"]
    ).rstrip("/")
    public = urlsplit(app.config["RELAY_PAGE_URL"])
    policy = POLICY.format(relay=f"{public.scheme}://{public.netloc}")
    app.jinja_env.globals.update(
        amount=ceremonies.amount, form_id=lambda: secrets.token_urlsafe(16)
    )
    app.jinja_env.filters["data_uri"] = lambda svg: (
        "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    )
    app.extensions["fido_relay"] = relay.connect(app.config)
    storage.init(app)
    csrf = CSRFProtect(app)
    app.register_blueprint(pages)
    app.register_blueprint(hooks)
    # Webhooks are authenticated by their signature instead.
    csrf.exempt(hooks)

    @app.before_request
    def who_asks() -> None:
        if request.blueprint == "pages":
            sessions.load()

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = policy
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    app.register_error_handler(FidoRelayError, no_relay)
    app.register_error_handler(CSRFError, lambda _: told(words.STALE, 400))
    app.register_error_handler(HTTPException, no_page)
    return app


def no_relay(error: FidoRelayError) -> Response:
    """A request to the relay failed; it may have taken effect nevertheless."""
    if isinstance(error, Problem):
        if error.status == 429:
            return told(words.TOO_MANY, 429, error.retry_after or 5)
        if error.code in ceremonies.NOT_TAKEN:
            return told(words.NOT_TAKEN, 400)
        if error.status < 500:
            # Most likely a missing key or scope: the operator's problem, not the user's.
            log.error("the relay refuses: %s", error)
            return told(words.OURS, 500)
        return told(words.NOT_NOW, 503, error.retry_after or 5)
    log.error("the relay: %s", error)
    return told(words.NOT_NOW, 503, 5)


def no_page(error: HTTPException) -> Response:
    if isinstance(error, SecurityError):
        # A wrong host name: no links can be built for it, so no page.
        return Response("This is not the host that you asked for.\n", 400, mimetype="text/plain")
    status = error.code or 500
    if status < 400:
        return Response.force_type(error.get_response(), request.environ)
    if isinstance(error, TooManyRequests) and isinstance(error.retry_after, int):
        return told(words.TOO_OFTEN, 429, error.retry_after)
    said = {404: words.NOT_FOUND, 405: words.NOT_FOUND, 500: words.OURS}
    return told(said.get(status, words.NOT_TAKEN), status)


def told(said: words.Words, status: int, retry_after: float | None = None) -> Response:
    """An error page with advice; for a webhook only the status."""
    advice = said.advice.format(seconds=int(retry_after or 0))
    if request.blueprint == "hooks":
        response = Response(status=status)
    else:
        # The error may have occurred before the session was loaded.
        for name in ("user", "level"):
            g.setdefault(name, None)
        page = render_template("error.html", words=said, advice=advice)
        response = Response(page, status)
    if retry_after:
        response.headers["Retry-After"] = str(int(retry_after))
    return response
