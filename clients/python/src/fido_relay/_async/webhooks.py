"""Administration of a client's webhooks."""

from collections.abc import Sequence

from .._endpoints import Endpoints
from ..models import Deliveries, DeliveryState, Webhook, WebhookScheme, WebhookTest
from .driver import AsyncDriver


class AsyncWebhooks:
    """The endpoints of one client; it needs the scope `webhook:admin`. A call about an endpoint
    that there is not raises `Problem` `not_found`."""

    def __init__(self, driver: AsyncDriver, endpoints: Endpoints) -> None:
        self._driver = driver
        self._endpoints = endpoints

    async def create(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        schemes: Sequence[WebhookScheme] | None = None,
    ) -> Webhook:
        """Registers an endpoint: for `ceremony.closed`, signed by `v1a`, unless said otherwise.

        Not repeated after a lost answer (`Unreachable`): look into `all` before the next try. The
        `secret` of the scheme `v1` is shown here and never again.
        """
        return await self._driver.run(self._endpoints.create(url, events, schemes))

    async def all(self) -> list[Webhook]:
        """The client's endpoints."""
        return await self._driver.run(self._endpoints.all())

    async def read(self, webhook_id: str) -> Webhook:
        """One endpoint."""
        return await self._driver.run(self._endpoints.read(webhook_id))

    async def update(
        self, webhook_id: str, *, url: str | None = None, events: Sequence[str] | None = None
    ) -> Webhook:
        """Changes the address or the events; the keys stay."""
        return await self._driver.run(self._endpoints.update(webhook_id, url, events))

    async def delete(self, webhook_id: str) -> bool:
        """Removes an endpoint with all that has not reached it; false if there is none."""
        return await self._driver.run(self._endpoints.delete(webhook_id))

    async def new_key(
        self, webhook_id: str, scheme: WebhookScheme, *, old_lives_s: int | None = None
    ) -> Webhook:
        """Makes a key, beside which earlier ones of its scheme sign for `old_lives_s` (a day).

        Not repeated after a lost answer (`Unreachable`); a second call makes a second key.
        """
        return await self._driver.run(self._endpoints.new_key(webhook_id, scheme, old_lives_s))

    async def enable(self, webhook_id: str) -> Webhook:
        """Has an endpoint that was `gone` tried again."""
        return await self._driver.run(self._endpoints.enable(webhook_id))

    async def test(self, webhook_id: str) -> WebhookTest:
        """Sends `webhook.test` once."""
        return await self._driver.run(self._endpoints.test(webhook_id))

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, after: str | None = None
    ) -> Deliveries:
        """A page of what has not reached an endpoint."""
        return await self._driver.run(self._endpoints.deliveries(webhook_id, state, after))

    async def resend(self, webhook_id: str, delivery_id: str) -> None:
        """Has a dead letter tried for another 72 hours."""
        await self._driver.run(self._endpoints.resend(webhook_id, delivery_id))
