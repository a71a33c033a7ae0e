"""The async client. The logic is in `_protocol`; this module only drives it."""

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType

import httpx
from typing_extensions import Self, Unpack

from .._calls import Calls
from .._credentials import PrivateKey
from .._endpoints import Endpoints
from .._events import Watch
from .._protocol import WAIT_S, OnStep, Protocol
from .._results import LEEWAY_S
from .._transport import unreachable
from ..errors import UnexpectedAnswer, Unreachable
from ..models import (
    Card,
    Ceremony,
    CeremonyType,
    Device,
    Event,
    Expected,
    Opened,
    OpenOptions,
    Pairing,
    Result,
    UserPrompts,
)
from .driver import AsyncDriver
from .webhooks import AsyncWebhooks


class AsyncFidoRelay:
    """A backend's client of one relay; for one event loop.

        relay = AsyncFidoRelay(url, api_key=os.environ["FIDO_RELAY_API_KEY"])

    In production use your own key pair instead of `api_key`: `client_id`, `key_id` (the `kid` of
    the registered JWK) and `private_key` (PEM, or a key of `cryptography`).

    `issuer` is the relay's public URL if that is not `base_url`.

    `timeout` is the longest that a call takes, in seconds, with all its retries (plus `wait_s`;
    some calls have their own `timeout`). `retries` is how often a request is repeated that was not
    answered, or with 429 or 5xx; if the relay asks for a pause longer than `longest_pause`, the
    refusal is raised instead.

    `leeway` is the tolerated difference between this machine's clock and the relay's, in seconds.

    `http` is your own `httpx.AsyncClient`, for proxies or certificates; it is closed with this
    object. Its timeouts apply to each attempt, plus the seconds that the relay is asked to hold an
    answer. With it `timeout` cannot end an answer whose headers arrive slowly.
    """

    webhooks: AsyncWebhooks
    """Administration of webhooks (scope `webhook:admin`)."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        client_id: str | None = None,
        key_id: str | None = None,
        private_key: str | bytes | PrivateKey | None = None,
        issuer: str | None = None,
        timeout: float = 20.0,
        retries: int = 3,
        longest_pause: float = 30.0,
        leeway: float = LEEWAY_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._calls = Calls(
            base_url,
            issuer,
            api_key,
            client_id,
            key_id,
            private_key,
            retries,
            longest_pause,
            timeout,
        )
        self._protocol = Protocol(self._calls, client_id, leeway)
        self._driver = AsyncDriver(self._calls.base_url, http)
        self.webhooks = AsyncWebhooks(self._driver, Endpoints(self._calls))

    def __repr__(self) -> str:
        return f"AsyncFidoRelay({self._calls!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._driver.close()

    async def client_id(self) -> str:
        """This backend's client id: `cli_…`."""
        return await self._driver.run(self._protocol.client_id())

    async def open(
        self,
        ceremony_type: CeremonyType,
        username: str,
        *,
        idempotency_key: str | None = None,
        **more: Unpack[OpenOptions],
    ) -> Opened:
        """Opens a ceremony; see `OpenOptions` for the rest.

        `client_nonce` and `idempotency_key` are generated unless given. Retries reuse the key, so
        that a lost answer never opens a second ceremony. Keep `expected` of the returned object for
        `verify_result`.
        """
        flow = self._protocol.open(ceremony_type, username, idempotency_key, more)
        return await self._driver.run(flow)

    async def read(self, ceremony_id: str, *, wait_s: int = 0, since: int = 0) -> Ceremony:
        """The current state; with `wait_s` (at most 55) as soon as there is a step after number
        `since`, or when the wait is over."""
        return await self._driver.run(self._protocol.read(ceremony_id, wait_s, since))

    async def wait(
        self, ceremony_id: str, timeout: float = WAIT_S, *, on_step: OnStep | None = None
    ) -> Ceremony:
        """Waits for the outcome, also across restarts of the relay; reports each step once.

        Raises `WaitTimeout` after `timeout` seconds without one.
        """
        return await self._driver.run(self._protocol.wait(ceremony_id, timeout, on_step))

    async def events(
        self, ceremony_id: str, *, since: int = 0, timeout: float = WAIT_S
    ) -> AsyncGenerator[Event, None]:
        """The steps after number `since` as they happen (server-sent events), each once, with
        reconnections. Ends after the step `closed`; raises `WaitTimeout` after `timeout` seconds
        without it.

        If left early, it holds its connection until it is closed (`aclosing` of `contextlib`).
        """
        watch = Watch(ceremony_id, since, timeout)
        while not watch.is_over:
            until = watch.begin()
            try:
                bearer = self._calls.bearer(until, watch.needs_another_token)
                request = watch.request(await self._driver.run(bearer))
                async with self._driver.stream(request) as response:
                    if watch.has_begun(response.status_code, response.headers):
                        async for part in response.aiter_bytes():
                            for event in watch.take(part):
                                yield event
                            if watch.is_over:
                                return
                        pause = watch.pause_after_break(None)
                    else:
                        answer = await self._driver.answer(response, until)
                        pause = watch.pause_after(answer, self._calls.is_renewable)
            except Unreachable as error:
                pause = watch.pause_after_break(error)
            except httpx.TransportError as error:
                pause = watch.pause_after_break(unreachable(error))
            except httpx.DecodingError as error:
                raise UnexpectedAnswer(200, "events that can be decoded") from error
            await asyncio.sleep(pause)

    async def cancel(self, ceremony_id: str) -> Ceremony:
        """Cancels it and returns its state: an earlier outcome stays."""
        return await self._driver.run(self._protocol.cancel(ceremony_id))

    async def verify_result(
        self, token: str | None, expected: Expected, *, need_pin: bool = True
    ) -> Result:
        """Verifies that a result token is the relay's result for what was `expected`.

        The card must have verified its holder by the PIN (two factors), unless `need_pin` is
        false. Raises `InvalidResult`: then do not act. Act once for each ceremony.
        """
        return await self._driver.run(self._protocol.verify(token, expected, need_pin))

    async def receipt(self, ceremony_id: str) -> str | None:
        """The signed receipt (a compact JWS) of a successful ceremony, to keep with your own
        record; None if there is none. It is not a result: act on `verify_result`."""
        return await self._driver.run(self._protocol.receipt(ceremony_id))

    async def open_pairing(self, username: str) -> Pairing:
        """A one-time secret that makes a phone this user's device: authenticate the user first."""
        return await self._driver.run(self._protocol.open_pairing(username))

    async def void_pairings(self, username: str) -> None:
        """Voids every open pairing of the user (scope `device:pair`). After an error some may still
        be open: call again. Paired devices stay."""
        await self._driver.run(self._protocol.void_pairings(username))

    async def devices(self, username: str) -> list[Device]:
        """The user's phones."""
        return await self._driver.run(self._protocol.devices(username))

    async def rename(self, device_id: str, name: str) -> Device:
        """Renames a phone and returns it. Raises `Problem` `not_found` if the id does not exist
        (any more)."""
        return await self._driver.run(self._protocol.rename(device_id, name))

    async def revoke(self, device_id: str) -> bool:
        """Revokes a phone for good; false if the id does not exist (any more)."""
        return await self._driver.run(self._protocol.revoke(device_id))

    async def cards(self, username: str) -> list[Card]:
        """The user's cards, oldest first (scope `card:read`)."""
        return await self._driver.run(self._protocol.cards(username))

    async def remove_card(self, username: str, card_id: str) -> bool:
        """Removes a card for good (scope `card:revoke`); false if the id does not exist (any more).
        After an error it may still exist: call again."""
        return await self._driver.run(self._protocol.remove_card(username, card_id))

    async def prompts(self, username: str) -> UserPrompts:
        """Why this client's own prompts for the user do not ring (scope `user:unlock`)."""
        return await self._driver.run(self._protocol.prompts(username))

    async def unlock_prompts(self, username: str) -> None:
        """Lifts that (scope `user:unlock`): the next prompt of this client rings, unless the user
        said "not me". Three times a day for a user, then `Problem` `too_many_requests`."""
        await self._driver.run(self._protocol.unlock_prompts(username))
