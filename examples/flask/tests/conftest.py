"""The bank in this process, with a real relay and a simulated phone: `FIDO_RELAY_PROGRAM` is the
path to `fido-relay` (by default found on the PATH)."""

import json
import os
import queue
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bank.__main__ import add_user  # noqa: E402
from bank.app import create_app, settings  # noqa: E402
from bank.reconcile import reconcile  # noqa: E402
from bank.storage import connect  # noqa: E402

PROGRAM = os.environ.get("FIDO_RELAY_PROGRAM", "fido-relay")
SCOPES = "ceremony:auth,ceremony:reg,ceremony:approve,ceremony:read,device:pair,device:revoke,prior_auth:assert"


class Relay:
    """A relay with its own data directory; it keeps its port across restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            "FIDO_RELAY_LISTEN": "127.0.0.1:0",
            "FIDO_RELAY_DATA_DIR": str(directory / "data"),
            # Tests prompt the same user without limits.
            "FIDO_RELAY_PROMPTS__LIVE": "100",
            "FIDO_RELAY_PROMPTS__RINGING": "100",
            "FIDO_RELAY_PROMPTS__FREE": "1000",
            "FIDO_RELAY_PROMPTS__PER_HOUR": "1000",
            "FIDO_RELAY_PROMPTS__DECLINED_QUIET_S": "0",
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "serve"],
            cwd=self.directory,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = self.process.stderr
        assert log is not None
        for line in log:
            found = re.search(r" listen=(\S+)", line)
            if found:
                self.environment["FIDO_RELAY_LISTEN"] = found[1]
                # Read on, so that the pipe does not fill up.
                threading.Thread(target=lambda: [None for _ in log], daemon=True).start()
                return
        pytest.fail("the relay does not serve")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0

    @property
    def url(self) -> str:
        return f"http://{self.environment['FIDO_RELAY_LISTEN']}"

    def command(self, *arguments: str) -> Any:
        run = subprocess.run(
            [PROGRAM, *arguments, "--json"],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)


class Phone:
    """A user's phone with a card."""

    def __init__(self, relay: Relay, link: str, state: Path) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "phone", "--pair", link, "--state", str(state), "--code-from", "-"],
            cwd=relay.directory,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.screen: queue.Queue[str] = queue.Queue()
        self.shown: list[str] = []
        threading.Thread(target=self._look, daemon=True).start()
        self.until("Connected as")

    def _look(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.screen.put(line)

    def until(self, mark: str) -> None:
        while True:
            try:
                line = self.screen.get(timeout=20)
            except queue.Empty:
                pytest.fail(f"the phone does not show {mark!r}: {self.shown}")
            self.shown.append(line)
            if mark in line:
                return

    def types(self, text: str) -> None:
        """Types the page's code, or `no`, or `x` for "that was not me"."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Browser:
    """One browser: its cookies, and forms with their hidden fields."""

    def __init__(self, app: Flask) -> None:
        self.http: Client = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.http.get(path, base_url="http://127.0.0.1", **more)

    def form(self, page: str = "/sign-in") -> dict[str, str]:
        """The hidden fields of a form of this page."""
        text = self.get(page).text
        csrf = re.search(r'name="csrf_token" value="([^"]+)"', text)
        assert csrf, text
        return {"csrf_token": csrf[1], "form_id": secrets.token_urlsafe(16)}

    def post(
        self, path: str, form: dict[str, str] | None = None, **fields: str
    ) -> TestResponse:
        data = {**(form or self.form()), **fields}
        return self.http.post(path, base_url="http://127.0.0.1", data=data)


class Bank:
    """The application with its user Ada, and access to its state."""

    def __init__(self, app: Flask, relay: Relay, directory: Path) -> None:
        self.app, self.relay, self.directory = app, relay, directory
        self.client = app.extensions["fido_relay"]
        self.phones: list[Phone] = []
        # The relay is shared: earlier tests' state of Ada must not count.
        self.ada = f"ada-{secrets.token_hex(4)}@harbour.example"

    @property
    def db(self) -> sqlite3.Connection:
        return connect(self.app.config["DATABASE"])

    def one(self, query: str, *values: Any) -> Any:
        return self.db.execute(query, values).fetchone()

    def run(self, *arguments: str) -> str:
        """`python -m bank …`, on the same data."""
        config = self.app.config
        run = subprocess.run(
            [sys.executable, "-m", "bank", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "FIDO_RELAY_URL": config["RELAY_URL"],
                "FIDO_RELAY_API_KEY": config["RELAY_API_KEY"],
                "BANK_DATA_DIR": str(self.directory),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def reconcile(self) -> int:
        return reconcile(self.client, self.db, again_s=0)

    def browser(self) -> Browser:
        return Browser(self.app)

    def enrolling(self, letter: str) -> Browser:
        browser = self.browser()
        assert browser.post("/enrol", username=self.ada, code=letter).status_code == 303
        return browser

    def phone(self, browser: Browser) -> Phone:
        page = browser.post("/phones").text
        link = re.search(r'id="link" href="([^"]+)"', page)
        assert link, page
        state = self.directory / f"phone-{len(self.phones)}.json"
        phone = Phone(self.relay, link[1].replace("&amp;", "&"), state)
        self.phones.append(phone)
        return phone

    def asks(self, answer: TestResponse, phone: Phone | None) -> Any:
        """The ceremony of a waiting page, once the phone shows it."""
        assert answer.status_code == 303, answer.text
        row = self.row(answer)
        if phone:
            phone.until(f"{row['id']}: offered")
        return row

    def row(self, answer: TestResponse) -> Any:
        found = re.fullmatch(r"/ceremony/(cer_\S+)", answer.headers["Location"])
        assert found, answer.headers["Location"]
        return self.one("SELECT * FROM ceremony WHERE id = ?", found[1])

    def closes(self, ceremony_id: str) -> None:
        """The relay has the outcome, and the bank does not know it."""
        self.client.wait(ceremony_id, 30)
        assert self.status(ceremony_id) == "pending"

    def status(self, ceremony_id: str) -> str:
        return str(self.one("SELECT status FROM ceremony WHERE id = ?", ceremony_id)["status"])

    def confirms(self, answer: TestResponse, phone: Phone) -> Any:
        """The card approves, without page and webhook."""
        row = self.asks(answer, phone)
        phone.types(row["code"])
        self.closes(row["id"])
        return row

    def signed_in(self, phone: Phone) -> Browser:
        browser = self.browser()
        row = self.confirms(browser.post("/sign-in", username=self.ada), phone)
        answer = browser.post(f"/ceremony/{row['id']}/finish")
        assert answer.headers["Location"] == "/"
        return browser


PAYMENT = {"payee": "Rowan", "amount": "12,50", "reference": "Invoice 7"}


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    running = Relay(tmp_path_factory.mktemp("relay"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="session")
def api_key(relay: Relay) -> str:
    made = relay.command("client", "create", "--name", "Harbour Bank", "--scope", SCOPES)
    return str(made["key"])


Configured = Callable[..., Flask]


@pytest.fixture
def configured(relay: Relay, api_key: str, tmp_path: Path) -> Configured:
    """The application with these additional variables."""

    def configure(**variables: str) -> Flask:
        environment = {
            "FIDO_RELAY_URL": relay.url,
            "FIDO_RELAY_API_KEY": api_key,
            "BANK_DATA_DIR": str(tmp_path),
            "BANK_TRIES_PER_ADDRESS": "10000",
            "BANK_TRIES_PER_USERNAME": "10000",
        }
        return create_app(settings({**environment, **variables}))

    return configure


@pytest.fixture
def bank(relay: Relay, configured: Configured, tmp_path: Path) -> Iterator[Bank]:
    bank = Bank(configured(), relay, tmp_path)
    yield bank
    for phone in bank.phones:
        phone.end()


@pytest.fixture
def letter(bank: Bank) -> str:
    return add_user(bank.app, bank.ada, "Ada Lovelace")


@pytest.fixture
def phone(bank: Bank, letter: str) -> Phone:
    """Ada's phone, with a registered card."""
    browser = bank.enrolling(letter)
    phone = bank.phone(browser)
    row = bank.confirms(browser.post("/cards"), phone)
    browser.post(f"/ceremony/{row['id']}/finish")
    return phone
