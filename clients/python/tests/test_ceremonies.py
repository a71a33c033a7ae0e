"""Ceremonies from open to verified result, against a real relay and a simulated phone."""

import asyncio
import json
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from conftest import Phone, Relay, phone_of
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from fido_relay import (
    AsyncFidoRelay,
    FidoRelay,
    InvalidResult,
    Problem,
    Transaction,
    Unreachable,
    WaitTimeout,
)
from fido_relay._flow import retry_after

PAYMENT = Transaction("Payment to Grace Hopper", (("Amount", "120.00 €"), ("Reference", "Rent")))


def test_a_sign_in_reports_each_step_and_its_result_verifies(
    bank: FidoRelay, phone: Phone
) -> None:
    opened = bank.open("authentication", "ada", message="Sign in", prior_auth="password")
    phone.until(f"{opened.id}: offered")
    phone.types(opened.code)
    steps: list[str] = []
    closed = bank.wait(opened.id, 60, on_step=lambda entry: steps.append(entry.step))
    assert (closed.status, steps[0], steps[-1]) == ("succeeded", "opened", "closed")
    assert steps == [entry.step for entry in closed.progress]
    assert closed.seq == 60, "the number that every other road tells the end by"
    result = bank.verify_result(closed.result, opened.expected, need_pin=True)
    assert (result.username, result.ceremony_id) == ("ada", opened.id)


def test_an_approval_is_bound_to_its_text(bank: FidoRelay, phone: Phone) -> None:
    opened = bank.open("approval", "ada", transaction=PAYMENT)
    phone.until(f"{opened.id}: offered")
    phone.types(opened.code)
    closed = bank.wait(opened.id, 30)
    assert bank.verify_result(closed.result, opened.expected).tx_binding == "card"


def test_a_declined_ceremony_is_denied(relay: Relay, api_key: str, tmp_path: Path) -> None:
    with (
        FidoRelay(relay.url, api_key=api_key) as bank,
        phone_of(relay, api_key, "grace", tmp_path) as phone,
    ):
        for typed, reason in [("no", "declined"), ("x", "not_me")]:
            opened = bank.open("authentication", "grace")
            phone.until(f"{opened.id}: offered")
            phone.types(typed)
            closed = bank.wait(opened.id, 30)
            assert (closed.status, closed.reason, closed.result) == ("denied", reason, None)
            with pytest.raises(InvalidResult):
                bank.verify_result(closed.result, opened.expected)


BROWSER = "4fJjE0b9V1oXw2cG7mQzTn"


def test_prior_auth_counts_only_with_its_scope(
    relay: Relay, bank: FidoRelay
) -> None:
    opened = bank.open("authentication", "ida", prior_auth="session", context={"browser": BROWSER})
    assert opened.prior_auth == "session"
    other = str(relay.client(scopes="ceremony:auth")["key"])
    with FidoRelay(relay.url, api_key=other) as other_bank:
        assert other_bank.open("authentication", "ida", prior_auth="password").prior_auth == "none"
    with pytest.raises(Problem, match="/context/browser") as refused:
        bank.open("authentication", "ida", context={"browser": "short"})
    assert "short" not in str(refused.value)


def test_an_older_relay_returns_no_prior_auth() -> None:
    body = {"id": "cer_1", "status": "pending", "phase": "offered", "expires_in": 60, "ticket": "t"}
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(201, json=body)

    async def story() -> None:
        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        async with AsyncFidoRelay("https://relay.example.com", api_key="rk_1", http=http) as bank:
            opened = await bank.open("authentication", "ida", context={"browser": BROWSER})
            assert opened.prior_auth == "none"

    asyncio.run(story())
    assert json.loads(sent[0].content)["context"] == {"browser": BROWSER}


def test_wrong_codes_close_it(bank: FidoRelay, phone: Phone) -> None:
    opened = bank.open("authentication", "ada")
    assert opened.code is not None
    phone.until(f"{opened.id}: offered")
    wrong = str((int(opened.code) + 1) % 10 ** len(opened.code)).zfill(len(opened.code))
    for _ in range(3):
        phone.types(wrong)
    closed = bank.wait(opened.id, 30)
    assert (closed.status, closed.reason) == ("failed", "wrong_code")


def test_cancel_closes_and_keeps_an_earlier_outcome(bank: FidoRelay) -> None:
    opened = bank.open("authentication", "nobody")
    assert bank.cancel(opened.id).status == "cancelled"
    assert bank.cancel(opened.id).status == "cancelled"


def test_wait_times_out_before_the_ceremony_ends(bank: FidoRelay) -> None:
    opened = bank.open("authentication", "nobody")
    with pytest.raises(WaitTimeout):
        bank.wait(opened.id, 1.2)
    assert not bank.cancel(opened.id).progress == ()


class LosesAnswers(httpx.HTTPTransport):
    """Loses the first answers to an open: the relay has stored the ceremony."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self.lost = lost
        self.ids: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.url.path == "/v1/ceremonies":
            self.ids.append(json.loads(response.read())["id"])
            if len(self.ids) <= self.lost:
                raise httpx.ReadError("the connection broke")
        return response


def test_a_lost_answer_opens_no_second_ceremony(relay: Relay, api_key: str) -> None:
    transport = LosesAnswers(2)
    with FidoRelay(relay.url, api_key=api_key, http=httpx.Client(transport=transport)) as bank:
        opened = bank.open("authentication", "nobody")
        assert transport.ids == [opened.id] * 3
        transport.ids, transport.lost = [], 9
        with pytest.raises(Unreachable):
            bank.open("authentication", "nobody")
        assert len(set(transport.ids)) == 1 and len(transport.ids) == 4


def test_events_come_in_order_once_each_and_end(bank: FidoRelay, phone: Phone) -> None:
    opened = bank.open("authentication", "ada")
    numbers, outcome = [], ""
    for event in bank.events(opened.id, timeout=60):
        numbers.append(event.seq)
        if event.step == "delivered":
            phone.until(f"{opened.id}: offered")
            phone.types(opened.code)
        outcome = event.status
    assert outcome == "succeeded"
    assert numbers == [10, 11, 13, 20, 30, 40, 50, 60][: len(numbers)] or numbers[-1] == 60
    assert [event.seq for event in bank.events(opened.id, since=11)] == numbers[2:]
    assert list(bank.events(opened.id, since=numbers[-1])) == [], "204: all of it was seen"


def test_wait_and_events_survive_a_restart(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    key = relay.client()["key"]
    with FidoRelay(relay.url, api_key=key) as bank:
        opened = bank.open("authentication", "nobody")
        seen: list[str] = []
        begun = threading.Event()

        def poll() -> None:
            closed = bank.wait(opened.id, 60, on_step=lambda entry: begun.set())
            seen.append(f"polled {closed.status}")

        def stream() -> None:
            numbers = [event.seq for event in bank.events(opened.id, timeout=60)]
            assert numbers == [10, 60]
            seen.append("streamed")

        watchers = [threading.Thread(target=poll), threading.Thread(target=stream)]
        for watcher in watchers:
            watcher.start()
        assert begun.wait(30)
        relay.stop()
        relay.start()
        bank.cancel(opened.id)
        for watcher in watchers:
            watcher.join(60)
        assert sorted(seen) == ["polled cancelled", "streamed"]
    relay.stop()


def test_problems_have_their_codes(relay: Relay, bank: FidoRelay) -> None:
    for code, status, act in [
        ("not_found", 404, lambda: bank.read("cer_AAAAAAAAAAAAAAAAAAAAAA")),
        ("unprocessable", 422, lambda: bank.open("approval", "ada")),
    ]:
        with pytest.raises(Problem) as raised:
            act()
        assert (raised.value.code, raised.value.status) == (code, status)
    with FidoRelay(relay.url, api_key="rk_wrong") as other_bank, pytest.raises(Problem) as raised:
        other_bank.client_id()
    assert raised.value.code == "unauthorized"


def test_temporary_refusals_are_retried_after_retry_after() -> None:
    answers = [
        httpx.Response(503, headers={"retry-after": "0"}, json={"code": "unavailable"}),
        httpx.Response(502, text="<html>"),
        httpx.Response(200, json={"client_id": "cli_1"}),
        httpx.Response(429, headers={"retry-after": "3600"}, json={"code": "too_many_requests"}),
        httpx.Response(429, headers={"retry-after": "3"}, json={"code": "too_many_requests"}),
    ]
    http = httpx.Client(transport=httpx.MockTransport(lambda _: answers.pop(0)))
    with FidoRelay("https://relay.example.com", api_key="rk_1", http=http) as bank:
        assert bank.client_id() == "cli_1"
        with pytest.raises(Problem) as raised:
            bank.devices("ada")
        assert raised.value.retry_after == 3600
    http = httpx.Client(transport=httpx.MockTransport(lambda _: answers.pop(0)))
    with (
        FidoRelay("https://relay.example.com", api_key="rk_1", longest_pause=2, http=http) as page,
        pytest.raises(Problem) as raised,
    ):
        page.devices("ada")
    assert raised.value.retry_after == 3
    assert answers == []


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("3", 3, 3), ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0), ("in a minute", 50, 60)],
)
def test_a_proxys_retry_after_may_be_a_date(text: str, least: float, most: float) -> None:
    if text == "in a minute":
        text = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    asked = retry_after({"retry-after": text})
    assert asked is not None and least <= asked <= most
    for odd in ["", "-1", "soon", "12:00"]:
        assert retry_after({"retry-after": odd}) is None


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
def test_a_key_pair_replaces_an_api_key(relay: Relay, tmp_path: Path, kind: str) -> None:
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
        jwk = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        jwk = json.loads(OKPAlgorithm.to_jwk(private.public_key()))
    jwk = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk} | {"kid": "one"}
    (tmp_path / "key.jwk").write_text(json.dumps(jwk))
    made = relay.client("--jwk", str(tmp_path / "key.jwk"))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    client_id = made["client_id"]
    pair = {"client_id": client_id, "key_id": "one", "private_key": pem}
    with FidoRelay(relay.url, **pair) as bank:
        opened = bank.open("authentication", "nobody")
        bank.cancel(opened.id)
        assert [event.status for event in bank.events(opened.id)][-1] == "cancelled"
        # An access token that ended early is replaced, and the call succeeds.
        bank._calls._credential._token = ("at_void", float("inf"))
        assert bank.read(opened.id).status == "cancelled"
    other_key = ec.generate_private_key(ec.SECP256R1())
    with FidoRelay(relay.url, client_id=client_id, key_id="one", private_key=other_key) as bank:
        with pytest.raises(Problem) as raised:
            bank.open("authentication", "nobody")
        assert raised.value.code == "invalid_client"


def test_the_async_client_does_the_same(relay: Relay, api_key: str, phone: Phone) -> None:
    async def sign_in() -> None:
        async with AsyncFidoRelay(relay.url, api_key=api_key) as bank:
            opened = await bank.open("authentication", "ada")
            steps = []
            async for event in bank.events(opened.id, timeout=60):
                steps.append(event.step)
                if event.step == "delivered":
                    phone.until(f"{opened.id}: offered")
                    phone.types(opened.code)
            closed = await bank.wait(opened.id, 60)
            assert (closed.status, steps[-1]) == ("succeeded", "closed")
            result = await bank.verify_result(closed.result, opened.expected)
            assert result.username == "ada"

    asyncio.run(sign_in())


def test_devices_are_listed_renamed_and_revoked(
    bank: FidoRelay, relay: Relay, tmp_path: Path
) -> None:
    pairing = bank.open_pairing("grace@example.com")
    assert "<svg" in pairing.qr_svg and len(pairing.typed_code) >= 10
    other = Phone(relay, pairing.uri, tmp_path / "phone.json")
    (device,) = bank.devices("grace@example.com")
    assert bank.rename(device.device_id, "Grace's phone").name == "Grace's phone"
    assert [one.name for one in bank.devices("grace@example.com")] == ["Grace's phone"]
    assert bank.revoke(device.device_id) is True
    assert bank.devices("grace@example.com") == []
    with pytest.raises(Problem) as refused:
        bank.rename(device.device_id, "A ghost")
    assert refused.value.code == "not_found"
    other.end()


def test_nothing_prints_a_secret(bank: FidoRelay, api_key: str, phone: Phone) -> None:
    opened = bank.open("authentication", "ada")
    phone.until(f"{opened.id}: offered")
    phone.types(opened.code)
    closed = bank.wait(opened.id, 30)
    pairing = bank.open_pairing("ada")
    printed = repr([bank, opened, closed, pairing])
    for secret in [api_key, opened.code, opened.ticket, closed.result, pairing.pairing_token]:
        assert secret is not None and secret not in printed
    assert pairing.typed_code not in printed
