"""A call to the relay: its credential, its retries, and its total time.

A retry sends the identical request, which is safe: an open has an `Idempotency-Key`, a read changes
nothing, and a second revocation or cancellation has its own answer.
"""

import dataclasses
import time
from urllib.parse import urlsplit

import httpx

from ._credentials import ApiKey, KeyPair, NotNow, PrivateKey
from ._flow import (
    Answer,
    Flow,
    Pause,
    Send,
    back_off,
    is_success,
    may_pass,
    pause_before,
    refusal,
    send,
)
from ._transport import unreachable, was_sent
from .errors import FidoRelayError, Problem, UnexpectedAnswer, Unreachable


class Calls:
    """One relay and one credential."""

    def __init__(
        self,
        base_url: str,
        issuer: str | None,
        api_key: str | None,
        client_id: str | None,
        key_id: str | None,
        private_key: str | bytes | PrivateKey | None,
        retries: int,
        longest_pause: float,
        timeout: float,
    ) -> None:
        self.base_url = _checked(base_url)
        self.issuer = _checked(issuer) if issuer else self.base_url
        if not timeout > 0:
            raise ValueError("timeout must be more than 0 seconds")
        self._retries = retries
        self._longest_pause = longest_pause
        self._timeout = timeout
        pair = (client_id, key_id, private_key)
        self._credential: ApiKey | KeyPair
        if api_key and not any(pair):
            self._credential = ApiKey(api_key)
        elif client_id and key_id and private_key and not api_key:
            audience = f"{self.issuer}/oauth/token"
            self._credential = KeyPair(client_id, key_id, private_key, audience)
        else:
            raise ValueError("give either api_key, or client_id, key_id and private_key")

    def __repr__(self) -> str:
        return f"{self.base_url!r}, {self._credential!r}"

    @property
    def is_renewable(self) -> bool:
        """Whether a refused access token can be replaced."""
        return self._credential.is_renewable

    def until(self, hold: float = 0.0) -> float:
        """The deadline of a call that begins now."""
        return time.monotonic() + self._timeout + hold

    def call(self, request: Send, *, is_public: bool = False) -> Flow[Answer]:
        """Returns a successful answer, with retries."""
        if not request.until:
            request = dataclasses.replace(request, until=self.until(request.hold))
        attempt = 0
        while True:
            may_repeat, pause = attempt < self._retries, back_off(attempt)
            failure: FidoRelayError
            try:
                answer = yield from (send(request) if is_public else self.authorized(request))
            except httpx.TransportError as error:
                failure = unreachable(error)
                may_repeat &= request.is_idempotent or not was_sent(error)
            else:
                if is_success(answer):
                    return answer
                failure = refusal(answer)
                asked = failure.retry_after or 0.0 if isinstance(failure, Problem) else 0.0
                may_repeat &= may_pass(answer) and asked <= self._longest_pause
                may_repeat &= request.is_idempotent or answer.status == 429
                pause = pause_before(answer, attempt)
            if not may_repeat or time.monotonic() + pause >= request.until:
                raise failure
            yield Pause(pause)
            attempt += 1

    def no_content(self, request: Send) -> Flow[None]:
        """A call whose success has no body: a proxy's page with status 200 is an error."""
        answer = yield from self.call(request)
        if answer.status not in (202, 204):
            wrong = ValueError("a body where there is none")
            raise UnexpectedAnswer(answer.status, "confirmation") from wrong

    def removed(self, path: str) -> Flow[bool]:
        """Whether there was something to delete."""
        try:
            yield from self.no_content(Send("DELETE", path))
            return True
        except Problem as problem:
            if problem.code != "not_found":
                raise
            return False

    def authorized(self, request: Send) -> Flow[Answer]:
        """Sends it with the credential; once more if the access token was refused early."""
        try:
            answer = yield from self._with_bearer(request, another=False)
            if answer.status == 401 and self._credential.is_renewable:
                answer = yield from self._with_bearer(request, another=True)
            return answer
        except NotNow as later:
            return later.answer

    def bearer(self, until: float, another: bool) -> Flow[str]:
        """The credential for a stream, which handles retries itself."""
        try:
            return (yield from self._credential.bearer(until, another))
        except NotNow as later:
            raise Unreachable("the token endpoint cannot answer now") from refusal(later.answer)

    def _with_bearer(self, request: Send, *, another: bool) -> Flow[Answer]:
        token = yield from self._credential.bearer(request.until, another)
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return (yield from send(dataclasses.replace(request, headers=headers)))


def _checked(url: str) -> str:
    """Returns the URL without its last slash. `urlsplit` would silently remove line breaks."""
    parts = urlsplit(url)
    is_plain = url.isascii() and url.isprintable() and " " not in url
    is_base = parts.hostname and not (parts.query or parts.fragment or parts.username)
    if not (is_plain and is_base and parts.scheme in ("http", "https")):
        raise ValueError("base_url and issuer must be http(s) URLs without space, user and query")
    return url.rstrip("/")
