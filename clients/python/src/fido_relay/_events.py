"""Server-sent events of one ceremony: parsing and reconnection. No IO here."""

import json
import random
import time
from collections.abc import Iterator, Mapping

from ._flow import Answer, Send, back_off, is_success, may_pass, pause_before, refusal, segment
from ._parse import parse
from .errors import FidoRelayError, UnexpectedAnswer, WaitTimeout
from .models import Event

SILENCE_S = 30.0
"""Added to the HTTP client's read timeout: the relay sends a comment every 15 s."""


class Watch:
    """One watcher across its connections."""

    def __init__(self, ceremony_id: str, since: int, timeout: float) -> None:
        self.since = since
        self._seen = {since}
        self.is_over = False
        self.needs_another_token = False
        self._path = f"/v1/ceremonies/{segment(ceremony_id)}/events"
        self._ends = time.monotonic() + timeout
        self._data: list[str] = []
        self._rest = b""
        self._retry_s = 1.0
        self._failures = 0
        self._failure: FidoRelayError | None = None
        self._is_renewed = False

    def begin(self) -> float:
        """Starts a connection; returns its deadline."""
        self._check_time()
        self._data, self._rest = [], b""
        return self._ends

    def request(self, token: str) -> Send:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream",
            "Last-Event-ID": str(self.since),
        }
        return Send("GET", self._path, hold=SILENCE_S, until=self._ends, headers=headers)

    def has_begun(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether events follow."""
        self.needs_another_token = False
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return status == 200 and kind == "text/event-stream"

    def pause_after(self, answer: Answer, is_renewable: bool) -> float:
        """Seconds until the next request, after an answer other than a stream."""
        if answer.status == 204:
            self.is_over = True
            return 0.0
        if is_success(answer):
            wrong = TypeError(f"a body of type {answer.headers.get('content-type')}")
            raise UnexpectedAnswer(answer.status, "events") from wrong
        if answer.status == 401 and is_renewable and not self._is_renewed:
            # The access token may have expired: get another one, once between two events.
            self.needs_another_token = self._is_renewed = True
            return 0.0
        self._failure = refusal(answer)
        if not may_pass(answer):
            raise self._failure
        self._failures += 1
        return self._bounded(pause_before(answer, self._failures - 1))

    def pause_after_break(self, failure: FidoRelayError | None) -> float:
        """Seconds until the next request, after a stream that broke or could not begin."""
        self._failure = failure
        self._failures += 1
        pause = max(back_off(self._failures - 1), self._retry_s * random.uniform(0.5, 1.0))
        return self._bounded(pause)

    def take(self, part: bytes) -> Iterator[Event]:
        """The events that these bytes complete, except those seen before."""
        self._failure = None
        self._check_time()
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            event = self._event(line.decode(errors="replace").rstrip("\r"))
            if event:
                yield event
            if self.is_over:
                return

    def _event(self, line: str) -> Event | None:
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
        data, self._data = "\n".join(self._data), []
        try:
            event = parse(Event, json.loads(data))
        except (ValueError, TypeError, RecursionError) as error:
            raise UnexpectedAnswer(200, "an event") from error
        # Numbers name kinds of steps and need not grow.
        if event.seq in self._seen:
            return None
        self._seen.add(event.seq)
        self.since, self._failures, self._is_renewed = event.seq, 0, False
        self.is_over = event.step == "closed"
        return event

    def _check_time(self) -> None:
        if time.monotonic() >= self._ends:
            raise WaitTimeout("no outcome in time") from self._failure

    def _bounded(self, pause: float) -> float:
        return max(0.0, min(pause, self._ends - time.monotonic()))
