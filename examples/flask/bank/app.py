"""The application: configuration, what goes around every request, and what is said upon errors.

Configuration comes from the environment; `settings` names all of it.
"""

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fido_relay import FidoRelay, FidoRelayError, Problem
from flask import Flask, Response, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.middleware.proxy_fix import ProxyFix

from . import ceremonies, sessions, storage, views, webhooks, words

HEADERS = {
    # Everything is from here. The QR code of a pairing is a `data:` picture: in one, nothing runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The CSRF protection looks at the referrer of the bank's own pages.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the variables say."""
    folder = Path(environment.get("BANK_DATA_DIR", "./bank-data"))
    keys = environment.get("BANK_WEBHOOK_KEYS", "").split()
    return {
        "DATABASE": folder / "bank.sqlite3",
        "RELAY_URL": environment.get("FIDO_RELAY_URL", "http://127.0.0.1:8080"),
        # Its public URL, where the bank dials another.
        "RELAY_ISSUER": environment.get("FIDO_RELAY_ISSUER"),
        # In production: `client_id`, `key_id` and `private_key` instead, see clients/python.
        "RELAY_API_KEY": environment.get("FIDO_RELAY_API_KEY", ""),
        "WEBHOOK_PUBLIC_KEYS": [key for key in keys if key.startswith("whpk_")],
        "WEBHOOK_SECRETS": [key for key in keys if key.startswith("whsec_")],
        # So many proxies in front say who asks (X-Forwarded-For, -Proto, -Host).
        "PROXIES": int(environment.get("BANK_PROXIES", "0")),
        "TRUSTED_HOSTS": environment.get("BANK_HOSTS", "127.0.0.1 localhost").split(),
        "SECRET_KEY": environment.get("BANK_SECRET_KEY") or _kept_secret(folder),
    }


def _kept_secret(folder: Path) -> str:
    """One that outlives a restart: made at the first start, for the bank's eyes alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "secret-key"
    try:
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32))
    except FileExistsError:
        pass
    return file.read_text()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The bank; `flask --app bank.app run` finds this."""
    app = Flask(__name__)
    app.config.update(
        # Browsers take a `__Host-` cookie from this very host alone, over https or from this
        # machine (Safari: over https only).
        SESSION_COOKIE_NAME="__Host-bank",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        # Not `Strict`: who comes by a link would come without it, get a new one, and be signed out.
        # Every change is a POST with a token.
        SESSION_COOKIE_SAMESITE="Lax",
        # A token of a form is as good as the session that it belongs to.
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.config.update(settings(os.environ) if config is None else config)
    if not app.config["RELAY_API_KEY"]:
        raise SystemExit("set FIDO_RELAY_API_KEY (fido-relay client create …)")
    if app.config["PROXIES"]:
        count = app.config["PROXIES"]
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    app.jinja_env.globals.update(amount=ceremonies.amount)
    app.jinja_env.filters["data_uri"] = lambda svg: (
        "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    )
    # A person waits for the page: what the relay asks us to wait for longer, we ask of them.
    app.extensions["fido_relay"] = FidoRelay(
        app.config["RELAY_URL"],
        api_key=app.config["RELAY_API_KEY"],
        issuer=app.config["RELAY_ISSUER"],
        longest_pause=2,
    )
    storage.init(app)
    csrf = CSRFProtect(app)
    app.register_blueprint(views.pages)
    app.register_blueprint(webhooks.hooks)
    # It has a signature instead.
    csrf.exempt(webhooks.hooks)

    @app.before_request
    def who_asks() -> None:
        if request.blueprint == "pages":
            sessions.load(is_the_person=request.endpoint != "pages.progress")

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers.update(HEADERS)
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
    """The relay did not do it: whose turn is it now?"""
    if isinstance(error, Problem):
        if error.status == 429:
            return told(words.TOO_MANY, 429, error.retry_after or 5)
        if error.code in ("invalid_request", "unprocessable"):
            return told(words.NOT_TAKEN, 400)
        if error.status < 500:
            # A key or a scope that is missing, most likely: for the operator, not for the person.
            ceremonies.log.error("the relay refuses: %s", error)
            return told(words.OURS, 500)
        return told(words.NOT_NOW, 503, error.retry_after or 5)
    ceremonies.log.error("the relay: %s", error)
    return told(words.NOT_NOW, 503, 5)


def no_page(error: HTTPException) -> Response:
    if isinstance(error, SecurityError):
        # Another host's name: pages have links, and none could be made for it.
        return Response("This is not the host that you asked for.\n", 400, mimetype="text/plain")
    status = error.code or 500
    if status < 400:
        return Response.force_type(error.get_response(), request.environ)
    said = {404: words.NOT_FOUND, 405: words.NOT_FOUND, 500: words.OURS}
    return told(said.get(status, words.NOT_TAKEN), status)


def told(said: words.Words, status: int, retry_after: float | None = None) -> Response:
    """A page (for a script: JSON) that says what is wrong and what to do."""
    advice = said.advice.format(seconds=int(retry_after or 0))
    if request.endpoint in ("pages.progress", "hooks.relay"):
        response = Response(status=status)
    else:
        page = render_template("error.html", words=said, advice=advice)
        response = Response(page, status)
    if retry_after:
        response.headers["Retry-After"] = str(int(retry_after))
    return response
