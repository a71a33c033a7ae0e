"""Administration of webhooks as flows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._calls import Calls
from ._flow import Flow, Send, segment
from ._parse import parsed
from .models import Deliveries, DeliveryState, Webhook, WebhookScheme, WebhookTest


@dataclass(frozen=True)
class _Webhooks:
    webhooks: tuple[Webhook, ...]


class Endpoints:
    """The calls of the scope `webhook:admin`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(
        self, url: str, events: Sequence[str] | None, schemes: Sequence[WebhookScheme] | None
    ) -> Flow[Webhook]:
        body = _given(url=url, events=events, schemes=schemes)
        # A second registration would receive every event twice.
        request = Send("POST", "/v1/webhooks", json=body, is_idempotent=False)
        return parsed(Webhook, (yield from self._calls.call(request)))

    def all(self) -> Flow[list[Webhook]]:
        answer = yield from self._calls.call(Send("GET", "/v1/webhooks"))
        return list(parsed(_Webhooks, answer).webhooks)

    def read(self, webhook_id: str) -> Flow[Webhook]:
        return parsed(Webhook, (yield from self._calls.call(Send("GET", _path(webhook_id)))))

    def update(
        self, webhook_id: str, url: str | None, events: Sequence[str] | None
    ) -> Flow[Webhook]:
        request = Send("PATCH", _path(webhook_id), json=_given(url=url, events=events))
        return parsed(Webhook, (yield from self._calls.call(request)))

    def delete(self, webhook_id: str) -> Flow[bool]:
        return (yield from self._calls.removed(_path(webhook_id)))

    def new_key(
        self, webhook_id: str, scheme: WebhookScheme, old_lives_s: int | None
    ) -> Flow[Webhook]:
        body = _given(scheme=scheme, old_lives_s=old_lives_s)
        # A retry would create a key that the caller never sees.
        path = f"{_path(webhook_id)}/secrets"
        request = Send("POST", path, json=body, is_idempotent=False)
        return parsed(Webhook, (yield from self._calls.call(request)))

    def enable(self, webhook_id: str) -> Flow[Webhook]:
        request = Send("POST", f"{_path(webhook_id)}/enable")
        return parsed(Webhook, (yield from self._calls.call(request)))

    def test(self, webhook_id: str) -> Flow[WebhookTest]:
        # The relay gives the endpoint 10 s before it answers.
        request = Send("POST", f"{_path(webhook_id)}/test", hold=15.0)
        return parsed(WebhookTest, (yield from self._calls.call(request)))

    def deliveries(
        self, webhook_id: str, state: DeliveryState | None, after: str | None
    ) -> Flow[Deliveries]:
        params = _given(state=state, after=after)
        request = Send("GET", f"{_path(webhook_id)}/deliveries", params=params)
        return parsed(Deliveries, (yield from self._calls.call(request)))

    def resend(self, webhook_id: str, delivery_id: str) -> Flow[None]:
        path = f"{_path(webhook_id)}/deliveries/{segment(delivery_id)}/resend"
        return (yield from self._calls.no_content(Send("POST", path)))


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{segment(webhook_id)}"


def _given(**fields: Any) -> dict[str, Any]:
    """Drops the values that are left to the relay."""
    return {name: value for name, value in fields.items() if value is not None}
