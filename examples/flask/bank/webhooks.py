"""The relay's webhooks: settle a ceremony at once even if its page was closed."""

import logging

from fido_relay import InvalidWebhook, verify_webhook
from flask import Blueprint, abort, current_app, request

from .ceremonies import settle
from .storage import database

hooks = Blueprint("hooks", __name__)
log = logging.getLogger(__name__)


@hooks.post("/hooks/relay")
def relay() -> tuple[str, int]:
    """Standard Webhooks. A webhook only triggers a read at the relay, so a duplicate changes
    nothing. If the relay does not answer now, the webhook gets 503 and is retried."""
    secrets = current_app.config["WEBHOOK_SECRETS"]
    public_keys = current_app.config["WEBHOOK_PUBLIC_KEYS"]
    if not (secrets or public_keys):
        abort(404)
    try:
        event = verify_webhook(
            request.headers, request.get_data(), secrets=secrets, public_keys=public_keys
        )
    except InvalidWebhook as error:
        log.warning("a webhook is refused: %s", error)
        abort(400)
    if event.type == "ceremony.closed":
        settle(current_app.extensions["fido_relay"], database(), event.data["id"])
    return "", 204
