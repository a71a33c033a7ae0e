"""The client that blocks. Made from `_async_client` by `tests/test_twins.py`; not to be edited."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from ._credentials import PrivateKey
from ._events import SILENCE_S, Watch
from ._flow import ASKED_AT_MOST_S, Flow, Pause, Send, segment
from ._protocol import WAIT_S, OnStep, Protocol
from .errors import Unreachable
from .models import (
    Ceremony,
    CeremonyType,
    Device,
    Event,
    Expected,
    Opened,
    OpenOptions,
    Pairing,
    Result,
)

T = TypeVar("T")


class FidoRelay:
    """One relay, seen by one backend; safe to use from several threads.

        relay = FidoRelay("https://relay.example.com", api_key=os.environ["FIDO_RELAY_API_KEY"])

    In production with a key pair of your own instead of `api_key`: `client_id`, `key_id` (the
    `kid` of the registered JWK) and `private_key` (PEM, or a key of `cryptography`).

    `issuer` is the relay's public URL where that is not `base_url`. `retries` is how often a
    request is repeated that was not answered, or with 429 or 5xx; if the relay asks for more
    seconds before it than `longest_pause`, the refusal is raised instead: give few where a person
    waits for a page. `http` is an `httpx.Client` of your own, for proxies or certificates; it
    is closed with this.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        client_id: str | None = None,
        key_id: str | None = None,
        private_key: str | bytes | PrivateKey | None = None,
        issuer: str | None = None,
        retries: int = 3,
        longest_pause: float = ASKED_AT_MOST_S,
        http: httpx.Client | None = None,
    ) -> None:
        self._protocol = Protocol(
            base_url, api_key, client_id, key_id, private_key, issuer, retries, longest_pause
        )
        # Each wait holds a connection: with a bound, enough of them would keep `open` waiting.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = http or httpx.Client(limits=limits)

    def __repr__(self) -> str:
        return f"FidoRelay({self._protocol!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def client_id(self) -> str:
        """Who this backend is to the relay: `cli_…`."""
        return self._run(self._protocol.client_id())

    def open(
        self,
        ceremony_type: CeremonyType,
        username: str,
        *,
        idempotency_key: str | None = None,
        **more: Unpack[OpenOptions],
    ) -> Opened:
        """Opens a ceremony; see `OpenOptions` for the rest.

        `client_nonce` and `idempotency_key` are made fresh unless given. Repetitions keep the key,
        so that a lost answer never opens a second ceremony. Keep `expected` of what is given for
        `verify_result`.
        """
        return self._run(self._protocol.open(ceremony_type, username, idempotency_key, more))

    def read(self, ceremony_id: str, *, wait_s: int = 0, since: int = 0) -> Ceremony:
        """The ceremony as it stands; with `wait_s` (at most 55) as soon as there is a step after
        number `since`, or when the wait is over."""
        return self._run(self._protocol.read(ceremony_id, wait_s, since))

    def wait(
        self, ceremony_id: str, timeout: float = WAIT_S, *, on_step: OnStep | None = None
    ) -> Ceremony:
        """Waits for the outcome, also across restarts of the relay; tells each step once.

        Raises `WaitTimeout` after `timeout` seconds without one.
        """
        return self._run(self._protocol.wait(ceremony_id, timeout, on_step))

    def events(
        self, ceremony_id: str, *, since: int = 0, timeout: float = WAIT_S
    ) -> Iterator[Event]:
        """The steps after number `since` as they happen (server-sent events), each once, over as
        many connections as it takes. Ends after the step `closed`."""
        path = f"/v1/ceremonies/{segment(ceremony_id)}/events"
        watch, another = Watch(since, timeout), False
        while not watch.is_over:
            watch.begin()
            try:
                headers = self._run(self._protocol.watch(watch.since, another))
                silence = min(SILENCE_S, watch.left())
                with self._http.stream(
                    "GET", self._protocol.base_url + path, headers=headers, timeout=silence
                ) as response:
                    if response.status_code == 204:
                        return
                    if response.status_code == 200:
                        another = False
                        for line in response.iter_lines():
                            event = watch.take(line)
                            if event:
                                yield event
                            if watch.is_over:
                                return
                        pause = watch.pause_after_break()
                    else:
                        response.read()
                        another = watch.needs_another_token(
                            response, self._protocol.is_renewable
                        )
                        pause = 0.0 if another else watch.pause_after(response)
            except (httpx.TransportError, Unreachable):
                pause = watch.pause_after_break()
            time.sleep(pause)

    def cancel(self, ceremony_id: str) -> Ceremony:
        """Cancels it, and tells what became of it: an outcome that was there first stays."""
        return self._run(self._protocol.cancel(ceremony_id))

    def verify_result(
        self, token: str | None, expected: Expected, *, need_pin: bool = True
    ) -> Result:
        """What a result token proves, if it is the relay's word on what was `expected`.

        The card must have verified its holder by the PIN (two factors), unless `need_pin` is
        false. Raises `InvalidResult`: do not act then. Act once for each ceremony.
        """
        return self._run(self._protocol.verify(token, expected, need_pin))

    def open_pairing(self, username: str) -> Pairing:
        """A one-time way to make a phone this user's device: authenticate the user first."""
        return self._run(self._protocol.open_pairing(username))

    def devices(self, username: str) -> list[Device]:
        """The user's phones."""
        return self._run(self._protocol.devices(username))

    def rename(self, device_id: str, name: str) -> Device:
        """Gives a phone another name, and gives it as it then stands. `Problem` `not_found` if there
        is none of this id (any more)."""
        return self._run(self._protocol.rename(device_id, name))

    def revoke(self, device_id: str) -> bool:
        """Revokes a phone for good; false if there is none of this id (any more)."""
        return self._run(self._protocol.revoke(device_id))

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    response = self._send(step)
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as end:
            value: T = end.value
            return value

    def _send(self, request: Send) -> httpx.Response:
        return self._http.request(
            request.method,
            self._protocol.base_url + request.path,
            params=request.params,
            json=request.json,
            data=request.form,
            headers=request.headers,
            timeout=request.timeout,
            follow_redirects=False,
        )
