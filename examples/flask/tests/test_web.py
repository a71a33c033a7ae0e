"""Sessions, cookies, proxies, headers, and a relay that does not answer."""

import contextlib
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from bank import relay as bank_relay
from bank import sessions, tries
from bank.__main__ import add_user
from bank.web import printable
from conftest import PAYMENT, Bank, Browser, Configured, Phone, Relay
from flask import request
from werkzeug.test import TestResponse


def test_a_session_has_a_new_id_and_two_lifetimes(bank: Bank, phone: Phone) -> None:
    browser = bank.browser()
    row = bank.confirms(browser.post("/sign-in", username=bank.ada), phone)
    before = bank.one("SELECT * FROM ceremony WHERE id = ?", row["id"])["browser"]
    answer = browser.post(f"/ceremony/{row['id']}/finish")
    attributes = answer.headers["Set-Cookie"]
    for part in ("__Host-bank=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in attributes
    assert "Domain" not in attributes
    assert bank.one("SELECT * FROM session")["browser"] != before
    assert browser.get("/").status_code == 200
    for column, seconds in (("seen_at", sessions.IDLE_S), ("began_at", sessions.ABSOLUTE_S)):
        for late, status in ((-5, 200), (5, 303)):
            browser = bank.signed_in(phone)
            bank.db.execute(f"UPDATE session SET {column} = {column} - ?", (seconds + late,))
            assert browser.get("/").status_code == status, (column, late)


def test_a_browser_is_recognised_across_sessions(bank: Bank) -> None:
    browser = bank.browser()
    first = browser.post("/sign-in", username=bank.ada)
    kept = next(line for line in first.headers.getlist("Set-Cookie") if "__Host-browser" in line)
    for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=7776000"):
        assert part in kept
    again = browser.post("/sign-in", username=bank.ada)
    other = bank.browser().post("/sign-in", username=bank.ada)
    told = [
        json.loads(bank.row(answer)["request"])["context"]["browser"]
        for answer in (first, again, other)
    ]
    assert told[0] == told[1] != told[2] and len(told[0]) == 64
    assert told[0] not in kept, "what the cookie holds is in no database"
    forged = bank.browser()
    forged.http.set_cookie("__Host-browser", "short", domain="127.0.0.1")
    assert "__Host-browser=short" not in str(forged.post("/sign-in", username=bank.ada).headers)


def test_tries_are_limited_and_the_answer_reveals_no_user(
    bank: Bank, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, clock = bank.signed_in(phone), SimpleNamespace(now=6000.0)
    owner.post("/sign-out")
    monkeypatch.setattr(tries, "time", SimpleNamespace(time=lambda: clock.now))
    bank.app.config["TRIES"] = (8, 2)

    def asks(username: str, address: str, browser: Browser) -> TestResponse:
        browser.http.environ_base["REMOTE_ADDR"] = address
        return browser.post("/sign-in", username=username)

    refused = []
    for username in (bank.ada, "nobody@harbour.example"):
        answers = [asks(username, f"198.51.100.{n}", bank.browser()) for n in range(3)]
        assert [answer.status_code for answer in answers] == [303, 303, 429]
        assert answers[-1].headers["Retry-After"] == "60"
        refused.append(answers[-1].text)
    assert refused[0] == refused[1] and "Too many tries" in refused[0]
    assert asks(bank.ada, "198.51.100.9", owner).status_code == 303, "strangers cost her nothing"
    # A /64 counts as one address.
    crowd = [asks(f"user-{n}", f"2001:db8::{n}", bank.browser()).status_code for n in range(9)]
    assert crowd == [303] * 8 + [429]
    assert asks("user-9", "2001:db8:0:1::", bank.browser()).status_code == 303
    letters = [bank.browser().post("/enrol", username="eve", code=f"{n}") for n in range(3)]
    assert [letter.status_code for letter in letters] == [400, 400, 429]
    clock.now += 60
    assert asks(bank.ada, "198.51.100.3", bank.browser()).status_code == 303
    tries.purge(bank.db)
    kept = {row["what"] for row in bank.db.execute("SELECT what FROM attempt")}
    assert f"username {bank.ada}" in kept and "username eve" not in kept


def test_forwarding_headers_are_trusted_only_behind_proxies(configured: Configured) -> None:
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7, 198.51.100.2"}
    seen: list[tuple[str | None, bool]] = []
    for proxies in ("0", "1"):
        app = configured(BANK_PROXIES=proxies)
        app.before_request(lambda: seen.append((request.remote_addr, request.is_secure)))
        page = app.test_client().get("/sign-in", base_url="http://127.0.0.1", headers=forged)
        assert ("Strict-Transport-Security" in page.headers) == (proxies == "1")
    assert seen == [("127.0.0.1", False), ("198.51.100.2", True)]
    wrong = configured().test_client().get("/sign-in", base_url="http://evil.example")
    assert wrong.status_code == 400


def test_a_page_may_connect_only_to_the_relay(configured: Configured) -> None:
    app = configured(FIDO_RELAY_ISSUER="https://relay.example.com/some/path")
    answer = app.test_client().get("/sign-in", base_url="http://127.0.0.1")
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src https://relay.example.com;" in policy and "unsafe" not in policy


def test_without_scripts_a_button_polls(bank: Bank, phone: Phone) -> None:
    browser = bank.browser()
    row = bank.asks(browser.post("/sign-in", username=bank.ada), phone)
    page = browser.get(f"/ceremony/{row['id']}").text
    assert re.search(r'action="/ceremony/cer_[^"]+/finish"', page)
    early = browser.post(f"/ceremony/{row['id']}/finish")
    assert "has not finished yet" in browser.get(early.headers["Location"]).text
    phone.types(row["code"])
    bank.closes(row["id"])
    assert browser.post(f"/ceremony/{row['id']}/finish").headers["Location"] == "/"


def test_with_the_relay_down_no_page_and_no_claim_is_made(
    bank: Bank, phone: Phone, relay: Relay
) -> None:
    browser, stranger = bank.signed_in(phone), bank.browser()
    row = bank.asks(browser.post("/payments", **PAYMENT), phone)
    phone.types(row["code"])
    bank.closes(row["id"])
    relay.stop()
    form = browser.form("/sign-in")
    try:
        for answer in (
            stranger.post("/sign-in", username="bob"),
            browser.get("/"),
            browser.post("/payments", form, **PAYMENT),
            browser.post(f"/payments/{row['payment_id']}/withdraw", form),
            browser.post(f"/ceremony/{row['id']}/finish", form),
            browser.post(f"/ceremony/{row['id']}/cancel", form),
        ):
            assert answer.status_code == 503 and answer.headers["Retry-After"]
            assert "othing" not in answer.text and "not approved" not in answer.text
        assert bank.status(row["id"]) == "pending"
    finally:
        relay.start()
    browser.post(f"/ceremony/{row['id']}/finish", form)
    assert bank.one("SELECT * FROM payment")["state"] == "approved"


def dribble(hangs: socket.socket, stop: threading.Event) -> None:
    """Answers every connection with headers, then slowly with single bytes."""
    hangs.settimeout(0.05)
    answering: list[socket.socket] = []
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            connection = hangs.accept()[0]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            answering.append(connection)
        for connection in answering:
            with contextlib.suppress(OSError):
                connection.send(b" ", socket.MSG_NOSIGNAL)
    for connection in answering:
        connection.close()


@pytest.mark.parametrize("dribbles", [False, True])
def test_a_hanging_relay_occupies_a_bounded_number_of_threads(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, dribbles: bool
) -> None:
    """Requests over the limit fail at once, in every state of the relay."""
    monkeypatch.setattr(bank_relay, "PATIENCE_S", 2.0)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hangs:
        answers = threading.Thread(target=dribble, args=(hangs, stop))
        if dribbles:
            answers.start()
        app = configured(FIDO_RELAY_URL=f"http://127.0.0.1:{hangs.getsockname()[1]}")
        took: list[float] = []

        def ask() -> None:
            browser = Browser(app)
            form = browser.form()
            began = time.monotonic()
            assert browser.post("/sign-in", form, username="ada").status_code == 503
            took.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask) for _ in range(bank_relay.AT_ONCE + 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        if dribbles:
            answers.join()
    assert len(took) == bank_relay.AT_ONCE + 4
    # Two attempts and the pause between them.
    assert max(took) < 2 * bank_relay.PATIENCE_S + 4
    assert sum(seconds < bank_relay.PATIENCE_S for seconds in took) >= 4


def test_add_user_normalises_like_the_pages(bank: Bank) -> None:
    written = f"  E\u0301VE \t {bank.ada.upper()} "
    code = add_user(bank.app, written, "Eve")
    assert bank.one("SELECT * FROM user")["username"] == f"\u00e9ve {bank.ada}"
    assert bank.browser().post("/enrol", username=written, code=code).status_code == 303
    for text in ("", " ", "e\u202eve", "x" * 256):
        with pytest.raises(SystemExit):
            add_user(bank.app, text, "Eve")


def test_names_of_every_script_are_normalised() -> None:
    names = {
        "ada": "ada",
        " ada  l": "ada l",
        "e\u0301": "\u00e9",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627": "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
    }
    for text, name in names.items():
        assert printable(text, 60) == name, ascii(text)
    for text in ("a\u202eb", "a\u200bb", "\ue000", "x" * 61):
        assert printable(text, 60) is None, ascii(text)
