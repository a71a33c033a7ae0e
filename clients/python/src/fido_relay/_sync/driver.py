"""Performs flows with httpx.

Generated from `_async` by `scripts/unasync.py`; do not edit."""

import time
from contextlib import AbstractContextManager
from typing import TypeVar

import httpx

from .._flow import Answer, Flow, Pause, Send
from .._transport import ATTEMPT_S, keep_usernames_out_of_the_log, limits
from ..errors import UnexpectedAnswer
from .deadline import hold_to_deadlines

T = TypeVar("T")


class Driver:
    """One relay behind one HTTP client."""

    def __init__(self, base_url: str, http: httpx.Client | None) -> None:
        self._base_url = base_url
        # Unbounded, since each wait holds a connection and must not delay an `open`.
        pool = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = http or httpx.Client(limits=pool, timeout=ATTEMPT_S)
        if http is None:
            hold_to_deadlines(self._http)
        keep_usernames_out_of_the_log(base_url)

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    with self.stream(step) as response:
                        answer = self.answer(response, step.until)
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def stream(self, request: Send) -> AbstractContextManager[httpx.Response]:
        return self._http.stream(
            request.method,
            self._base_url + request.path,
            params=request.params,
            json=request.json,
            data=request.form,
            headers=request.headers,
            timeout=limits(self._http.timeout, request),
            follow_redirects=False,
        )

    def answer(self, response: httpx.Response, until: float) -> Answer:
        """Reads the whole answer within the deadline of the call."""
        body = bytearray()
        try:
            for part in response.iter_bytes():
                body += part
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("the answer does not end")
        except httpx.DecodingError as error:
            raise UnexpectedAnswer(response.status_code, "a body that can be decoded") from error
        return Answer(response.status_code, response.headers, bytes(body))
