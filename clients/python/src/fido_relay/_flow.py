"""Calls to the relay as generators without IO. A flow yields requests and pauses and receives the
answers, so that the logic is written once and two small drivers, blocking and async, perform it.
"""

import json
import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

from .errors import FidoRelayError, Problem, UnexpectedAnswer

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """A request. The relay may hold its answer for `hold` seconds; `until` is the caller's deadline
    (monotonic clock)."""

    method: str
    path: str
    hold: float = 0.0
    until: float = 0.0
    is_idempotent: bool = True
    """Whether it may be retried when the fate of the first request is unknown."""
    params: Mapping[str, str | int] | None = None
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Pause:
    """A wait of so many seconds."""

    seconds: float


Flow = Generator[Send | Pause, Answer | None, T]

FIRST_S, LONGEST_S = 0.2, 5.0


def send(request: Send) -> Flow[Answer]:
    """Sends it. The driver raises transport errors here, inside the flow."""
    answer = yield request
    assert answer is not None, "a driver answers what is sent"
    return answer


def is_success(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def may_pass(answer: Answer) -> bool:
    """Whether a retry may succeed; a 501 is permanent."""
    return answer.status == 429 or (answer.status >= 500 and answer.status != 501)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """In seconds. The relay sends no dates, but a proxy may (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def back_off(attempt: int) -> float:
    """Grows with each attempt, and is random so that callers do not retry in step."""
    longest: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 10))
    return random.uniform(longest / 2, longest)


def refusal(answer: Answer) -> FidoRelayError:
    """The error for an unsuccessful answer of the relay or a proxy."""
    if answer.status < 400:
        error: FidoRelayError = UnexpectedAnswer(answer.status, "an answer of its own")
        error.__cause__ = ValueError("a redirect, which is not followed")
        return error
    cause = None
    try:
        body: Mapping[str, Any] = json.loads(answer.body)
        code = str(body.get("code") or body.get("error") or "unknown")
        title = str(body.get("title") or body.get("error_description") or code)
        detail = body.get("detail")
    except (ValueError, AttributeError, RecursionError) as problem:
        # The page of a proxy.
        code, title, detail, cause = "unknown", f"HTTP {answer.status}", None, problem
    said = str(detail) if detail else None
    error = Problem(answer.status, code, title, said, retry_after(answer.headers))
    error.__cause__ = cause
    return error


def pause_before(answer: Answer, attempt: int) -> float:
    """The relay's `Retry-After`, and at least the back-off."""
    return max(retry_after(answer.headers) or 0.0, back_off(attempt))


def segment(text: str) -> str:
    """Quotes one segment of a path; also dots, since HTTP libraries resolve `..`."""
    return quote(text, safe="").replace(".", "%2E")
