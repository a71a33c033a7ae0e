"""Sign-in with a card in FastAPI, with the relay's events forwarded to the page as they come.

    pip install -r requirements.txt ../../clients/python
    export FIDO_RELAY_API_KEY=rk_...        # fido-relay client create --name "Harbour Bank"
    python app.py                           # http://127.0.0.1:5001

The five phases are those of examples/flask, which is the complete application. This one is a single
process and keeps attempts and sessions in memory.

The page watches through this application and not at the relay, so it needs no page origin and no
second host in the policy, and the ticket stays on the server. A waiting page costs a task and two
connections, but no thread; WAITING_PAGES limits them. If more than 20 pages a second begin to wait,
raise the relay's `limits.handshakes_per_s_per_ip` for this host.

    FIDO_RELAY_URL, FIDO_RELAY_ISSUER       the relay, and its public URL if that differs
    BANK_HOSTS                              accepted host names, by default 127.0.0.1 localhost
    BANK_TRIES_PER_ADDRESS, _PER_USERNAME   sign-ins a minute, by default 20, 10
    FORWARDED_ALLOW_IPS                     trusted proxies (an option of uvicorn)
"""

import base64
import hashlib
import logging
import os
import pathlib
import re
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated

import uvicorn
from cachetools import TTLCache
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fido_relay import AsyncFidoRelay, Context, FidoRelayError, InvalidResult, Opened, Problem
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

PAGE = (pathlib.Path(__file__).parent / "page.html").read_text()
# Browsers accept cookies with this prefix only from this host over a secure connection.
WAITING, SESSION, BROWSER = "__Host-waiting", "__Host-session", "__Host-browser"
# Seconds: the user's time, how long a success can be redeemed, the life of a session.
TIMEOUT_S, REDEEM_S, SESSION_S = 120, 60, 900
# After its timeout an attempt still needs time for the check of the answer and the redemption.
ATTEMPT_S = TIMEOUT_S + 120
# A waiting page holds two connections, and a process usually has 1,024 open files.
REMEMBERED, WAITING_PAGES, PAGES_EACH = 10_000, 400, 4
# How long the relay recognises a browser after a success. It does not authenticate the user.
BROWSER_S = 90 * 86400
PER_ADDRESS = int(os.environ.get("BANK_TRIES_PER_ADDRESS", "20"))
PER_USERNAME = int(os.environ.get("BANK_TRIES_PER_USERNAME", "10"))
# Reasons with a remedy, which reveal nothing about a card.
REASONS = {"wrong_code", "upstream_unavailable", "upstream_full"}

log = logging.getLogger("uvicorn.error")
URL = os.environ.get("FIDO_RELAY_URL", "http://127.0.0.1:8080")
relay = AsyncFidoRelay(
    URL,
    api_key=os.environ["FIDO_RELAY_API_KEY"],
    issuer=os.environ.get("FIDO_RELAY_ISSUER", URL),
    longest_pause=2,
    timeout=8,
)


@dataclass
class Attempt:
    """An open sign-in."""

    opened: Opened
    browser: str
    pages: int = 0


# By the secret in the browser's cookie, so that a browser has one open sign-in.
attempts: TTLCache[str, Attempt] = TTLCache(REMEMBERED, ATTEMPT_S)
signed_in: TTLCache[str, str] = TTLCache(REMEMBERED, SESSION_S)
# Sign-ins of this minute by address and by username; browsers in which a user has signed in.
tries: TTLCache[tuple[str, str, int], int] = TTLCache(10 * REMEMBERED, 60)
known: TTLCache[tuple[str, str], bool] = TTLCache(REMEMBERED, BROWSER_S)
waiting_pages = 0


class SignIn(BaseModel):
    username: str = Field(min_length=1, max_length=255)


def digest(name: str) -> str:
    """The hash by which the policy allows the page's own style and script."""
    text = PAGE.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{digest('style')}'; connect-src 'self'; "
    f"script-src 'sha256-{digest('script')}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with relay:
        yield


def from_own_page(request: Request) -> None:
    """Refuses other hosts of the same site; SameSite cookies already exclude other sites."""
    from_where = request.headers.get("sec-fetch-site", "same-origin")
    if request.method == "POST" and from_where != "same-origin":
        raise HTTPException(403, "Only this application's own page may ask for this.")


app = FastAPI(
    openapi_url=None,
    lifespan=lifespan,
    dependencies=[Depends(from_own_page)],
    max_body_size=4096,
)
hosts = os.environ.get("BANK_HOSTS", "127.0.0.1 localhost").split()
app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)

# Deleting a cookie requires the same attributes.
COOKIE = {"httponly": True, "samesite": "strict", "secure": True}
BROWSER_COOKIE = {**COOKIE, "samesite": "lax", "max_age": BROWSER_S}


def keep(response: Response, name: str, seconds: int) -> str:
    """Sets a new secret in the browser's cookie."""
    secret = secrets.token_urlsafe(32)
    response.set_cookie(name, secret, max_age=seconds, **COOKIE)
    return secret


@app.get("/")
async def page() -> HTMLResponse:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(PAGE, headers=headers)


# Phase 1: the backend receives the request. Phase 2: the page shows the code for the phone.
@app.post("/sign-in")
async def phase_1_receive(
    asked: SignIn, request: Request, response: Response
) -> dict[str, str | int]:
    context = browser(request)
    limit_tries(context, asked.username)
    earlier = request.cookies.get(WAITING, "")
    if attempt := attempts.get(earlier):
        # The phone rings for one request of a user at a time.
        await cancel_at_relay(attempt)
        attempts.pop(earlier, None)
    attempts.expire()
    if len(attempts) >= REMEMBERED:
        raise HTTPException(
            503, "Too many people sign in at once. Please try again.", {"Retry-After": "10"}
        )
    try:
        opened = await relay.open(
            "authentication",
            asked.username,
            timeout_s=TIMEOUT_S,
            context=context,
            options={"userVerification": "required"},
        )
    except Problem as refusal:
        # The relay explains its rules for names without repeating the name.
        field, _, rule = (refusal.detail or "").partition(": ")
        if refusal.status == 400 and field == "/username":
            raise HTTPException(422, f"username: {rule}") from None
        raise
    attempts[keep(response, WAITING, ATTEMPT_S)] = Attempt(opened, context["browser"])
    response.set_cookie(BROWSER, context["browser"], **BROWSER_COOKIE)
    return {"id": opened.id, "code": opened.code or "", "expires_in": opened.expires_in}


def browser(request: Request) -> Context:
    """The browser's context for the phone, and the secret that identifies it."""
    sent = request.cookies.get(BROWSER, "")
    secret = sent if re.fullmatch(r"[A-Za-z0-9_-]{43}", sent) else secrets.token_urlsafe(32)
    context = Context(user_agent=request.headers.get("user-agent", ""), browser=secret)
    try:
        context["ip"] = str(ip_address(request.client.host if request.client else ""))
    except ValueError:
        pass  # a proxy's header may contain anything
    return context


def limit_tries(context: Context, username: str) -> None:
    """Limits tries with the same answer for unknown users. Browsers in which the user has signed in
    do not count towards the username, so that an attacker cannot lock the user out. A public page
    asks for a captcha before this limit."""
    now = int(time.time())
    counted = [("address", network(context.get("ip", "")), PER_ADDRESS)]
    if (context["browser"], username) not in known:
        counted.append(("username", username, PER_USERNAME))
    for kind, name, most in counted:
        key = (kind, name, now // 60)
        tries[key] = tries.get(key, 0) + 1
        if tries[key] > most:
            detail = "Too many tries within a minute. Please wait a little."
            raise HTTPException(429, detail, {"Retry-After": str(60 - now % 60)})


def network(address: str) -> str:
    """The unit to count: an IPv6 customer has a whole /64."""
    return str(ip_network((address, 64), strict=False)) if ":" in address else address


def phase_2_own(ceremony_id: str, request: Request) -> Attempt:
    """Only the browser that asked finds its sign-in."""
    attempt = attempts.get(request.cookies.get(WAITING, ""))
    if attempt is None or attempt.opened.id != ceremony_id:
        raise HTTPException(404, "This browser has no such sign-in under way.")
    return attempt


Own = Annotated[Attempt, Depends(phase_2_own)]


async def place(attempt: Own) -> AsyncIterator[None]:
    """Holds a slot for a waiting page until its stream ends."""
    global waiting_pages
    if attempt.pages >= PAGES_EACH:
        raise HTTPException(429, "This sign-in is open in too many pages.", {"Retry-After": "5"})
    if waiting_pages >= WAITING_PAGES:
        raise HTTPException(503, "Too many pages wait.", {"Retry-After": "5"})
    attempt.pages += 1
    waiting_pages += 1
    try:
        yield
    finally:
        attempt.pages -= 1
        waiting_pages -= 1


# Phase 3: the phone and the card do their part, and the page gets each step.
@app.get(
    "/sign-in/{ceremony_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(place)],
)
async def phase_3_wait(
    attempt: Own, last_event_id: Annotated[int, Header(ge=0, lt=2**31)] = 0
) -> AsyncIterator[ServerSentEvent]:
    try:
        async for event in relay.events(attempt.opened.id, since=last_event_id):
            yield ServerSentEvent(id=str(event.seq), event=event.step, raw_data="")
    except FidoRelayError as error:
        # The stream ends, and the browser reconnects.
        log.warning("the relay: %s", error)


@app.post("/sign-in/{ceremony_id}/cancel", status_code=204)
async def cancel(attempt: Own) -> None:
    """Removes the prompt from the phone. The page gets the end as usual."""
    await cancel_at_relay(attempt)


async def cancel_at_relay(attempt: Attempt) -> None:
    try:
        await relay.cancel(attempt.opened.id)
    except Problem as refusal:
        if refusal.code != "not_found":
            raise


# Phase 4: the answer comes back and is verified. Phase 5: the backend completes, once.
@app.post("/sign-in/{ceremony_id}/finish")
async def phase_4_and_5(attempt: Own, request: Request, response: Response) -> dict[str, str]:
    outcome, username = await phase_4_verify(attempt)
    # Removed only now, so that an unreachable relay can be asked again. Of concurrent requests only
    # one continues.
    if attempts.pop(request.cookies[WAITING], None) is None:
        raise HTTPException(404, "This sign-in was finished already.")
    response.delete_cookie(WAITING, **COOKIE)
    if username:
        signed_in.pop(request.cookies.get(SESSION, ""), None)
        signed_in[keep(response, SESSION, SESSION_S)] = username
        known[attempt.browser, username] = True
    return outcome


async def phase_4_verify(attempt: Attempt) -> tuple[dict[str, str], str | None]:
    """The outcome, and the user to sign in."""
    try:
        ceremony = await relay.read(attempt.opened.id)
        if not ceremony.is_closed:
            raise HTTPException(409, "This sign-in is still under way.")
        if ceremony.status != "succeeded":
            if ceremony.reason in {"not_me", "clone_suspected"}:
                log.warning("%s ended as %s", ceremony.id, ceremony.reason)
            details = {"reason": ceremony.reason} if ceremony.reason in REASONS else {}
            return {"status": ceremony.status, **details}, None
        result = await relay.verify_result(ceremony.result, attempt.opened.expected)
    except InvalidResult as error:
        log.error("%s: %s", attempt.opened.id, error)
        return {"status": "unproven"}, None
    except Problem as refusal:
        if refusal.code != "not_found":
            raise
        # A relay with a new store does not know it.
        return {"status": "unproven"}, None
    if result.auth_time + REDEEM_S < time.time():
        # A page that was left open must not sign in hours later.
        return {"status": "expired"}, None
    return {"status": "succeeded"}, result.username


@app.get("/me")
async def who_am_i(request: Request, response: Response) -> dict[str, str | None]:
    response.headers["Cache-Control"] = "no-store"
    return {"username": signed_in.get(request.cookies.get(SESSION, ""))}


@app.post("/sign-out", status_code=204)
async def sign_out(request: Request, response: Response) -> None:
    signed_in.pop(request.cookies.get(SESSION, ""), None)
    response.delete_cookie(SESSION, **COOKIE)


@app.exception_handler(RequestValidationError)
async def not_understood(_: Request, error: RequestValidationError) -> JSONResponse:
    """The errors and their places. The library's own answer would repeat the input."""
    places = ((one["loc"][1:] or one["loc"], one["msg"]) for one in error.errors())
    wrong = (f"{'.'.join(map(str, place))}: {rule}" for place, rule in places)
    return JSONResponse({"detail": "; ".join(wrong)}, 422)


@app.exception_handler(FidoRelayError)
async def relay_is_down(_: Request, error: FidoRelayError) -> JSONResponse:
    log.warning("the relay: %s", error)
    after = {"Retry-After": "5"}
    if isinstance(error, Problem) and error.status == 429:
        after = {"Retry-After": str(int(error.retry_after or 0) + 1)}
        return JSONResponse({"detail": "Too many requests at once. Please wait a little."}, 429, after)
    return JSONResponse({"detail": "The card service does not answer."}, 503, after)


if __name__ == "__main__":
    host, _, port = (sys.argv[1:] or ["127.0.0.1:5001"])[0].rpartition(":")
    listener = socket.create_server((host, int(port)))
    print("open: http://{}:{}".format(*listener.getsockname()), flush=True)
    config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])
