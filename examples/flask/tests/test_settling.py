"""Settling before decisions, and the reconciler: all without page and webhook."""

import threading
import time

import pytest
from bank import ceremonies, reconcile
from conftest import PAYMENT, Bank, Phone


def test_a_letter_is_void_once_its_card_is_registered(bank: Bank, letter: str) -> None:
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    other = bank.enrolling(letter)
    bank.confirms(browser.post("/cards"), phone)
    again = bank.browser().post("/enrol", username=bank.ada, code=letter)
    assert again.status_code == 400 and "the code was used" in again.text
    # A session that began with it cannot pair another phone.
    assert other.post("/phones").headers["Location"] == "/sign-in"


def test_not_me_ends_the_requesting_session(bank: Bank, letter: str) -> None:
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    row = bank.asks(browser.post("/cards"), phone)
    phone.types("x")
    bank.closes(row["id"])
    assert browser.post("/phones").headers["Location"] == "/sign-in"
    assert "code of your letter is void" in browser.get(f"/ceremony/{row['id']}").text
    again = bank.browser().post("/enrol", username=bank.ada, code=letter)
    assert again.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("post", "/phones", {}),
        ("post", "/cards", {}),
        ("post", "/phones/dev_x/revoke", {}),
        ("post", "/payments", PAYMENT),
        ("post", "/payments/1/approve", {}),
        ("post", "/payments/1/withdraw", {}),
        ("get", "/phones", {}),
        ("get", "/", {}),
    ],
)
def test_every_action_settles_before_it_decides(
    bank: Bank,
    letter: str,
    method: str,
    path: str,
    fields: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session whose owner says "not me" at this moment: the action must not happen."""
    browser = bank.browser()
    form = browser.form()
    with browser.http.session_transaction(base_url="http://127.0.0.1") as cookie:
        cookie["browser"] = "hers"
    now, hers = int(time.time()), ceremonies.hashlib.sha256(b"hers").hexdigest()
    bank.db.execute(
        "INSERT INTO session VALUES (?, ?, 'signed_in', ?, ?)", (hers, bank.ada, now, now)
    )
    opened = bank.client.open("authentication", bank.ada, options=ceremonies.OPTIONS)
    bank.db.execute(
        "INSERT INTO ceremony (key, id, browser, username, type, request, opened_at, expires_at,"
        " looked_at) VALUES ('k', ?, 'another', ?, 'approval', '{}', ?, ?, 0)",
        (opened.id, bank.ada, now, now + 120),
    )
    denied = ceremonies.Verdict("denied", "not_me")
    monkeypatch.setattr(ceremonies, "phase_4_verify", lambda *_: denied)
    sent = browser.get(path) if method == "get" else browser.post(path, form, **fields)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/sign-in")
    assert not bank.one("SELECT * FROM session") and not bank.one("SELECT * FROM payment")


def test_the_reconciler_settles_every_type(bank: Bank, letter: str) -> None:
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    rows = [bank.confirms(browser.post("/cards"), phone)]
    assert bank.reconcile() == 1
    rows.append(bank.confirms(bank.browser().post("/sign-in", username=bank.ada), phone))
    signed_in = bank.signed_in(phone)
    rows.append(bank.confirms(signed_in.post("/payments", **PAYMENT), phone))
    waits = bank.asks(bank.browser().post("/sign-in", username=bank.ada), phone)
    assert bank.run("reconcile") == "2 settled"
    assert [bank.status(row["id"]) for row in rows] == ["succeeded"] * 3
    assert bank.status(waits["id"]) == "pending"
    assert bank.one("SELECT * FROM payment")["state"] == "approved"
    assert bank.one("SELECT * FROM user")["activation_hash"] is None


def test_two_settles_at_once_book_once(bank: Bank, phone: Phone) -> None:
    row = bank.confirms(bank.signed_in(phone).post("/payments", **PAYMENT), phone)
    bank.db.executescript(
        "CREATE TABLE booked (id); CREATE TRIGGER books AFTER UPDATE ON payment"
        " BEGIN INSERT INTO booked VALUES (new.id); END;"
    )
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def settle() -> None:
        try:
            db = bank.db
            verdict = ceremonies.phase_4_verify(bank.client, db, row)
            start.wait(20)
            assert verdict
            ceremonies.phase_5_act(db, row, verdict)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert bank.one("SELECT count(*) AS n FROM booked")["n"] == 1


def test_a_lost_outcome_is_not_a_success(bank: Bank) -> None:
    row = bank.asks(bank.browser().post("/sign-in", username=bank.ada), None)
    bank.db.execute("UPDATE ceremony SET id = 'cer_AAAAAAAAAAAAAAAAAAAAAA'")
    assert bank.reconcile() == 1
    assert bank.one("SELECT * FROM ceremony WHERE key = ?", row["key"])["status"] == "indeterminate"


def test_a_purge_removes_old_rows(bank: Bank, letter: str) -> None:
    bank.enrolling(letter)
    waits = bank.asks(bank.browser().post("/sign-in", username=bank.ada), None)
    lost = bank.asks(bank.browser().post("/sign-in", username=bank.ada), None)
    db, month = bank.db, int(time.time()) - reconcile.ABANDONED_S
    for state in ("open", "withdrawn", "approved"):
        db.execute(
            "INSERT INTO payment (username, payee, cents, reference, made_at, state)"
            " VALUES (?, 'Rowan', 1, '', ?, ?)",
            (bank.ada, month, state),
        )
    reconcile.purge(db)
    # Neither has ended yet.
    assert bank.one("SELECT code FROM ceremony WHERE id = ?", waits["id"])["code"]
    assert bank.one("SELECT * FROM session") and bank.one("SELECT * FROM user")["activation_hash"]
    assert [row["state"] for row in db.execute("SELECT state FROM payment")] == ["approved"]

    db.execute("UPDATE ceremony SET expires_at = expires_at - 600")
    db.execute("UPDATE ceremony SET id = NULL WHERE id = ?", (lost["id"],))
    db.execute("UPDATE session SET began_at = began_at - 900")
    db.execute("UPDATE user SET activation_ends_at = activation_ends_at - 30 * 86400")
    reconcile.purge(db)
    kept = bank.one("SELECT * FROM ceremony WHERE id = ?", waits["id"])
    assert (kept["status"], kept["code"], kept["ticket"]) == ("pending", None, None)
    assert bank.one("SELECT * FROM ceremony WHERE key = ?", lost["key"])["status"] == "expired"
    assert not bank.one("SELECT * FROM session")
    assert bank.one("SELECT * FROM user")["activation_hash"] is None

    db.execute("UPDATE ceremony SET closed_at = ? WHERE key = ?", (month, lost["key"]))
    reconcile.purge(db)
    assert bank.one("SELECT count(*) AS n FROM ceremony")["n"] == 1


def test_the_reconciler_checks_payments_first(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    types, db, seen = ("authentication", "registration", "approval"), bank.db, []
    for looked_at, ceremony_type in enumerate(types):
        db.execute(
            "INSERT INTO ceremony (key, id, browser, username, type, request, opened_at, expires_at,"
            " looked_at) VALUES (?1, ?1, 'b', 'ada', ?1, '{}', 0, 0, ?2)",
            (ceremony_type, looked_at),
        )
    monkeypatch.setattr(reconcile, "settle", lambda _relay, _db, id: seen.append(id))
    monkeypatch.setattr(reconcile, "AT_ONCE", 2)
    bank.reconcile()
    assert seen == ["approval", "registration"]


def test_workers_take_turns_to_reconcile(bank: Bank) -> None:
    assert reconcile._takes_turn(bank.db) and not reconcile._takes_turn(bank.db)
    bank.db.execute("UPDATE duty SET until = until - ?", (reconcile.EVERY_S,))
    assert reconcile._takes_turn(bank.db)
