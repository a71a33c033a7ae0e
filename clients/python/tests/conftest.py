"""A real relay and a simulated phone, run by `fido-relay`, whose path is `FIDO_RELAY_PROGRAM`."""

import http.server
import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.message import Message
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fido_relay import FidoRelay

PROGRAM = os.environ.get("FIDO_RELAY_PROGRAM", "target/debug/fido-relay")
SCOPES = (
    "ceremony:auth,ceremony:reg,ceremony:approve,ceremony:read,device:pair,device:revoke,"
    "card:read,card:revoke,presence:read,prior_auth:assert"
)


class Relay:
    """A relay with its own data directory; it keeps its port across restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listen = "127.0.0.1:0"
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def _environment(self) -> dict[str, str]:
        return {
            "FIDO_RELAY_LISTEN": self.listen,
            "FIDO_RELAY_DATA_DIR": str(self.directory / "data"),
            "FIDO_RELAY_WEBHOOKS__ALLOW_LOOPBACK_HTTP": "true",
            "FIDO_RELAY_WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1",
            "FIDO_RELAY_RECEIPTS": "true",
            # Tests prompt the same user without limits.
            "FIDO_RELAY_PROMPTS__LIVE": "100",
            "FIDO_RELAY_PROMPTS__RINGING": "100",
            "FIDO_RELAY_PROMPTS__FREE": "1000",
            "FIDO_RELAY_PROMPTS__PER_HOUR": "1000",
            "FIDO_RELAY_PROMPTS__DECLINED_QUIET_S": "0",
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "serve"],
            cwd=self.directory,
            env=self._environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        log = self.process.stderr
        assert log is not None
        for line in log:
            found = re.search(r" listen=(\S+)", line)
            if found:
                self.listen = found[1]
                # Read on, so that the relay's pipe does not fill up.
                threading.Thread(target=lambda: [None for _ in log], daemon=True).start()
                return
        pytest.fail("the relay does not serve")

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    def printed(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def client(self, *more: str, scopes: str = SCOPES) -> dict[str, Any]:
        create = ("client", "create", "--name", "Example Bank", "--scope", scopes)
        return self.printed(*create, *more, "--json")


class Phone:
    """A user's phone with a card; the test acts as the user."""

    def __init__(self, relay: Relay, link: str, state: Path) -> None:
        arguments = ["phone", "--pair", link, "--state", str(state), "--code-from", "-"]
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
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

    def types(self, text: str | None) -> None:
        """Types the page's code, or `no`, or `x` for "that was not me"."""
        assert self.process.stdin is not None and text is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Endpoint(http.server.ThreadingHTTPServer):
    """A webhook receiver, which answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hooks"
        self.status = 204
        self.arrived: queue.Queue[tuple[Message, bytes]] = queue.Queue()

    def next(self) -> tuple[Message, bytes]:
        return self.arrived.get(timeout=30)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.status)
        self.end_headers()
        self.server.arrived.put((self.headers, body))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    running = Relay(tmp_path_factory.mktemp("relay"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def api_key(relay: Relay) -> str:
    return str(relay.client()["key"])


@pytest.fixture
def bank(relay: Relay, api_key: str) -> Iterator[FidoRelay]:
    with FidoRelay(relay.url, api_key=api_key) as client:
        yield client


@contextmanager
def phone_of(relay: Relay, api_key: str, username: str, directory: Path) -> Iterator[Phone]:
    """A phone of this user, with a registered card."""
    with FidoRelay(relay.url, api_key=api_key) as client:
        phone = Phone(relay, client.open_pairing(username).uri, directory / "phone.json")
        opened = client.open("registration", username)
        phone.until(f"{opened.id}: offered")
        phone.types(opened.code)
        assert client.wait(opened.id, 60).status == "succeeded"
    yield phone
    phone.end()


@pytest.fixture(scope="session")
def phone(relay: Relay, api_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """Ada's phone."""
    with phone_of(relay, api_key, "ada", tmp_path_factory.mktemp("phone")) as phone:
        yield phone


def certificate(directory: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + made.public_bytes(Encoding.PEM))
    return path
