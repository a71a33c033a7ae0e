"""The initiator's side of fido-relay as flows: requests and checks of the answers."""

import re
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from . import _results
from ._calls import Calls
from ._flow import (
    Flow,
    Pause,
    Send,
    back_off,
    is_success,
    may_pass,
    pause_before,
    refusal,
    segment,
)
from ._keys import Keys
from ._parse import parsed
from ._transport import unreachable
from .errors import FidoRelayError, InvalidResult, Problem, UnexpectedAnswer, WaitTimeout
from .models import (
    Card,
    Ceremony,
    CeremonyType,
    Device,
    Expected,
    Opened,
    OpenOptions,
    Pairing,
    PriorAuth,
    ProgressEntry,
    Result,
    UserPrompts,
)

HOLD_S = 25
"""Seconds for which one long poll is held."""
WAIT_S = 660.0
"""A ceremony lives at most 600 s, and the check of an answer may take longer."""
IDEMPOTENCY_KEY = re.compile(r"[!-~](?:[\t -~]{0,253}[!-~])?")
JWS = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+")

OnStep = Callable[[ProgressEntry], object]


@dataclass(frozen=True)
class _Client:
    client_id: str


@dataclass(frozen=True)
class _Opened:
    id: str
    status: str
    phase: str
    expires_in: int
    ticket: str
    code: str | None = None
    prior_auth: PriorAuth = "none"


@dataclass(frozen=True)
class _Devices:
    devices: tuple[Device, ...]


@dataclass(frozen=True)
class _Cards:
    cards: tuple[Card, ...]


class Protocol:
    """The calls for ceremonies and users, with cached facts about the relay."""

    def __init__(self, calls: Calls, client_id: str | None, leeway: float) -> None:
        if not 0 <= leeway <= 300:
            raise ValueError("leeway must be 0 to 300 seconds")
        self._calls = calls
        self._client_id = client_id
        self._leeway = leeway
        self._keys = Keys()

    def client_id(self, until: float = 0.0) -> Flow[str]:
        if self._client_id is None:
            answer = yield from self._calls.call(Send("GET", "/v1/clients/self", until=until))
            self._client_id = parsed(_Client, answer).client_id
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
        key = idempotency_key or str(uuid.uuid4())
        if not IDEMPOTENCY_KEY.fullmatch(key):
            raise ValueError("idempotency_key must be 1 to 255 visible ASCII characters")
        headers = {"Idempotency-Key": key}
        answer = yield from self._calls.call(
            Send("POST", "/v1/ceremonies", json=body, headers=headers)
        )
        opened = parsed(_Opened, answer)
        expected = Expected(
            ceremony_id=opened.id,
            ceremony_type=ceremony_type,
            username=username,
            client_nonce=body["client_nonce"],
            binding=more.get("binding", "code"),
            tx_hash=transaction.hash() if transaction else None,
        )
        return Opened(
            id=opened.id,
            status=opened.status,
            phase=opened.phase,
            expires_in=opened.expires_in,
            expected=expected,
            code=opened.code,
            ticket=opened.ticket,
            prior_auth=opened.prior_auth,
        )

    def read(self, ceremony_id: str, wait_s: int, since: int, until: float = 0.0) -> Flow[Ceremony]:
        answer = yield from self._calls.call(_read(ceremony_id, wait_s, since, until))
        return parsed(Ceremony, answer)

    def wait(self, ceremony_id: str, timeout: float, on_step: OnStep | None) -> Flow[Ceremony]:
        ends = time.monotonic() + timeout
        since = failures = 0
        seen: set[int] = set()
        failure: FidoRelayError | None = None
        while (left := ends - time.monotonic()) > 0:
            hold = int(min(HOLD_S, left))
            answer = None
            try:
                answer = yield from self._calls.authorized(_read(ceremony_id, hold, since, ends))
            except httpx.TransportError as error:
                # The relay may be restarting; the ceremony is stored.
                failure = unreachable(error)
            if answer is None or not is_success(answer):
                pause = back_off(failures)
                if answer is not None:
                    failure = refusal(answer)
                    if not may_pass(answer):
                        raise failure
                    pause = pause_before(answer, failures)
                yield Pause(max(0.0, min(pause, ends - time.monotonic())))
                failures += 1
                continue
            failure = None
            ceremony = parsed(Ceremony, answer)
            if on_step:
                for entry in ceremony.progress:
                    if entry.seq not in seen:
                        seen.add(entry.seq)
                        on_step(entry)
            if ceremony.is_closed:
                return ceremony
            if ceremony.seq == since and hold == 0:
                yield Pause(max(0.0, min(back_off(0), ends - time.monotonic())))
            since, failures = ceremony.seq, 0
        raise WaitTimeout("no outcome in time") from failure

    def cancel(self, ceremony_id: str) -> Flow[Ceremony]:
        until = self._calls.until()
        path = f"/v1/ceremonies/{segment(ceremony_id)}"
        try:
            answer = yield from self._calls.call(Send("DELETE", path, until=until))
            return parsed(Ceremony, answer)
        except Problem as problem:
            if problem.code != "already_closed":
                raise
        return (yield from self.read(ceremony_id, 0, 0, until))

    def verify(self, token: str | None, expected: Expected, need_pin: bool) -> Flow[Result]:
        if token is None:
            # The ceremony did not succeed, or a ticket read it.
            raise InvalidResult("form")
        until = self._calls.until()
        kid = _results.key_id(token)
        must_fetch = self._keys.must_fetch(kid)
        if must_fetch:
            request = Send("GET", "/.well-known/jwks.json", until=until)
            self._keys.replace((yield from self._calls.call(request, is_public=True)))
        key = self._keys.get(kid, is_latest=must_fetch)
        client_id = yield from self.client_id(until)
        issuer = self._calls.issuer
        return _results.verified(token, key, issuer, client_id, expected, need_pin, self._leeway)

    def receipt(self, ceremony_id: str) -> Flow[str | None]:
        path = f"/v1/ceremonies/{segment(ceremony_id)}/receipt"
        try:
            answer = yield from self._calls.call(Send("GET", path))
        except Problem as problem:
            if problem.code != "not_found":
                raise
            return None
        if not JWS.fullmatch(answer.body):
            wrong = ValueError("no compact JWS")
            raise UnexpectedAnswer(answer.status, "a receipt") from wrong
        return answer.body.decode()

    def open_pairing(self, username: str) -> Flow[Pairing]:
        # No idempotency key needed: a pairing whose answer was lost expires unused.
        request = Send("POST", "/v1/pairings", json={"username": username})
        return parsed(Pairing, (yield from self._calls.call(request)))

    def void_pairings(self, username: str) -> Flow[None]:
        path = f"/v1/users/{segment(username)}/pairings"
        return (yield from self._calls.no_content(Send("DELETE", path)))

    def devices(self, username: str) -> Flow[list[Device]]:
        path = f"/v1/users/{segment(username)}/devices"
        answer = yield from self._calls.call(Send("GET", path))
        return list(parsed(_Devices, answer).devices)

    def rename(self, device_id: str, name: str) -> Flow[Device]:
        path = f"/v1/devices/{segment(device_id)}"
        answer = yield from self._calls.call(Send("PATCH", path, json={"name": name}))
        return parsed(Device, answer)

    def revoke(self, device_id: str) -> Flow[bool]:
        return (yield from self._calls.removed(f"/v1/devices/{segment(device_id)}"))

    def cards(self, username: str) -> Flow[list[Card]]:
        path = f"/v1/users/{segment(username)}/cards"
        answer = yield from self._calls.call(Send("GET", path))
        return list(parsed(_Cards, answer).cards)

    def remove_card(self, username: str, card_id: str) -> Flow[bool]:
        path = f"/v1/users/{segment(username)}/cards/{segment(card_id)}"
        return (yield from self._calls.removed(path))

    def prompts(self, username: str) -> Flow[UserPrompts]:
        path = f"/v1/users/{segment(username)}/prompts"
        return parsed(UserPrompts, (yield from self._calls.call(Send("GET", path))))

    def unlock_prompts(self, username: str) -> Flow[None]:
        path = f"/v1/users/{segment(username)}/prompts"
        # Not retried: each call counts, and a day has three.
        return (yield from self._calls.no_content(Send("DELETE", path, is_idempotent=False)))


def _read(ceremony_id: str, wait_s: int, since: int, until: float) -> Send:
    path = f"/v1/ceremonies/{segment(ceremony_id)}"
    params = {"wait": wait_s, "since": since}
    return Send("GET", path, hold=wait_s, until=until, params=params)
