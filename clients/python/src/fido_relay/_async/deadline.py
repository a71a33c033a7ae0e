"""Ends each wait of a connection at the deadline of its request, because the HTTP library's own
timeouts restart with every byte."""

import ssl
from collections.abc import Iterable

import httpcore
import httpx

from .._transport import remaining


class AsyncDeadlineStream(httpcore.AsyncNetworkStream):
    """A connection whose waits end at a `Limit`'s time."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, remaining(timeout, httpcore.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, remaining(timeout, httpcore.WriteTimeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        seconds = remaining(timeout, httpcore.ConnectTimeout)
        return AsyncDeadlineStream(
            await self._stream.start_tls(ssl_context, server_hostname, seconds)
        )

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class AsyncDeadlineBackend(httpcore.AsyncNetworkBackend):
    """Creates such connections."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        seconds = remaining(timeout, httpcore.ConnectTimeout)
        return AsyncDeadlineStream(
            await self._backend.connect_tcp(host, port, seconds, local_address, socket_options)
        )


def hold_to_deadlines(http: httpx.AsyncClient) -> None:
    """Patches our own HTTP client: httpx has no option for its network backend, and a client with a
    custom transport no longer uses proxies from the environment."""
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = transport._pool
            pool._network_backend = AsyncDeadlineBackend(pool._network_backend)
