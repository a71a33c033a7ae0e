"""Requests and answers. Later relays may add fields, which are ignored, and values, which a type
checker does not know.

`repr` leaves out codes, tickets, tokens and links.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import rfc8785

CeremonyType = Literal["registration", "authentication", "approval"]
Binding = Literal["code", "none"]
PriorAuth = Literal["none", "password", "session"]
WebhookScheme = Literal["v1a", "v1"]
DeliveryState = Literal["waiting", "dead"]


@dataclass(frozen=True)
class Transaction:
    """The transaction of an approval: a title and 1 to 16 lines of label and value."""

    title: str
    fields: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        fields = [{"label": label, "value": value} for label, value in self.fields]
        return {"title": self.title, "fields": fields}

    def hash(self) -> str:
        """`tx_hash` of a result token: SHA-256 of the canonical JSON (RFC 8785), base64url."""
        digest = hashlib.sha256(rfc8785.dumps(self.to_json())).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Context(TypedDict, total=False):
    """The browser as the backend sees it; shown on the phone, except `browser`."""

    ip: str
    user_agent: str
    location: str
    browser: str
    """A secret of this browser (22 to 128 visible ASCII characters, of at least 128 bits), such as
    a long-lived cookie of the page. By it the relay recognises browsers in which this user has
    succeeded; it keeps a keyed hash and shows it to no phone."""


class OpenOptions(TypedDict, total=False):
    """Optional fields of an open."""

    display_name: str
    device_id: str
    timeout_s: int
    binding: Binding
    message: str
    transaction: Transaction
    context: Context
    client_nonce: str
    prior_auth: PriorAuth
    show_delivery: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Expected:
    """The claims that a result token of one open must have. Keep it where only the backend writes,
    such as a server-side session: it binds the outcome to the browser that asked."""

    ceremony_id: str
    ceremony_type: CeremonyType
    username: str
    client_nonce: str
    binding: Binding = "code"
    tx_hash: str | None = None


@dataclass(frozen=True)
class Opened:
    """An opened ceremony, stored at the relay."""

    id: str
    status: str
    phase: str
    expires_in: int
    expected: Expected
    code: str | None = field(repr=False)
    """With binding `code`: show it in the page where the user began, and nowhere else."""
    ticket: str = field(repr=False)
    """Lets that page watch this one ceremony."""
    prior_auth: PriorAuth = "none"
    """The `prior_auth` that counts: `none` for a client without the scope `prior_auth:assert`."""


@dataclass(frozen=True)
class ProgressEntry:
    """One step of a ceremony."""

    seq: int
    step: str
    at: str


@dataclass(frozen=True)
class Ceremony:
    """The state of a ceremony."""

    id: str
    type: CeremonyType
    username: str | None
    status: str
    phase: str
    seq: int
    progress: tuple[ProgressEntry, ...]
    expires_in: int
    reason: str | None = None
    result: str | None = field(default=None, repr=False)
    """The signed result token after a success; valid for 60 s, new at every read."""

    @property
    def is_closed(self) -> bool:
        return self.status != "pending"


@dataclass(frozen=True)
class Event:
    """One step, as it happens. With the step `closed`, `status` is the outcome."""

    seq: int
    step: str
    at: str
    status: str
    phase: str
    reason: str | None = None


@dataclass(frozen=True)
class Result:
    """The content of a verified result token. Act once for each `ceremony_id`."""

    ceremony_id: str
    ceremony_type: CeremonyType
    username: str
    device_id: str
    amr: tuple[str, ...]
    """RFC 8176; contains `pin` if the card verified its holder."""
    auth_time: int
    cred_hash: str
    tx_binding: str | None
    """Approvals: `card` if the card signed the text, `relay` if only the relay did."""
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Pairing:
    """A one-time secret that makes a phone this user's device: protect it."""

    expires_in: int
    uri: str = field(repr=False)
    qr_svg: str = field(repr=False)
    typed_code: str = field(repr=False)
    pairing_token: str = field(repr=False)


@dataclass(frozen=True)
class Device:
    """A user's phone."""

    device_id: str
    name: str | None
    platform: str
    paired_at: str
    online: bool | None = None
    """Only with the scope `presence:read`."""


@dataclass(frozen=True)
class Card:
    """A user's card; `id` is the `cred_hash` of its results."""

    id: str
    registered_at: str
    attestation: str
    claimed: bool
    """Whether `aaguid` and `model` are only the card's claim."""
    can_verify_user: bool
    last_used_at: str | None = None
    aaguid: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class PromptLane:
    """Whether the next prompt in this lane rings."""

    rings: bool
    why: str | None = None
    """The rule that holds it back: `muted`, `quiet`, `hour`, `wait`, `live`, or a later one."""
    rings_in_s: int | None = None


@dataclass(frozen=True)
class UserPrompts:
    """Why this client's own prompts for a user do not ring. Without the scope `presence:read` it
    follows only from the client's own openings and their outcomes."""

    stranger: PromptLane
    """Openings from an unknown browser with `prior_auth` `none`."""
    unlocks_left: int
    vouched: PromptLane | None = None
    """Openings with another `prior_auth`, if it counts."""


@dataclass(frozen=True)
class WebhookKey:
    """A key that signs an endpoint's webhooks."""

    scheme: WebhookScheme
    created_at: str
    public_key: str | None = None
    """`whpk_…`, for `verify_webhook`."""
    ends_at: str | None = None


@dataclass(frozen=True)
class Webhook:
    """A registered endpoint."""

    id: str
    url: str
    events: tuple[str, ...]
    state: str
    """`enabled`, or `gone` after it answered 410."""
    keys: tuple[WebhookKey, ...]
    created_at: str
    secret: str | None = field(default=None, repr=False)
    """`whsec_…`, only in the answer that created a `v1` key."""


@dataclass(frozen=True)
class WebhookTest:
    """The result of a test."""

    delivered: bool
    status: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Delivery:
    """An undelivered event."""

    id: str
    event: str
    at: str
    state: DeliveryState
    attempts: int
    failure: str | None = None
    status: int | None = None


@dataclass(frozen=True)
class Deliveries:
    """A page of deliveries. `next`, if present, is the `after` of the next page."""

    deliveries: tuple[Delivery, ...]
    next: str | None = None
