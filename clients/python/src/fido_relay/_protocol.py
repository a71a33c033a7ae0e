"""The initiator's side of fido-relay as flows: what is sent, what is repeated, what is believed.

A repetition is always of the very same request: an open has an `Idempotency-Key`, a read changes
nothing, and whoever revokes or cancels twice is told of it the second time.
"""

import dataclasses
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from . import _results
from ._credentials import ApiKey, KeyPair, NotNow, PrivateKey
from ._flow import (
    Flow,
    Pause,
    Send,
    back_off,
    may_pass,
    pause_before,
    problem,
    segment,
    send,
)
from .errors import InvalidResult, Problem, Unreachable, WaitTimeout
from .models import (
    Ceremony,
    CeremonyType,
    Device,
    Expected,
    Opened,
    OpenOptions,
    Pairing,
    ProgressEntry,
    Result,
)

HOLD_S = 25
"""Seconds that one long poll is held."""
GRACE_S = 10.0
"""Seconds that an answer may take beside what it is held."""
KEYS_AGAIN_S = 60.0
"""Between two fetches of the relay's keys for one that is not known."""
WAIT_S = 660.0
"""A ceremony lives at most 600 s, and the check of an answer may go beyond."""

OnStep = Callable[[ProgressEntry], object]


class Protocol:
    """One relay, one credential, and what was learnt of the two."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        client_id: str | None,
        key_id: str | None,
        private_key: str | bytes | PrivateKey | None,
        issuer: str | None,
        retries: int,
        longest_pause: float,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        if urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError("base_url is an http or https URL")
        self.issuer = (issuer or base_url).rstrip("/")
        self._retries = retries
        self._longest_pause = longest_pause
        pair = (client_id, key_id, private_key)
        self._credential: ApiKey | KeyPair
        if api_key and not any(pair):
            self._credential = ApiKey(api_key)
        elif client_id and key_id and private_key and not api_key:
            audience = f"{self.issuer}/oauth/token"
            self._credential = KeyPair(client_id, key_id, private_key, audience)
        else:
            raise ValueError("either api_key, or client_id, key_id and private_key")
        self._client_id = client_id
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_fetched_at: float | None = None

    def __repr__(self) -> str:
        return f"{self.base_url!r}, {self._credential!r}"

    def client_id(self) -> Flow[str]:
        if self._client_id is None:
            response = yield from self._call(Send("GET", "/v1/clients/self"))
            self._client_id = str(response.json()["client_id"])
        return self._client_id

    def open(
        self,
        ceremony_type: CeremonyType,
        username: str,
        idempotency_key: str | None,
        more: OpenOptions,
    ) -> Flow[Opened]:
        body: dict[str, Any] = {"type": ceremony_type, "username": username, **more}
        body.setdefault("client_nonce", secrets.token_urlsafe(24))
        transaction = more.get("transaction")
        if transaction:
            body["transaction"] = transaction.to_json()
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        response = yield from self._call(
            Send("POST", "/v1/ceremonies", json=body, headers=headers)
        )
        answer = response.json()
        expected = Expected(
            ceremony_id=answer["id"],
            ceremony_type=ceremony_type,
            username=username,
            client_nonce=body["client_nonce"],
            binding=more.get("binding", "code"),
            tx_hash=transaction.hash() if transaction else None,
        )
        return Opened(
            id=answer["id"],
            status=answer["status"],
            phase=answer["phase"],
            expires_in=answer["expires_in"],
            expected=expected,
            code=answer.get("code"),
            ticket=answer["ticket"],
        )

    def read(self, ceremony_id: str, wait_s: int, since: int) -> Flow[Ceremony]:
        response = yield from self._call(_read(ceremony_id, wait_s, since))
        return Ceremony.of(response.json())

    def wait(self, ceremony_id: str, timeout: float, on_step: OnStep | None) -> Flow[Ceremony]:
        ends = time.monotonic() + timeout
        since = failures = 0
        while (left := ends - time.monotonic()) > 0:
            try:
                hold = int(min(HOLD_S, left))
                response = yield from self._authorized(_read(ceremony_id, hold, since))
            except httpx.TransportError:
                # The relay may be restarting; what it has stored, it has.
                yield Pause(min(back_off(failures), left))
                failures += 1
                continue
            if may_pass(response):
                yield Pause(min(pause_before(response, failures), left))
                failures += 1
                continue
            if not response.is_success:
                raise problem(response)
            ceremony = Ceremony.of(response.json())
            if on_step:
                for entry in ceremony.progress:
                    if entry.seq > since:
                        on_step(entry)
            if ceremony.is_closed:
                return ceremony
            if ceremony.seq == since and hold == 0:
                yield Pause(min(back_off(0), left))
            since, failures = ceremony.seq, 0
        raise WaitTimeout("the ceremony is still open")

    def cancel(self, ceremony_id: str) -> Flow[Ceremony]:
        try:
            yield from self._call(Send("DELETE", f"/v1/ceremonies/{segment(ceremony_id)}"))
        except Problem as refusal:
            if refusal.code != "already_closed":
                raise
        return (yield from self.read(ceremony_id, 0, 0))

    def verify(self, token: str | None, expected: Expected, need_pin: bool) -> Flow[Result]:
        if token is None:
            # Nothing succeeded, or a ticket asked.
            raise InvalidResult("form")
        kid = _results.key_id(token)
        key = yield from self._key(kid)
        client_id = yield from self.client_id()
        return _results.verified(token, key, self.issuer, client_id, expected, need_pin)

    def open_pairing(self, username: str) -> Flow[Pairing]:
        # Without a key for repetitions: a pairing whose answer was lost ends by itself, unused.
        response = yield from self._call(
            Send("POST", "/v1/pairings", json={"username": username})
        )
        return Pairing.of(response.json())

    def devices(self, username: str) -> Flow[list[Device]]:
        path = f"/v1/users/{segment(username)}/devices"
        response = yield from self._call(Send("GET", path))
        return [Device.of(device) for device in response.json()["devices"]]

    def rename(self, device_id: str, name: str) -> Flow[Device]:
        path = f"/v1/devices/{segment(device_id)}"
        response = yield from self._call(Send("PATCH", path, json={"name": name}))
        return Device.of(response.json())

    def revoke(self, device_id: str) -> Flow[bool]:
        try:
            yield from self._call(Send("DELETE", f"/v1/devices/{segment(device_id)}"))
            return True
        except Problem as refusal:
            if refusal.code != "not_found":
                raise
            return False

    @property
    def is_renewable(self) -> bool:
        """Whether another access token can be had where one was refused."""
        return self._credential.is_renewable

    def watch(self, since: int, another: bool) -> Flow[Mapping[str, str]]:
        """The headers of a request for events after `since`."""
        try:
            token = yield from self._bearer(another=another)
        except NotNow:
            raise Unreachable("the token endpoint cannot answer now") from None
        return {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream",
            "Last-Event-ID": str(since),
        }

    def _key(self, kid: str) -> Flow[jwt.PyJWK]:
        if kid not in self._keys:
            fetched_at = self._keys_fetched_at
            if fetched_at is None or time.monotonic() - fetched_at >= KEYS_AGAIN_S:
                request = Send("GET", "/.well-known/jwks.json")
                response = yield from self._repeated(request, authorized=False)
                # All of the set: a key that is no longer in it is no longer good.
                self._keys = _results.keys(response.json())
                self._keys_fetched_at = time.monotonic()
        try:
            return self._keys[kid]
        except KeyError:
            raise InvalidResult("kid") from None

    def _call(self, request: Send) -> Flow[httpx.Response]:
        return (yield from self._repeated(request, authorized=True))

    def _repeated(self, request: Send, *, authorized: bool) -> Flow[httpx.Response]:
        """An answer that is a success, after as many repetitions as there may be."""
        attempt = 0
        while True:
            is_last = attempt >= self._retries
            try:
                response = yield from (
                    self._authorized(request) if authorized else send(request)
                )
            except httpx.TransportError as error:
                if is_last:
                    raise Unreachable(f"no answer: {type(error).__name__}") from None
                yield Pause(back_off(attempt))
            else:
                if response.is_success:
                    return response
                refusal = problem(response)
                asked = refusal.retry_after or 0.0
                if is_last or not may_pass(response) or asked > self._longest_pause:
                    raise refusal
                yield Pause(pause_before(response, attempt))
            attempt += 1

    def _authorized(self, request: Send) -> Flow[httpx.Response]:
        """Sends it with the credential; once more if an access token ended before its time."""
        try:
            response = yield from self._with_bearer(request, another=False)
            if response.status_code == 401 and self._credential.is_renewable:
                response = yield from self._with_bearer(request, another=True)
            return response
        except NotNow as later:
            return later.response

    def _with_bearer(self, request: Send, *, another: bool) -> Flow[httpx.Response]:
        token = yield from self._bearer(another=another)
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return (yield from send(dataclasses.replace(request, headers=headers)))

    def _bearer(self, *, another: bool) -> Flow[str]:
        return (yield from self._credential.bearer(another))


def _read(ceremony_id: str, wait_s: int, since: int) -> Send:
    path = f"/v1/ceremonies/{segment(ceremony_id)}"
    params = {"wait": wait_s, "since": since}
    return Send("GET", path, timeout=wait_s + GRACE_S, params=params)
