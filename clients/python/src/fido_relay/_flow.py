"""Conversations with the relay, without the waiting: a flow is a generator that yields what to
send or how long to pause, and is given the answers. So the rules are written once, and two small
drivers, one that blocks and one that is awaited, perform them. No IO here.
"""

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from .errors import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """A request. `timeout` in seconds is for the whole silence before an answer."""

    method: str
    path: str
    timeout: float = 15.0
    params: Mapping[str, int] | None = None
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pause:
    """Nothing for so many seconds."""

    seconds: float


Flow = Generator[Send | Pause, httpx.Response | None, T]

FIRST_S, LONGEST_S = 0.2, 5.0
ASKED_AT_MOST_S = 30.0
"""A `Retry-After` beyond this is the caller's to decide about."""


def send(request: Send) -> Flow[httpx.Response]:
    """Sends it. A transport error is raised here, in the midst of the flow."""
    response = yield request
    assert response is not None, "a driver answers what is sent"
    return response


def may_pass(response: httpx.Response) -> bool:
    """Whether the same request may be answered otherwise a little later."""
    return response.status_code == 429 or response.status_code >= 500


def retry_after(response: httpx.Response) -> float | None:
    """Seconds. The relay sends no dates, but a proxy may (RFC 9110, section 10.2.3)."""
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def back_off(attempt: int) -> float:
    """Grows from one attempt to the next, and is drawn by chance so that callers do not march in
    step."""
    longest: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 10))
    return random.uniform(longest / 2, longest)


def problem(response: httpx.Response) -> Problem:
    """A refusal, whoever on the way it came from."""
    try:
        body: Mapping[str, Any] = response.json()
        code = str(body.get("code") or body.get("error") or "unknown")
        title = str(body.get("title") or body.get("error_description") or code)
        detail = body.get("detail")
    except (ValueError, AttributeError):
        # Something in between answered, not the relay.
        code, title, detail = "unknown", f"HTTP {response.status_code}", None
    told = str(detail) if detail else None
    return Problem(response.status_code, code, title, told, retry_after(response))


def pause_before(response: httpx.Response, attempt: int) -> float:
    """What the relay asked for, and never less than the own pace."""
    return max(retry_after(response) or 0.0, back_off(attempt))


def segment(text: str) -> str:
    """One segment of a path, whatever is in it."""
    return quote(text, safe="")
