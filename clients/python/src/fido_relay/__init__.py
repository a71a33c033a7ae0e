"""fido-relay for backends: open a ceremony, show its code, wait, verify the signed result, act.

`FidoRelay` blocks, `AsyncFidoRelay` is awaited; the two do the same. Nothing of this package logs,
and no object of it prints a key, a code, a ticket or a token.
"""

from ._async_client import AsyncFidoRelay
from ._client import FidoRelay
from .errors import (
    FidoRelayError,
    InvalidResult,
    InvalidWebhook,
    Problem,
    Unreachable,
    WaitTimeout,
)
from .models import (
    Binding,
    Ceremony,
    CeremonyType,
    Context,
    Device,
    Event,
    Expected,
    Opened,
    OpenOptions,
    Pairing,
    PriorAuth,
    ProgressEntry,
    Result,
    Transaction,
)
from .webhooks import WebhookEvent, verify_webhook

__all__ = [
    "AsyncFidoRelay",
    "Binding",
    "Ceremony",
    "CeremonyType",
    "Context",
    "Device",
    "Event",
    "Expected",
    "FidoRelay",
    "FidoRelayError",
    "InvalidResult",
    "InvalidWebhook",
    "OpenOptions",
    "Opened",
    "Pairing",
    "PriorAuth",
    "Problem",
    "ProgressEntry",
    "Result",
    "Transaction",
    "Unreachable",
    "WaitTimeout",
    "WebhookEvent",
    "verify_webhook",
]
