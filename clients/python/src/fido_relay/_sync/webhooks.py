"""Administration of a client's webhooks.

Generated from `_async` by `scripts/unasync.py`; do not edit."""

from collections.abc import Sequence

from .._endpoints import Endpoints
from ..models import Deliveries, DeliveryState, Webhook, WebhookScheme, WebhookTest
from .driver import Driver


class Webhooks:
    """The endpoints of one client, which needs the scope `webhook:admin`. A call for an unknown
    endpoint raises `Problem` `not_found`."""

    def __init__(self, driver: Driver, endpoints: Endpoints) -> None:
        self._driver = driver
        self._endpoints = endpoints

    def create(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        schemes: Sequence[WebhookScheme] | None = None,
    ) -> Webhook:
        """Registers an endpoint, by default for `ceremony.closed`, signed by `v1a`.

        Not retried after a lost answer (`Unreachable`): check `all` before the next try. The
        `secret` of the scheme `v1` is returned only here.
        """
        return self._driver.run(self._endpoints.create(url, events, schemes))

    def all(self) -> list[Webhook]:
        """The client's endpoints."""
        return self._driver.run(self._endpoints.all())

    def read(self, webhook_id: str) -> Webhook:
        """One endpoint."""
        return self._driver.run(self._endpoints.read(webhook_id))

    def update(
        self, webhook_id: str, *, url: str | None = None, events: Sequence[str] | None = None
    ) -> Webhook:
        """Changes the URL or the events; the keys stay."""
        return self._driver.run(self._endpoints.update(webhook_id, url, events))

    def delete(self, webhook_id: str) -> bool:
        """Removes an endpoint with its undelivered events; false if it does not exist."""
        return self._driver.run(self._endpoints.delete(webhook_id))

    def new_key(
        self, webhook_id: str, scheme: WebhookScheme, *, old_lives_s: int | None = None
    ) -> Webhook:
        """Creates a key; earlier keys of its scheme also sign for `old_lives_s` (a day).

        Not retried after a lost answer (`Unreachable`); a second call creates a second key.
        """
        return self._driver.run(self._endpoints.new_key(webhook_id, scheme, old_lives_s))

    def enable(self, webhook_id: str) -> Webhook:
        """Enables an endpoint that was `gone`."""
        return self._driver.run(self._endpoints.enable(webhook_id))

    def test(self, webhook_id: str) -> WebhookTest:
        """Sends `webhook.test` once."""
        return self._driver.run(self._endpoints.test(webhook_id))

    def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, after: str | None = None
    ) -> Deliveries:
        """A page of undelivered events."""
        return self._driver.run(self._endpoints.deliveries(webhook_id, state, after))

    def resend(self, webhook_id: str, delivery_id: str) -> None:
        """Retries a dead letter for another 72 hours."""
        self._driver.run(self._endpoints.resend(webhook_id, delivery_id))
