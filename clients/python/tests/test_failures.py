"""What is no answer of the relay's: each is one error that says what happened, in bounded time."""

import asyncio
import gzip
import logging
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Relay, certificate
from cryptography.hazmat.primitives.asymmetric import ed25519

from fido_relay import (
    AsyncFidoRelay,
    CallTimeout,
    ConnectionRefused,
    Expected,
    FidoRelay,
    FidoRelayError,
    HostNotFound,
    InvalidResult,
    InvalidWebhook,
    Problem,
    TlsFailed,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)

URL = "https://relay.example.com"
TOKEN = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6ImNlcmVtb255LXJlc3VsdCtqd3QifQ.e30.c2lnbmF0dXJl"
)
CALLS: dict[str, Callable[[FidoRelay], object]] = {
    "open": lambda bank: bank.open("authentication", "ada"),
    "read": lambda bank: bank.read("cer_1"),
    "wait": lambda bank: bank.wait("cer_1", 5),
    "events": lambda bank: list(bank.events("cer_1", timeout=5)),
    "cancel": lambda bank: bank.cancel("cer_1"),
    "verify_result": lambda bank: bank.verify_result(
        TOKEN, Expected("cer_1", "authentication", "ada", "nonce")
    ),
    "client_id": lambda bank: bank.client_id(),
    "receipt": lambda bank: bank.receipt("cer_1"),
    "open_pairing": lambda bank: bank.open_pairing("ada"),
    "devices": lambda bank: bank.devices("ada"),
    "rename": lambda bank: bank.rename("dev_1", "Phone"),
    "revoke": lambda bank: bank.revoke("dev_1"),
    "cards": lambda bank: bank.cards("ada"),
    "remove_card": lambda bank: bank.remove_card("ada", "card"),
    "webhooks.create": lambda bank: bank.webhooks.create("https://shop.example.com/"),
    "webhooks.all": lambda bank: bank.webhooks.all(),
    "webhooks.read": lambda bank: bank.webhooks.read("whk_1"),
    "webhooks.update": lambda bank: bank.webhooks.update("whk_1", events=[]),
    "webhooks.delete": lambda bank: bank.webhooks.delete("whk_1"),
    "webhooks.new_key": lambda bank: bank.webhooks.new_key("whk_1", "v1a"),
    "webhooks.enable": lambda bank: bank.webhooks.enable("whk_1"),
    "webhooks.test": lambda bank: bank.webhooks.test("whk_1"),
    "webhooks.deliveries": lambda bank: bank.webhooks.deliveries("whk_1"),
    "webhooks.resend": lambda bank: bank.webhooks.resend("whk_1", "msg_1"),
}
NO_CONTENT = {"revoke", "remove_card", "webhooks.delete", "webhooks.resend"}
BAD_GZIP = {"content-encoding": "gzip", "content-type": "application/json"}
UNEXPECTED = {
    "html": (200, {"content-type": "text/html"}, b"<html>Log in</html>"),
    "object": (200, {}, b"{}"),
    "list": (200, {}, b"[]"),
    "other types": (200, {}, b'{"id": 1, "keys": 1, "client_id": 1, "devices": [1], "cards": 1}'),
    "deep": (200, {}, b"[" * 100_000),
    "no text": (200, {}, b"\xff"),
    "no content": (204, {}, b""),
    "bad gzip": (200, BAD_GZIP, b"{}"),
    "cut gzip": (200, BAD_GZIP, gzip.compress(b'{"client_id": "cli_1"}')[:-12]),
    "redirect": (302, {"location": "https://login.example.com/"}, b""),
}


@contextmanager
def answering(
    answer: Callable[[httpx.Request], httpx.Response], **more: Any
) -> Iterator[FidoRelay]:
    http = httpx.Client(transport=httpx.MockTransport(answer))
    with FidoRelay(URL, **({"api_key": "rk_1", "http": http} | more)) as bank:
        yield bank


class Raw(httpx.SyncByteStream):
    """A body that httpx has yet to decode."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self.body


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (call, kind)
        for call in CALLS
        for kind in UNEXPECTED
        if kind != "no content" or call not in NO_CONTENT | {"events"}
    ],
)
def test_an_unexpected_answer_is_one_error(call: str, kind: str) -> None:
    status, headers, body = UNEXPECTED[kind]
    with (
        answering(lambda _: httpx.Response(status, headers=headers, stream=Raw(body))) as bank,
        pytest.raises(UnexpectedAnswer) as caught,
    ):
        CALLS[call](bank)
    assert caught.value.__cause__ is not None
    assert (caught.value.code, caught.value.status) == ("unexpected_answer", status)


def test_a_proxys_page_is_a_problem_with_its_cause() -> None:
    page = httpx.Response(403, html="<html>Forbidden</html>")
    with answering(lambda _: page) as bank, pytest.raises(Problem) as caught:
        bank.devices("ada")
    assert (caught.value.status, caught.value.code) == (403, "unknown")
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_unexpected_access_token_is_one_error() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pair = {"api_key": None, "client_id": "cli_1", "key_id": "one", "private_key": key}
    for body in (b"<html>", b"{}", b'{"access_token": 1, "expires_in": 1}'):
        reply = httpx.Response(200, content=body)
        for call in ("open", "events", "wait"):
            with answering(lambda _, reply=reply: reply, **pair) as bank:
                with pytest.raises(UnexpectedAnswer):
                    CALLS[call](bank)


@pytest.fixture
def deaf() -> Iterator[str]:
    """Takes connections and requests, and never answers."""
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


def test_an_answer_that_dribbles_takes_no_longer_either() -> None:
    def dribble(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while not stop.wait(0.05):
                connection.sendall(b" ")
        except OSError:
            pass

    stop = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=dribble, args=[server], daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with FidoRelay(url, api_key="rk_1", timeout=0.5, retries=0) as bank:
            with pytest.raises(CallTimeout):
                bank.client_id()
    stop.set()


def test_pauses_between_repetitions_count_too() -> None:
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
    """Has a certificate that no authority has issued."""
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
def test_dns_refusal_and_tls_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
) -> None:
    resolve = socket.getaddrinfo

    def resolver(host: object, *more: Any, **other: Any) -> Any:
        """Needs no network to know that a name is not there (RFC 6761)."""
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


def test_waits_name_why_they_never_reached_the_relay() -> None:
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
def test_an_address_that_is_none_is_refused_early(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        FidoRelay(url, api_key="rk_1")
    with pytest.raises(ValueError, match="base_url"):
        FidoRelay(URL, api_key="rk_1", issuer=url)


@pytest.mark.parametrize("key", ["a\n", "a\r\nb", "ä", " a", "a" * 256])
def test_an_idempotency_key_no_header_carries_is_refused(key: str) -> None:
    with answering(lambda _: pytest.fail("nothing is sent")) as bank:
        with pytest.raises(ValueError, match="idempotency_key"):
            bank.open("authentication", "ada", idempotency_key=key)


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "ada@example.com", "%2E", "ü?#"])
def test_a_username_is_one_segment_of_the_path(name: str) -> None:
    paths: list[bytes] = []

    def note(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(204)

    with answering(note) as bank:
        assert bank.remove_card(name, "card") is True
    (path,) = paths
    parts = path.decode().split("/")
    assert parts[:3] == ["", "v1", "users"] and parts[4:] == ["cards", "card"]
    assert httpx.URL(f"{URL}/?{parts[3]}").query and parts[3].strip(".")


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


def test_a_lost_answer_makes_no_second_endpoint() -> None:
    sent: list[str] = []

    def lose(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        raise httpx.ReadError("the connection broke")

    with answering(lose) as bank:
        for act in (
            lambda: bank.webhooks.create("https://shop.example.com/hooks"),
            lambda: bank.webhooks.new_key("whk_1", "v1a"),
        ):
            with pytest.raises(FidoRelayError):
                act()
    assert len(sent) == 2


@pytest.mark.parametrize(
    "error",
    [
        Problem(429, "too_many_requests", "Too many requests", None, 3.0),
        UnexpectedAnswer(200, "a Ceremony"),
        ConnectionRefused("no answer: ConnectError"),
        InvalidResult("expired"),
        InvalidWebhook("signature"),
    ],
)
def test_errors_cross_a_task_queue(error: FidoRelayError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
