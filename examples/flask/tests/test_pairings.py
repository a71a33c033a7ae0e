"""Pairing links: one at a time, voided with the letter and by "that was not me"."""

import html
import re
import subprocess
from typing import Any

import pytest
from bank import pairings
from conftest import PROGRAM, Bank, Browser, Phone
from fido_relay import FidoRelay, Unreachable


def link_of(browser: Browser) -> str:
    page = browser.post("/phones").text
    link = re.search(r'id="link" href="([^"]+)"', page)
    assert link, page
    return html.unescape(link[1])


def pairs(bank: Bank, link: str) -> bool:
    """Whether another phone can pair with this link. Without input the program ends by itself."""
    run = subprocess.run(
        [PROGRAM, "phone", "--pair", link, "--state", str(bank.directory / "other.json")],
        cwd=bank.relay.directory,
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    is_paired = "Paired with" in run.stdout
    assert is_paired or run.returncode != 0, run.stdout
    return is_paired


@pytest.mark.parametrize("outcome", ["succeeded", "denied"])
def test_a_link_ends_with_the_registration(bank: Bank, letter: str, outcome: str) -> None:
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    row = bank.asks(browser.post("/cards"), phone)
    link = link_of(browser)
    phone.types(row["code"] if outcome == "succeeded" else "x")
    bank.closes(row["id"])
    browser.post(f"/ceremony/{row['id']}/finish")
    assert bank.status(row["id"]) == outcome
    assert not pairs(bank, link)
    assert not pairings.noted(bank.db)


def test_not_me_to_a_payment_ends_a_link(bank: Bank, phone: Phone) -> None:
    browser = bank.signed_in(phone)
    link = link_of(browser)
    payment = {"payee": "Rowan", "amount": "1", "reference": ""}
    row = bank.asks(browser.post("/payments", browser.form("/phones"), **payment), phone)
    phone.types("x")
    bank.closes(row["id"])
    assert bank.reconcile() == 1
    assert not pairs(bank, link)


def test_a_link_ends_with_the_next_one(bank: Bank, letter: str) -> None:
    browser = bank.enrolling(letter)
    first, second = link_of(browser), link_of(browser)
    assert not pairs(bank, first)
    assert pairs(bank, second)


def test_voiding_is_retried_after_the_relay_was_down(
    bank: Bank, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    row = bank.asks(browser.post("/cards"), phone)
    phone.types("x")
    bank.closes(row["id"])
    asked: list[str] = []

    def down(username: str) -> None:
        asked.append(username)
        raise Unreachable("no answer")

    monkeypatch.setattr(bank.client, "void_pairings", down)
    # The stored outcome is reported.
    assert browser.post(f"/ceremony/{row['id']}/finish").status_code == 303
    assert bank.status(row["id"]) == "denied"
    assert not bank.one("SELECT * FROM session")
    with pytest.raises(Unreachable):
        bank.reconcile()
    assert asked == [bank.ada] * 2 and pairings.noted(bank.db) == [bank.ada]
    monkeypatch.setattr(bank.client, "void_pairings", asked.append)
    bank.reconcile()
    bank.reconcile()
    assert asked == [bank.ada] * 3 and not pairings.noted(bank.db)


def test_no_link_is_opened_before_the_others_are_void(
    bank: Bank, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, opened = bank.enrolling(letter), []
    form = browser.form("/phones")

    def down(_: str) -> None:
        raise Unreachable("no answer")

    monkeypatch.setattr(bank.client, "void_pairings", down)
    monkeypatch.setattr(bank.client, "open_pairing", opened.append)
    assert browser.post("/phones", form).status_code == 503
    assert not opened


def test_a_link_opened_while_its_session_ends_is_not_shown(
    bank: Bank, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, whole = bank.enrolling(letter), bank.client.open_pairing
    form = browser.form("/phones")

    def overtaken(username: str) -> Any:
        bank.db.execute("DELETE FROM session")
        return whole(username)

    monkeypatch.setattr(bank.client, "open_pairing", overtaken)
    answer = browser.post("/phones", form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")


def test_notes_added_during_voiding_stay(bank: Bank) -> None:
    db = bank.db

    class Overtaken(FidoRelay):
        def __init__(self) -> None: ...

        def void_pairings(self, username: str) -> None:
            pairings.note(db, username)

    pairings.note(db, bank.ada)
    pairings.void(Overtaken(), db, bank.ada)
    assert pairings.noted(db) == [bank.ada]
