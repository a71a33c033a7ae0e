"""Without an answer calls end in bounded time with a named reason."""

import asyncio
import logging
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from calls import URL, answering
from conftest import Relay, certificate

from fido_relay import (
    AsyncFidoRelay,
    CallTimeout,
    ConnectionRefused,
    FidoRelay,
    FidoRelayError,
    HostNotFound,
    InvalidResult,
    InvalidWebhook,
    Problem,
    TlsFailed,
    UnexpectedAnswer,
    UnknownKey,
    Unreachable,
    WaitTimeout,
)


@pytest.fixture
def deaf() -> Iterator[str]:
    """Accepts connections and requests, and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_silent_relay_takes_no_longer_than_timeout(deaf: str, is_awaited: bool) -> None:
    begun = time.monotonic()
    with pytest.raises(CallTimeout) as caught:
        if is_awaited:
            asyncio.run(AsyncFidoRelay(deaf, api_key="rk_1", timeout=0.6).client_id())
        else:
            FidoRelay(deaf, api_key="rk_1", timeout=0.6).client_id()
    assert 0.5 < time.monotonic() - begun < 5
    assert isinstance(caught.value.__cause__, httpx.TimeoutException)


@contextmanager
def dribbling(begin: bytes) -> Iterator[str]:
    """Answers each connection with a prefix, and then one byte at a time without an end."""

    def dribble(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(begin)
            while not stop.wait(0.05):
                connection.sendall(b"x")

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=dribble, args=[connection], daemon=True).start()

    stop = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"


@pytest.mark.parametrize("is_awaited", [False, True])
@pytest.mark.parametrize(
    ("begin", "call", "failure", "is_own"),
    [
        (b"HTTP/1.1 200 OK\r\nx-", "read", CallTimeout, False),
        (b"HTTP/1.1 200 OK\r\nx-", "events", WaitTimeout, False),
        (BODY, "read", CallTimeout, False),
        (BODY, "read", CallTimeout, True),
        (EVENTS, "events", WaitTimeout, False),
        (EVENTS, "events", WaitTimeout, True),
    ],
)
def test_slow_answers_end_with_the_call(
    begin: bytes, call: str, failure: type[FidoRelayError], is_own: bool, is_awaited: bool
) -> None:
    async def awaited(url: str) -> None:
        http = httpx.AsyncClient() if is_own else None
        async with AsyncFidoRelay(url, api_key="rk_1", timeout=0.4, http=http) as bank:
            if call == "read":
                await bank.read("cer_1")
            else:
                async for _ in bank.events("cer_1", timeout=0.4):
                    pass

    begun = time.monotonic()
    with dribbling(begin) as url, pytest.raises(failure):
        if is_awaited:
            asyncio.run(asyncio.wait_for(awaited(url), 10))
        else:
            http = httpx.Client() if is_own else None
            with FidoRelay(url, api_key="rk_1", timeout=0.4, http=http) as bank:
                bank.read("cer_1") if call == "read" else list(bank.events("cer_1", timeout=0.4))
    assert time.monotonic() - begun < 4


def test_pauses_between_retries_count_towards_timeout() -> None:
    asked: list[str] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, headers={"retry-after": "2"}, json={"code": "unavailable"})

    with answering(busy, timeout=1.0) as bank, pytest.raises(Problem) as caught:
        bank.client_id()
    assert (caught.value.code, len(asked)) == ("unavailable", 1)


def test_the_callers_own_client_keeps_its_limits() -> None:
    seen: list[dict[str, float]] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(404, json={"code": "not_found"})

    own = httpx.Timeout(connect=1.0, read=2.0, write=3.0, pool=4.0)
    http = httpx.Client(transport=httpx.MockTransport(note), timeout=own)
    with FidoRelay(URL, api_key="rk_1", timeout=50, http=http) as bank:
        for act in (
            lambda: bank.read("cer_1"),
            lambda: bank.read("cer_1", wait_s=25),
            lambda: list(bank.events("cer_1")),
        ):
            with pytest.raises(Problem):
                act()
    assert seen[0] == {"connect": 1.0, "read": 2.0, "write": 3.0, "pool": 4.0}
    assert [(one["connect"], one["read"]) for one in seen[1:]] == [(1.0, 27.0), (1.0, 32.0)]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@contextmanager
def tls_server(directory: Path) -> Iterator[str]:
    """A server with a self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))
    server = context.wrap_socket(
        socket.create_server(("127.0.0.1", 0)), server_side=True, do_handshake_on_connect=True
    )

    def serve() -> None:
        while True:
            try:
                server.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{server.getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("is_awaited", [False, True])
def test_dns_refusal_and_tls_failures_have_their_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
) -> None:
    resolve = socket.getaddrinfo

    def resolver(host: object, *more: Any, **other: Any) -> Any:
        """A name that does not resolve, also without a network (RFC 6761)."""
        if host in ("relay.invalid", b"relay.invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *more, **other)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with tls_server(tmp_path) as untrusted:
        for url, kind, code in [
            ("http://relay.invalid", HostNotFound, "host_not_found"),
            (f"http://localhost:{free_port()}", ConnectionRefused, "connection_refused"),
            (untrusted, TlsFailed, "tls_failed"),
        ]:
            with pytest.raises(Unreachable) as caught:
                if is_awaited:
                    asyncio.run(AsyncFidoRelay(url, api_key="rk_1", retries=0).client_id())
                else:
                    FidoRelay(url, api_key="rk_1", retries=0).client_id()
            assert (type(caught.value), caught.value.code) == (kind, code)
            assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_waits_report_why_the_relay_is_unreachable() -> None:
    with FidoRelay(f"http://127.0.0.1:{free_port()}", api_key="rk_1") as bank:
        for act in (
            lambda: bank.wait("cer_1", 0.3),
            lambda: list(bank.events("cer_1", timeout=0.3)),
        ):
            with pytest.raises(WaitTimeout) as caught:
                act()
            assert isinstance(caught.value.__cause__, ConnectionRefused)


@pytest.mark.parametrize("key", ["rk_1\n", " rk_1", "rk_1\r", "rk_ä", "rk 1"])
def test_a_key_with_a_line_break_is_refused_early(key: str) -> None:
    for credential in ({"api_key": key}, {"client_id": key, "key_id": "k", "private_key": "p"}):
        with pytest.raises(ValueError) as caught:
            FidoRelay(URL, **credential)
        assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "relay.example.com",
        "ftp://relay.example.com",
        "https://",
        "https://relay.example.com\n",
        "https://relay.example.com/?a=b",
        "https://user@relay.example.com",
    ],
)
def test_an_invalid_url_is_refused_early(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        FidoRelay(url, api_key="rk_1")
    with pytest.raises(ValueError, match="base_url"):
        FidoRelay(URL, api_key="rk_1", issuer=url)


def test_usernames_stay_out_of_the_librarys_log(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = relay.client(scopes="device:pair,card:read")["key"]

    async def awaited() -> None:
        async with AsyncFidoRelay(relay.url, api_key=key) as bank:
            await bank.cards("ada@example.com")

    with FidoRelay(relay.url, api_key=key) as bank:
        bank.devices("ada@example.com")
        asyncio.run(awaited())
    messages = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    lines = [message for message in messages if message.startswith("HTTP Request")]
    assert [line.split(" ")[3].removeprefix(relay.url) for line in lines] == [
        "/v1/users/…/devices",
        "/v1/users/…/cards",
    ]
    assert "ada" not in caplog.text and key not in caplog.text
    elsewhere = httpx.MockTransport(lambda _: httpx.Response(200))
    httpx.Client(transport=elsewhere).get("https://other.example.com/v1/users/grace/devices")
    assert "/v1/users/grace/devices" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        Problem(429, "too_many_requests", "Too many requests", None, 3.0),
        UnexpectedAnswer(200, "a Ceremony"),
        ConnectionRefused("no answer: ConnectError"),
        UnknownKey(42.0),
        InvalidResult("expired"),
        InvalidWebhook("signature"),
    ],
)
def test_errors_can_be_pickled(error: FidoRelayError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
