"""Shared by both drivers: timeouts, kinds of failures, masking in the HTTP library's log."""

import logging
import re
import socket
import ssl
import time

import httpx

from ._flow import Send
from .errors import CallTimeout, ConnectionRefused, HostNotFound, TlsFailed, Unreachable

ATTEMPT_S = 10.0
"""Timeout for connecting and for each read, with our own HTTP client."""
LONGEST_S = 86_400.0
"""Socket timeouts cannot be infinite."""
USERNAME = re.compile(r"(/v1/users/)[^/?#]+")


class Limit(float):
    """A timeout in seconds with a deadline, `until` (monotonic clock). The HTTP library passes the
    object unchanged from the request to each wait of its connection."""

    until: float


def remaining(limit: float | None, late: type[Exception]) -> float | None:
    """The timeout of a wait that begins now."""
    if not isinstance(limit, Limit):
        return limit
    left = min(float(limit), limit.until - time.monotonic())
    if left <= 0:
        raise late("the call timed out")
    return left


def limits(own: httpx.Timeout, request: Send) -> httpx.Timeout:
    """The HTTP client's own timeouts, capped by the deadline of the call; the relay's `hold` is
    added to the read timeout."""
    left = min(max(request.until - time.monotonic(), 0.001), LONGEST_S)

    def at_most(limit: float | None) -> Limit:
        bounded = Limit(left if limit is None else min(limit, left))
        bounded.until = request.until
        return bounded

    return httpx.Timeout(
        connect=at_most(own.connect),
        read=at_most(None if own.read is None else own.read + request.hold),
        write=at_most(own.write),
        pool=at_most(own.pool),
    )


def unreachable(error: httpx.TransportError) -> Unreachable:
    """The class of `Unreachable` for the cause of the HTTP library's error."""
    chain: list[BaseException] = [error]
    for one in chain:
        # Failures of several addresses of a name are an exception group.
        beneath = (one.__cause__, one.__context__, *getattr(one, "exceptions", ()))
        chain += [other for other in beneath if other is not None and other not in chain]
    reasons: tuple[tuple[type[BaseException], type[Unreachable]], ...] = (
        (ssl.SSLError, TlsFailed),
        (socket.gaierror, HostNotFound),
        (ConnectionRefusedError, ConnectionRefused),
        (httpx.TimeoutException, CallTimeout),
    )
    found = (kind for reason, kind in reasons if any(isinstance(one, reason) for one in chain))
    failure = next(found, Unreachable)(f"no answer: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def was_sent(error: httpx.TransportError) -> bool:
    """Whether the relay may have received the request."""
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    return not isinstance(error, unsent)


class _UsernameFilter(logging.Filter):
    """httpx logs each URL at INFO, and some paths of the relay contain a username."""

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._masked(one) for one in record.args)
        return True

    def _masked(self, argument: object) -> object:
        if isinstance(argument, httpx.URL):
            text = str(argument)
            if any(text.startswith(prefix) for prefix in self.prefixes):
                return USERNAME.sub(r"\1…", text)
        return argument


_filter = _UsernameFilter()


def keep_usernames_out_of_the_log(base_url: str) -> None:
    """Masks usernames in log lines of requests to this relay only."""
    _filter.prefixes.add(f"{str(httpx.URL(base_url)).rstrip('/')}/v1/users/")
    logging.getLogger("httpx").addFilter(_filter)
