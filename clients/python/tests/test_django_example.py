"""The Django application's forms, with a relay that is sometimes away."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from calls import URL
from django.test import Client

from fido_relay import FidoRelay

EXAMPLE = Path(__file__).parents[3] / "examples/django"


class Away:
    """A relay that answers by the `Idempotency-Key`, unless it is down."""

    def __init__(self) -> None:
        self.is_down = False
        self.keys: list[str] = []
        self.browsers: list[str | None] = []
        self.cancelled: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            return httpx.Response(501, json={"code": "unavailable"})
        path = request.url.path.rsplit("/", 1)[1]
        if request.method == "POST":
            key = request.headers["idempotency-key"]
            self.browsers.append(json.loads(request.content)["context"].get("browser"))
            if key not in self.keys:
                self.keys.append(key)
            path = f"cer_{self.keys.index(key)}"
        elif request.method == "DELETE":
            self.cancelled.append(path)
        body = {"id": path, "type": "approval", "status": "pending", "phase": "offered"}
        body |= {"seq": 1, "expires_in": 60, "ticket": "t", "code": "42", "progress": []}
        return httpx.Response(200, json=body)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    os.environ["BANK_DATABASE"] = str(tmp_path_factory.mktemp("bank") / "bank.sqlite3")
    sys.path.insert(0, str(EXAMPLE))
    import bank

    bank.set_up("ada")
    yield bank
    sys.path.remove(str(EXAMPLE))


@pytest.fixture
def relay(bank: Any) -> Away:
    away = Away()
    bank.cache.clear()
    http = httpx.Client(transport=httpx.MockTransport(away.answer))
    bank.relay = FidoRelay(URL, api_key="rk_1", http=http)
    return away


def browser(bank: Any) -> Client:
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(bank.get_user_model().objects.get(username="ada"))
    return client


def test_a_form_sent_twice_makes_one_payment(bank: Any, relay: Away) -> None:
    page = browser(bank)
    form = {"payee": "Grace", "cents": "100", "form_id": page.get("/").json()["form_id"]}
    before = bank.Payment.objects.count()
    relay.is_down = True
    assert page.post("/payments", form).status_code == 503
    assert bank.Payment.objects.get(form_id=form["form_id"]).ceremony_id is None
    relay.is_down = False
    first, second = page.post("/payments", form), page.post("/payments", form)
    assert (first.status_code, first.json()) == (201, second.json())
    assert bank.Payment.objects.count() == before + 1
    assert relay.keys == [form["form_id"]]
    assert page.post("/payments", form | {"cents": "200"}).status_code == 409


def test_a_sign_in_is_kept_until_it_is_cancelled(bank: Any, relay: Away) -> None:
    page = browser(bank)
    assert page.post("/sign-in", {"username": "ada"}).status_code == 200
    relay.is_down = True
    assert page.post("/sign-in", {"username": "ada"}).status_code == 503
    relay.is_down = False
    assert page.post("/sign-in", {"username": "ada"}).status_code == 200
    assert relay.cancelled == ["cer_0"]


def test_a_browser_is_recognised_by_its_cookie(bank: Any, relay: Away) -> None:
    page, other = browser(bank), browser(bank)
    for visitor in (page, page, other):
        kept = visitor.get("/").cookies["__Host-browser"]
        assert (kept["samesite"], kept["httponly"], kept["secure"]) == ("Lax", True, True)
        assert visitor.post("/sign-in", {"username": "ada"}).status_code == 200
    first, again, another = relay.browsers
    assert first == again != another == kept.value and len(kept.value) == 43


def test_tries_are_limited_and_the_answer_reveals_no_user(
    bank: Any, relay: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank.time, "time", lambda: 6000.0)
    monkeypatch.setattr(bank, "PER_USERNAME", 2)
    owner = browser(bank)
    owner.get("/")
    secret = owner.cookies["__Host-browser"].value
    bank.cache.set(bank.key_of("known", secret, "ada"), True, 60)
    for name in ("ada", "nobody"):
        for n, status in enumerate((200, 200, 429)):
            stranger = Client(HTTP_HOST="127.0.0.1", REMOTE_ADDR=f"198.51.100.{n}")
            answer = stranger.post("/sign-in", {"username": name})
            assert answer.status_code == status
        assert answer.json() == {"error": "too many tries within a minute"}
    assert owner.post("/sign-in", {"username": "ada"}).status_code == 200
    monkeypatch.setattr(bank, "PER_ADDRESS", 2)
    assert owner.post("/sign-in", {"username": "eve"}).status_code == 200
    assert owner.post("/sign-in", {"username": "ada"}).status_code == 429
