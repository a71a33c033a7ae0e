"""Webhooks, cards and receipts, against a real relay."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from calls import CALLS, URL, answering
from conftest import SCOPES, Endpoint, Phone, Relay, phone_of

from fido_relay import (
    AsyncFidoRelay,
    FidoRelay,
    Problem,
    PromptLane,
    UserPrompts,
    verify_webhook,
)

# Calls of pages, sockets and phones, not of backends.
NO_BACKEND = {
    "exchangeTicket",
    "openWatchSocket",
    "pullCeremonies",
    "actOnCeremony",
    "claimByCode",
    "declineHeld",
    "setPushAddress",
}


@pytest.fixture
def admin(relay: Relay) -> Iterator[FidoRelay]:
    key = relay.client(scopes=f"{SCOPES},webhook:admin")["key"]
    with FidoRelay(relay.url, api_key=key) as client:
        yield client


def test_an_endpoint_lives_from_registration_to_removal(
    admin: FidoRelay, endpoint: Endpoint
) -> None:
    made = admin.webhooks.create(endpoint.url, schemes=["v1", "v1a"])
    assert made.secret is not None and made.secret not in repr(made)
    assert (made.events, made.state) == (("ceremony.closed",), "enabled")
    assert {key.scheme for key in made.keys} == {"v1", "v1a"}
    read = admin.webhooks.read(made.id)
    assert (read.url, read.keys, read.secret) == (endpoint.url, made.keys, None)
    assert read in admin.webhooks.all()
    changed = admin.webhooks.update(made.id, events=["user.not_me"])
    assert (changed.url, changed.events) == (endpoint.url, ("user.not_me",))
    assert admin.webhooks.delete(made.id) is True
    assert admin.webhooks.delete(made.id) is False
    with pytest.raises(Problem) as caught:
        admin.webhooks.read(made.id)
    assert caught.value.code == "not_found"


def test_old_and_new_keys_sign_side_by_side(admin: FidoRelay, endpoint: Endpoint) -> None:
    made = admin.webhooks.create(endpoint.url, events=["ceremony.closed", "user.not_me"])
    turned = admin.webhooks.new_key(made.id, "v1a", old_lives_s=3600)
    old, new = turned.keys
    assert old.public_key == made.keys[0].public_key
    assert old.ends_at is not None and new.ends_at is None
    assert admin.webhooks.test(made.id).delivered is True
    headers, body = endpoint.next()
    for key in (old, new):
        event = verify_webhook(headers, body, public_keys=[str(key.public_key)])
        assert event.type == "webhook.test"
    admin.webhooks.delete(made.id)


def test_a_dead_letter_is_found_and_sent_again(admin: FidoRelay, endpoint: Endpoint) -> None:
    made = admin.webhooks.create(endpoint.url)
    endpoint.status = 410
    admin.cancel(admin.open("authentication", "nobody").id)
    gone, _ = endpoint.next()
    patience = time.monotonic() + 30
    # First the endpoint becomes gone, then its waiting deliveries become dead letters.
    while not (letters := admin.webhooks.deliveries(made.id, state="dead").deliveries):
        assert time.monotonic() < patience, "the relay has its answer by now"
    (dead,) = letters
    assert admin.webhooks.read(made.id).state == "gone"
    assert (dead.id, dead.event, dead.status) == (gone["webhook-id"], "ceremony.closed", 410)
    assert admin.webhooks.deliveries(made.id, state="waiting").deliveries == ()
    endpoint.status = 204
    assert admin.webhooks.enable(made.id).state == "enabled"
    admin.webhooks.resend(made.id, dead.id)
    again, _ = endpoint.next()
    assert again["webhook-id"] == dead.id
    assert admin.webhooks.test(made.id).status == 204
    admin.webhooks.delete(made.id)


def test_an_update_sends_only_the_given_fields() -> None:
    sent: list[tuple[str, str, Any]] = []
    view = {"id": "whk_1", "url": "https://a.example.com/", "events": ["user.not_me"]}
    view |= {"state": "enabled", "keys": [], "created_at": "2026-03-14T09:26:53.589Z"}

    def note(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.path, json.loads(request.read())))
        return httpx.Response(200, json=view)

    http = httpx.Client(transport=httpx.MockTransport(note))
    with FidoRelay(URL, api_key="rk_1", http=http) as bank:
        bank.webhooks.update("whk_1", url="https://a.example.com/")
        assert bank.webhooks.update("whk_1", events=["user.not_me"]).events == ("user.not_me",)
    assert sent == [
        ("PATCH", "/v1/webhooks/whk_1", {"url": "https://a.example.com/"}),
        ("PATCH", "/v1/webhooks/whk_1", {"events": ["user.not_me"]}),
    ]


def test_cards_are_listed_and_removed(relay: Relay, api_key: str, tmp_path: Path) -> None:
    with (
        FidoRelay(relay.url, api_key=api_key) as bank,
        phone_of(relay, api_key, "margaret", tmp_path),
    ):
        (card,) = bank.cards("margaret")
        assert card.can_verify_user and card.claimed and card.last_used_at is None
        assert bank.remove_card("margaret", card.id) is True
        assert bank.cards("margaret") == []
        assert bank.remove_card("margaret", card.id) is False
        assert bank.cards("a stranger/..") == []


def test_prompts_that_do_not_ring_are_seen_and_unlocked_three_times_a_day(relay: Relay) -> None:
    key = relay.client(scopes=f"{SCOPES},user:unlock,prior_auth:assert")["key"]
    with FidoRelay(relay.url, api_key=key) as bank:
        assert bank.prompts("lena") == UserPrompts(PromptLane(True), 3, PromptLane(True))
        for _ in range(3):
            bank.unlock_prompts("lena")
        assert bank.prompts("lena").unlocks_left == 0
        with pytest.raises(Problem) as caught:
            bank.unlock_prompts("lena")
        assert caught.value.code == "too_many_requests"
        assert caught.value.retry_after is not None and caught.value.retry_after > 80_000
        assert bank.prompts("nobody").unlocks_left == 3


def test_a_users_open_pairings_are_voided() -> None:
    sent: list[tuple[str, bytes]] = []
    answers = iter([503, 204, 204])

    def note(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.raw_path))
        return httpx.Response(next(answers))

    async def awaited() -> None:
        http = httpx.AsyncClient(transport=httpx.MockTransport(note))
        async with AsyncFidoRelay(URL, api_key="rk_1", http=http) as bank:
            await bank.void_pairings("ada@example.com")

    with answering(note) as bank:
        bank.void_pairings("ada@example.com")
    asyncio.run(awaited())
    assert sent == [("DELETE", b"/v1/users/ada%40example%2Ecom/pairings")] * 3


def test_a_receipt_is_there_after_a_success(bank: FidoRelay, phone: Phone) -> None:
    opened = bank.open("authentication", "ada")
    assert bank.receipt(opened.id) is None
    phone.until(f"{opened.id}: offered")
    phone.types(opened.code)
    assert bank.wait(opened.id, 60).status == "succeeded"
    receipt = bank.receipt(opened.id)
    assert receipt is not None
    assert jwt.get_unverified_header(receipt)["typ"] == "ceremony-receipt+jwt"


def test_an_unsupported_call_is_not_retried() -> None:
    asked: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(501, json={"code": "not_supported", "title": "Not supported"})

    http = httpx.Client(transport=httpx.MockTransport(refuse))
    with FidoRelay(URL, api_key="rk_1", http=http) as bank, pytest.raises(Problem) as caught:
        bank.cards("ada")
    assert (caught.value.code, len(asked)) == ("not_supported", 1)


def test_the_client_has_every_call_of_a_backend(relay: Relay) -> None:
    document = relay.printed("schema")
    wanted = {
        (method.upper(), re.sub(r"\{\w+\}", "*", path))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") and operation["operationId"] not in NO_BACKEND
    }
    called: set[tuple[str, str]] = set()

    def note(request: httpx.Request) -> httpx.Response:
        path = re.sub(r"/((cer|dev|whk|msg)_1|ada|card)(?=/|$)", "/*", request.url.path)
        called.add((request.method, path))
        return httpx.Response(400, json={"code": "invalid_request"})

    http = httpx.Client(transport=httpx.MockTransport(note))
    with FidoRelay(URL, api_key="rk_1", http=http) as bank:
        for call in CALLS.values():
            with pytest.raises(Problem):
                call(bank)
    assert wanted - called == set()
