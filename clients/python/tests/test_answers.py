"""Answers that are not the relay's are one error, and requests are ones that the relay accepts."""

import gzip
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import pytest
from calls import CALLS, answering
from cryptography.hazmat.primitives.asymmetric import ed25519

from fido_relay import FidoRelayError, Problem, UnexpectedAnswer

NO_CONTENT = {
    "revoke",
    "remove_card",
    "void_pairings",
    "unlock_prompts",
    "webhooks.delete",
    "webhooks.resend",
}
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


class Raw(httpx.SyncByteStream):
    """A compressed body, which httpx decodes."""

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


@pytest.mark.parametrize("data", ["{}", "[]", "<html>", '{"seq": "1"}', "[" * 100_000])
def test_an_unexpected_event_is_one_error(data: str) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-8"}
    stream = httpx.Response(200, headers=kind, text=f"data: {data}\n\n")
    with answering(lambda _: stream) as bank, pytest.raises(UnexpectedAnswer) as caught:
        CALLS["events"](bank)
    assert caught.value.__cause__ is not None


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
    assert unquote(parts[3]) == name and parts[3] not in (".", "..")


def test_a_lost_answer_makes_no_second_endpoint_and_no_second_unlocking() -> None:
    sent: list[str] = []

    def lose(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        raise httpx.ReadError("the connection broke")

    with answering(lose) as bank:
        for act in (
            lambda: bank.webhooks.create("https://shop.example.com/hooks"),
            lambda: bank.webhooks.new_key("whk_1", "v1a"),
            lambda: bank.unlock_prompts("ada"),
        ):
            with pytest.raises(FidoRelayError):
                act()
    assert len(sent) == 3
