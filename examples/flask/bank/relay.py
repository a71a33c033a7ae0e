"""The client of the relay, with bounded concurrency.

A relay that hangs must not block pages that do not need it, so only `AT_ONCE` of a worker's threads
wait for the relay, each for a few seconds."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from fido_relay import FidoRelay

AT_ONCE = 12
"""Fewer than a worker has threads (gunicorn.conf.py)."""
PATIENCE_S = 4.0
"""Timeout of each read, and twice that for a whole body. The bank uses no long polls: pages watch
at the relay."""


class BoundedTransport(httpx.HTTPTransport):
    """Fails at once if too many calls wait already; the client reports the relay as unreachable."""

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_keepalive_connections=AT_ONCE))
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self._places.acquire(timeout=0.2):
            raise httpx.PoolTimeout("too many requests wait for the relay", request=request)
        try:
            response = super().handle_request(request)
            assert isinstance(response.stream, httpx.SyncByteStream)
        except BaseException:
            self._places.release()
            raise
        response.stream = HeldStream(response.stream, self._places.release)
        return response


class HeldStream(httpx.SyncByteStream):
    """A body that holds its slot until it is closed, since the thread waits for it too."""

    def __init__(self, stream: httpx.SyncByteStream, release: Callable[[], None]) -> None:
        self._stream, self._release = stream, release
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._stream.close()
            finally:
                self._release()


def connect(config: dict[str, Any]) -> FidoRelay:
    """In production with `client_id`, `key_id` and `private_key` instead of `api_key`: see
    clients/python."""
    return FidoRelay(
        config["RELAY_URL"],
        api_key=config["RELAY_API_KEY"],
        issuer=config["RELAY_ISSUER"],
        # A user waits for the page: if the relay asks for a longer pause, the page reports it.
        longest_pause=2,
        retries=1,
        timeout=2 * PATIENCE_S,
        http=httpx.Client(transport=BoundedTransport(), timeout=PATIENCE_S),
    )
