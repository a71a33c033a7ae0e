"""A payment is booked once, for the text that the card confirmed."""

import json
import threading
from typing import Any

import httpx
import jwt
import pytest
from bank import ceremonies
from bank.payments import cents_of
from bank.relay import BoundedTransport
from conftest import PAYMENT, Bank, Configured, Phone
from cryptography.hazmat.primitives.asymmetric import ec
from fido_relay import Unreachable


def test_a_double_click_pays_once(bank: Bank, phone: Phone) -> None:
    browser = bank.signed_in(phone)
    form, start, answers = browser.form("/"), threading.Barrier(4), []
    cookie = browser.http.get_cookie("__Host-bank", "127.0.0.1")
    assert cookie

    def click() -> None:
        again = bank.browser()
        again.http.set_cookie("__Host-bank", cookie.value, domain="127.0.0.1")
        start.wait(20)
        answers.append(again.post("/payments", form, **PAYMENT))

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({bank.row(answer)["id"] for answer in answers}) == 1
    assert bank.one("SELECT count(*) AS n FROM payment")["n"] == 1
    row = bank.confirms(answers[0], phone)
    browser.post(f"/ceremony/{row['id']}/finish")
    # Also after it was booked; the same form with another text is refused.
    assert bank.row(browser.post("/payments", form, **PAYMENT))["id"] == row["id"]
    other = browser.post("/payments", form, **{**PAYMENT, "amount": "1"})
    assert other.status_code == 400 and "was sent before" in other.text
    assert bank.one("SELECT count(*) AS n FROM payment")["n"] == 1


def test_a_retry_after_a_lost_answer_is_the_same_ceremony(
    bank: Bank, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = bank.signed_in(phone)
    form, opened = browser.form("/"), []
    whole = bank.client.open

    def cut_off(*arguments: object, **more: object) -> object:
        opened.append(whole(*arguments, **more).id)  # type: ignore[arg-type]
        raise Unreachable("no answer")

    monkeypatch.setattr(bank.client, "open", cut_off)
    answer = browser.post("/payments", form, **PAYMENT)
    assert answer.status_code == 503 and "Nothing was done" not in answer.text
    monkeypatch.setattr(bank.client, "open", whole)
    assert bank.row(browser.post("/payments", form, **PAYMENT))["id"] == opened[0]


def test_a_withdrawn_payment_is_removed_from_the_phone(bank: Bank, phone: Phone) -> None:
    browser = bank.signed_in(phone)
    row = bank.asks(browser.post("/payments", **PAYMENT), phone)
    browser.post(f"/payments/{row['payment_id']}/withdraw")
    assert bank.client.read(row["id"]).status == "cancelled"
    assert bank.one("SELECT * FROM payment")["state"] == "withdrawn"
    answer = browser.post(f"/payments/{row['payment_id']}/approve")
    assert answer.headers["Location"] == "/", "it opens no other"


@pytest.mark.parametrize("action", ["approve", "withdraw"])
def test_an_oversized_payment_id_is_not_found(bank: Bank, phone: Phone, action: str) -> None:
    browser = bank.signed_in(phone)
    for number in (2**63 - 1, 2**63, 10**23 - 1):
        assert browser.post(f"/payments/{number}/{action}").status_code == 404


def test_a_text_that_the_relay_refuses_leaves_no_payment(bank: Bank, phone: Phone) -> None:
    browser = bank.signed_in(phone)
    form = browser.form("/")
    refused = browser.post("/payments", form, **{**PAYMENT, "payee": "Row\u200dan"})
    assert refused.status_code == 400 and "look it over" in refused.text
    assert "/approve" not in browser.get("/").text
    # With another text the form is accepted.
    row = bank.asks(browser.post("/payments", form, **PAYMENT), phone)
    # An earlier ceremony of this text keeps the payment.
    bank.db.execute("UPDATE payment SET payee = ? WHERE id = ?", ("Row\u200dan", row["payment_id"]))
    assert browser.post(f"/payments/{row['payment_id']}/approve").status_code == 400
    assert "/approve" in browser.get("/").text


def test_a_payment_confirmed_first_is_not_withdrawn(bank: Bank, phone: Phone) -> None:
    browser = bank.signed_in(phone)
    row = bank.confirms(browser.post("/payments", **PAYMENT), phone)
    browser.post(f"/payments/{row['payment_id']}/withdraw")
    assert "was not withdrawn" in browser.get("/").text
    assert bank.one("SELECT * FROM payment")["state"] == "approved"


def test_another_request_cancels_the_previous_one(bank: Bank, phone: Phone) -> None:
    browser, elsewhere = bank.signed_in(phone), bank.signed_in(phone)
    first = bank.asks(browser.post("/payments", **PAYMENT), phone)
    second = bank.asks(browser.post(f"/payments/{first['payment_id']}/approve"), phone)
    assert bank.client.read(first["id"]).status == "cancelled"
    # Also from another browser of the user.
    third = bank.asks(elsewhere.post(f"/payments/{first['payment_id']}/approve"), phone)
    assert bank.client.read(second["id"]).status == "cancelled"
    elsewhere.post("/sign-out")
    assert bank.client.read(third["id"]).status == "cancelled"


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, "succeeded"),
        ({"amr": ["pop", "user"]}, ceremonies.UNPROVEN),
        ({"auth_time": 1}, ceremonies.UNPROVEN),
        ({"auth_time": 4_000_000_000}, ceremonies.UNPROVEN),
    ],
)
def test_a_result_without_pin_or_with_another_time_is_unproven(
    bank: Bank,
    phone: Phone,
    configured: Configured,
    monkeypatch: pytest.MonkeyPatch,
    claims: dict[str, Any],
    status: str,
) -> None:
    """The relay's own token with other claims, signed by a key that is in its set now."""
    forge(monkeypatch, claims)
    again = Bank(configured(), bank.relay, bank.directory)
    again.ada = bank.ada
    browser = again.browser()
    row = again.confirms(browser.post("/sign-in", username=bank.ada), phone)
    browser.post(f"/ceremony/{row['id']}/finish")
    assert again.status(row["id"]) == status


def forge(monkeypatch: pytest.MonkeyPatch, claims: dict[str, Any]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    jwks = {"keys": [{**jwk, "kid": "forged", "use": "sig", "alg": "ES256"}]}
    whole = BoundedTransport.handle_request

    def handle(self: BoundedTransport, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/.well-known/jwks.json":
            return httpx.Response(200, json=jwks)
        response = whole(self, request)
        body = json.loads(response.read())
        if "result" in body:
            said = jwt.decode(body["result"], options={"verify_signature": False})
            headers = {"typ": "ceremony-result+jwt", "kid": "forged"}
            body["result"] = jwt.encode({**said, **claims}, key, "ES256", headers=headers)
        return httpx.Response(response.status_code, json=body)

    monkeypatch.setattr(BoundedTransport, "handle_request", handle)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payment SET cents = 99",
        "UPDATE payment SET payee = 'Mallory'",
        "UPDATE ceremony SET request = json_set(request, '$.client_nonce', 'another')",
    ],
)
def test_a_result_for_another_text_books_nothing(
    bank: Bank, phone: Phone, change: str
) -> None:
    browser = bank.signed_in(phone)
    row = bank.confirms(browser.post("/payments", **PAYMENT), phone)
    column = "payment_id" if "payment" in change else "id"
    bank.db.execute(f"{change} WHERE id = ?", (row[column],))
    browser.post(f"/ceremony/{row['id']}/finish")
    assert bank.status(row["id"]) == ceremonies.UNPROVEN
    assert bank.one("SELECT * FROM payment")["state"] == "open"


def test_a_sign_in_is_collected_once_and_soon(bank: Bank, phone: Phone) -> None:
    browser = bank.browser()
    row = bank.confirms(browser.post("/sign-in", username=bank.ada), phone)
    assert bank.reconcile() == 1
    late = "UPDATE ceremony SET closed_at = closed_at + ?"
    bank.db.execute(late, (-ceremonies.COLLECT_S,))
    answer = browser.post(f"/ceremony/{row['id']}/finish")
    assert answer.headers["Location"] == f"/ceremony/{row['id']}"
    bank.db.execute(late, (ceremonies.COLLECT_S,))
    assert browser.post(f"/ceremony/{row['id']}/finish").headers["Location"] == "/"
    assert bank.one("SELECT count(*) AS n FROM session")["n"] == 1


def test_amounts_have_one_decimal_separator() -> None:
    taken = {"120": 12000, "120.50": 12050, "120,50": 12050, " 0,5 ": 50, "1000000,00": 100_000_000}
    for text, cents in taken.items():
        assert cents_of(text) == cents, text
    for text in ("", "0", "1.000", "1,000", "1,000.50", "1.000,50", "120,505", ",50", "-1", "1e3"):
        assert cents_of(text) is None, text
    assert cents_of("\uff11\uff12") is None
