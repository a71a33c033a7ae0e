"""Every call of the client, for tests of their common behaviour."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from fido_relay import Expected, FidoRelay

URL = "https://relay.example.com"
TOKEN = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6ImNlcmVtb255LXJlc3VsdCtqd3QifQ.e30.c2lnbmF0dXJl"
)
CALLS: dict[str, Callable[[FidoRelay], object]] = {
    "open": lambda bank: bank.open("authentication", "ada"),
    "read": lambda bank: bank.read("cer_1"),
    "wait": lambda bank: bank.wait("cer_1", 5),
    "events": lambda bank: list(bank.events("cer_1", timeout=5)),
    "cancel": lambda bank: bank.cancel("cer_1"),
    "verify_result": lambda bank: bank.verify_result(
        TOKEN, Expected("cer_1", "authentication", "ada", "nonce")
    ),
    "client_id": lambda bank: bank.client_id(),
    "receipt": lambda bank: bank.receipt("cer_1"),
    "open_pairing": lambda bank: bank.open_pairing("ada"),
    "void_pairings": lambda bank: bank.void_pairings("ada"),
    "devices": lambda bank: bank.devices("ada"),
    "rename": lambda bank: bank.rename("dev_1", "Phone"),
    "revoke": lambda bank: bank.revoke("dev_1"),
    "cards": lambda bank: bank.cards("ada"),
    "remove_card": lambda bank: bank.remove_card("ada", "card"),
    "prompts": lambda bank: bank.prompts("ada"),
    "unlock_prompts": lambda bank: bank.unlock_prompts("ada"),
    "webhooks.create": lambda bank: bank.webhooks.create("https://shop.example.com/"),
    "webhooks.all": lambda bank: bank.webhooks.all(),
    "webhooks.read": lambda bank: bank.webhooks.read("whk_1"),
    "webhooks.update": lambda bank: bank.webhooks.update("whk_1", events=[]),
    "webhooks.delete": lambda bank: bank.webhooks.delete("whk_1"),
    "webhooks.new_key": lambda bank: bank.webhooks.new_key("whk_1", "v1a"),
    "webhooks.enable": lambda bank: bank.webhooks.enable("whk_1"),
    "webhooks.test": lambda bank: bank.webhooks.test("whk_1"),
    "webhooks.deliveries": lambda bank: bank.webhooks.deliveries("whk_1"),
    "webhooks.resend": lambda bank: bank.webhooks.resend("whk_1", "msg_1"),
}


@contextmanager
def answering(
    answer: Callable[[httpx.Request], httpx.Response], **more: Any
) -> Iterator[FidoRelay]:
    http = httpx.Client(transport=httpx.MockTransport(answer))
    with FidoRelay(URL, **({"api_key": "rk_1", "http": http} | more)) as bank:
        yield bank
