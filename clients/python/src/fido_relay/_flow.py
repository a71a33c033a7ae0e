"""Conversations with the relay, without the waiting: a flow is a generator that yields what to
send or how long to pause, and is given the answers. So the rules are written once, and two small
drivers, one that blocks and one that is awaited, perform them. No IO here.
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
    """A request. The relay may hold its answer for `hold` seconds; at `until` (of the monotonic
    clock) the caller no longer waits."""

    method: str
    path: str
    hold: float = 0.0
    until: float = 0.0
    is_idempotent: bool = True
    """Whether it may be sent again when the fate of the first one is not known."""
    params: Mapping[str, str | int] | None = None
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Pause:
    """Nothing for so many seconds."""

    seconds: float


Flow = Generator[Send | Pause, Answer | None, T]

FIRST_S, LONGEST_S = 0.2, 5.0


def send(request: Send) -> Flow[Answer]:
    """Sends it. A transport error is raised here, in the midst of the flow."""
    answer = yield request
    assert answer is not None, "a driver answers what is sent"
    return answer


def is_success(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def may_pass(answer: Answer) -> bool:
    """Whether the same request may be answered otherwise a little later: 501 says never."""
    return answer.status == 429 or (answer.status >= 500 and answer.status != 501)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. The relay sends no dates, but a proxy may (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "")
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


def refusal(answer: Answer) -> FidoRelayError:
    """The error of an answer that is no success, be it the relay's or a proxy's."""
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
        # A proxy's page.
        code, title, detail, cause = "unknown", f"HTTP {answer.status}", None, problem
    said = str(detail) if detail else None
    error = Problem(answer.status, code, title, said, retry_after(answer.headers))
    error.__cause__ = cause
    return error


def pause_before(answer: Answer, attempt: int) -> float:
    """What the relay asked for, and never less than the own pace."""
    return max(retry_after(answer.headers) or 0.0, back_off(attempt))


def segment(text: str) -> str:
    """One segment of a path. Dots too: HTTP libraries take `..` as the segment above."""
    return quote(text, safe="").replace(".", "%2E")
