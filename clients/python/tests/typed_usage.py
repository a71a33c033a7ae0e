"""Typical usage, for type checkers only: checked by mypy and pyright, not run."""

# pyright: strict

from django.http import HttpRequest
from starlette.requests import Request as StarletteRequest
from werkzeug.wrappers import Request as FlaskRequest

from fido_relay import AsyncFidoRelay, FidoRelay, Webhook, WebhookEvent, verify_webhook

KEYS = ["whpk_"]


def flask(request: FlaskRequest) -> WebhookEvent:
    return verify_webhook(request.headers, request.get_data(), public_keys=KEYS)


async def starlette(request: StarletteRequest) -> WebhookEvent:
    return verify_webhook(request.headers, await request.body(), public_keys=KEYS)


def django(request: HttpRequest) -> WebhookEvent:
    return verify_webhook(request.headers, request.body, public_keys=KEYS)


def plain(headers: dict[str, str], body: bytes) -> WebhookEvent:
    return verify_webhook(headers, body, public_keys=KEYS)


async def closes_its_events_early(relay: AsyncFidoRelay, ceremony_id: str) -> int:
    events = relay.events(ceremony_id)
    async for event in events:
        await events.aclose()
        return event.seq
    return 0


def closes_its_events_early_too(relay: FidoRelay, ceremony_id: str) -> int:
    events = relay.events(ceremony_id)
    for event in events:
        events.close()
        return event.seq
    return 0


def administers(relay: FidoRelay) -> list[Webhook]:
    made = relay.webhooks.create("https://shop.example.com/hooks", events=["ceremony.closed"])
    relay.webhooks.new_key(made.id, "v1a", old_lives_s=3600)
    return relay.webhooks.all()
