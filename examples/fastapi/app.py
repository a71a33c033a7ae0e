"""Sign-in with a card in FastAPI, and the relay's events passed on to the page as they come.

    pip install -r requirements.txt ../../clients/python
    export FIDO_RELAY_API_KEY=rk_...        # fido-relay client create --name "Harbour Bank"
    python app.py                           # http://127.0.0.1:5001

The five phases are those of examples/flask, which is the complete application; this one is one
process, and keeps in memory who waits and who is signed in.
"""

import base64
import hashlib
import os
import pathlib
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fido_relay import AsyncFidoRelay, FidoRelayError, Opened
from pydantic import BaseModel, Field

PAGE = (pathlib.Path(__file__).parent / "page.html").read_text()
WAITING, REMEMBERED = "waiting", 10_000
# Seconds: how long a card's yes may be redeemed, and how long a session lasts.
REDEEM_S, SESSION_S = 60, 900

app = FastAPI(openapi_url=None)
relay = AsyncFidoRelay(
    os.environ.get("FIDO_RELAY_URL", "http://127.0.0.1:8080"),
    api_key=os.environ["FIDO_RELAY_API_KEY"],
    longest_pause=2,
)


@dataclass(frozen=True)
class Attempt:
    """A sign-in under way, and the browser that it belongs to."""

    browser: str
    username: str
    opened: Opened


attempts: dict[str, Attempt] = {}
signed_in: dict[str, tuple[str, float]] = {}


class SignIn(BaseModel):
    username: str = Field(min_length=1, max_length=255)


def digest(name: str) -> str:
    """What a policy allows the page's own style and script by."""
    text = PAGE.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{digest('style')}'; connect-src 'self'; "
    f"script-src 'sha256-{digest('script')}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@app.get("/")
def page() -> HTMLResponse:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(PAGE, headers=headers)


def keep(response: Response, name: str) -> str:
    """A new secret in the browser's cookie. SameSite and bodies in JSON keep other sites out."""
    secret = secrets.token_urlsafe(32)
    response.set_cookie(name, secret, httponly=True, samesite="strict", secure=True, max_age=SESSION_S)
    return secret


# Phase 1: the backend receives the request. Phase 2: the page shows the code for the phone.
@app.post("/sign-in")
async def phase_1_receive(asked: SignIn, response: Response) -> dict[str, str | int]:
    options = {"userVerification": "required"}
    opened = await relay.open("authentication", asked.username, options=options)
    while len(attempts) >= REMEMBERED:
        del attempts[next(iter(attempts))]
    attempts[opened.id] = Attempt(keep(response, WAITING), asked.username, opened)
    return {"id": opened.id, "code": opened.code or "", "expires_in": opened.expires_in}


def phase_2_own(ceremony_id: str, request: Request) -> Attempt:
    """To any browser but the one that asked there is no such sign-in."""
    attempt = attempts.get(ceremony_id)
    theirs = request.cookies.get(WAITING, "")
    if attempt is None or not secrets.compare_digest(attempt.browser.encode(), theirs.encode()):
        raise HTTPException(404)
    return attempt


# Phase 3: the phone and the card do their part, and the page hears of each step.
@app.get("/sign-in/{ceremony_id}/events")
async def phase_3_wait(ceremony_id: str, request: Request) -> StreamingResponse:
    phase_2_own(ceremony_id, request)
    since = int(request.headers.get("last-event-id") or 0)

    async def steps() -> AsyncIterator[str]:
        async for event in relay.events(ceremony_id, since=since):
            yield f"id: {event.seq}\nevent: {event.step}\ndata:\n\n"

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(steps(), media_type="text/event-stream", headers=headers)


@app.post("/sign-in/{ceremony_id}/cancel", status_code=204)
async def cancel(ceremony_id: str, request: Request) -> None:
    """Takes the prompt off the phone. The page hears of it as of any other end."""
    phase_2_own(ceremony_id, request)
    await relay.cancel(ceremony_id)


# Phase 4: the answer comes back and is verified. Phase 5: the backend completes, once.
@app.post("/sign-in/{ceremony_id}/finish")
async def phase_4_and_5(ceremony_id: str, request: Request, response: Response) -> dict[str, str]:
    attempt = phase_2_own(ceremony_id, request)
    ceremony = await relay.read(ceremony_id)
    if not ceremony.is_closed:
        raise HTTPException(409)
    if attempts.pop(ceremony_id, None) is None:
        raise HTTPException(404)
    if ceremony.status != "succeeded":
        return {"status": ceremony.status}
    result = await relay.verify_result(ceremony.result, attempt.opened.expected)
    if result.auth_time + REDEEM_S < time.time():
        # A page that was left open must not sign somebody in hours later.
        return {"status": "expired"}
    response.delete_cookie(WAITING)
    now = time.monotonic()
    for over in [key for key, (_, until) in signed_in.items() if until < now]:
        del signed_in[over]
    signed_in[keep(response, "session")] = (attempt.username, now + SESSION_S)
    return {"status": "succeeded"}


@app.get("/me")
def who_am_i(request: Request) -> dict[str, str | None]:
    username, until = signed_in.get(request.cookies.get("session", ""), (None, 0.0))
    return {"username": username if time.monotonic() < until else None}


@app.exception_handler(FidoRelayError)
def relay_is_down(request: Request, error: Exception) -> JSONResponse:
    print(f"the relay: {error}", file=sys.stderr)
    return JSONResponse({"detail": "The card service does not answer."}, 503)


if __name__ == "__main__":
    host, _, port = (sys.argv[1:] or ["127.0.0.1:5001"])[0].rpartition(":")
    listener = socket.create_server((host, int(port)))
    print("open: http://{}:{}".format(*listener.getsockname()), flush=True)
    config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])
