"""Server-sent events of one ceremony: what a line means, and when to come back. No IO here."""

import json
import random
import time
from collections.abc import Mapping

import httpx

from ._flow import back_off, may_pass, pause_before, problem
from .errors import WaitTimeout
from .models import Event

SILENCE_S = 40.0
"""The relay sends a comment every 15 s: a connection this silent is dead."""


class Watch:
    """One watcher over as many connections as it takes."""

    def __init__(self, since: int, timeout: float) -> None:
        self.since = since
        self.is_over = False
        self._ends = time.monotonic() + timeout
        self._data: list[str] = []
        self._retry_s = 1.0
        self._failures = 0
        self._is_renewed = False

    def begin(self) -> None:
        """Before each connection."""
        if self.left() <= 0:
            raise WaitTimeout("the ceremony is still open")
        self._data = []

    def left(self) -> float:
        return self._ends - time.monotonic()

    def needs_another_token(self, response: httpx.Response, is_renewable: bool) -> bool:
        """Whether a 401 may be of an access token that ended: once between two successes."""
        if response.status_code == 401 and is_renewable and not self._is_renewed:
            self._is_renewed = True
            return True
        return False

    def pause_after(self, response: httpx.Response) -> float:
        """Seconds until the next request, after an answer that is no stream."""
        if not may_pass(response):
            raise problem(response)
        self._failures += 1
        return max(0.0, min(pause_before(response, self._failures - 1), self.left()))

    def pause_after_break(self) -> float:
        """Seconds until the next request, after a stream that broke or could not begin."""
        self._failures += 1
        pause = max(back_off(self._failures - 1), self._retry_s * random.uniform(0.5, 1.0))
        return max(0.0, min(pause, self.left()))

    def take(self, line: str) -> Event | None:
        """The event that this line completes, unless it was seen before."""
        if self.left() <= 0:
            raise WaitTimeout("the ceremony is still open")
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 8:
                self._retry_s = int(value) / 1000
            return None
        if not self._data:
            return None
        body: Mapping[str, object] = json.loads("\n".join(self._data))
        self._data = []
        event = Event.of(body)
        if event.seq <= self.since:
            return None
        self.since, self._failures, self._is_renewed = event.seq, 0, False
        self.is_over = event.step == "closed"
        return event
