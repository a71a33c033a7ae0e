"""What is sent to the relay and what it answers. Answers may gain fields, which are passed over,
and names, which a type checker does not know.

Codes, tickets, tokens and links are left out where an object is printed.
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
    """What an approval is about: a title and 1 to 16 lines of label and value."""

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
    """The browser, as the backend sees it; shown on the phone, but for `browser`."""

    ip: str
    user_agent: str
    location: str
    browser: str
    """A secret of this browser (22 to 128 visible ASCII characters, of at least 128 bits), such as
    a long-lived cookie of the page. The relay tells a browser in which this user has succeeded from
    a stranger's by it, keeps a keyed hash of it, and shows it to no phone."""


class OpenOptions(TypedDict, total=False):
    """What an open may say beside type and username."""

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
    """What a result token must say to be the answer to one open. Keep it where only the backend
    writes, such as a server-side session: it is what ties the outcome to who asked."""

    ceremony_id: str
    ceremony_type: CeremonyType
    username: str
    client_nonce: str
    binding: Binding = "code"
    tx_hash: str | None = None


@dataclass(frozen=True)
class Opened:
    """A ceremony that is stored at the relay."""

    id: str
    status: str
    phase: str
    expires_in: int
    expected: Expected
    code: str | None = field(repr=False)
    """With binding `code`: show it in the page where the person began, and nowhere else."""
    ticket: str = field(repr=False)
    """Lets that page watch this one ceremony."""
    prior_auth: PriorAuth = "none"
    """As what `prior_auth` counted: `none` for a client without the scope `prior_auth:assert`."""


@dataclass(frozen=True)
class ProgressEntry:
    """One step of a ceremony."""

    seq: int
    step: str
    at: str


@dataclass(frozen=True)
class Ceremony:
    """A ceremony as it stands."""

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
    """The signed result token of a ceremony that succeeded; good for 60 s, new at every read."""

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
    """What a verified result token says. Act once for each `ceremony_id`."""

    ceremony_id: str
    ceremony_type: CeremonyType
    username: str
    device_id: str
    amr: tuple[str, ...]
    """RFC 8176; with `pin` in it the card verified its holder."""
    auth_time: int
    cred_hash: str
    tx_binding: str | None
    """Approvals: `card` when the card signed the words, `relay` when only the relay did."""
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Pairing:
    """A one-time way to make a phone this user's device. Whoever has it becomes that device."""

    expires_in: int
    uri: str = field(repr=False)
    qr_svg: str = field(repr=False)
    typed_code: str = field(repr=False)
    pairing_token: str = field(repr=False)


@dataclass(frozen=True)
class Device:
    """A phone of a user's."""

    device_id: str
    name: str | None
    platform: str
    paired_at: str
    online: bool | None = None
    """Only with the scope `presence:read`."""


@dataclass(frozen=True)
class Card:
    """A card of a user's; `id` is the `cred_hash` of its results."""

    id: str
    registered_at: str
    attestation: str
    claimed: bool
    """Whether `aaguid` and `model` are the card's word alone."""
    can_verify_user: bool
    last_used_at: str | None = None
    aaguid: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class PromptLane:
    """Whether the next prompt of its kind rings."""

    rings: bool
    why: str | None = None
    """The rule that holds it back: `muted`, `quiet`, `hour`, `wait`, `live`, or one to come."""
    rings_in_s: int | None = None


@dataclass(frozen=True)
class UserPrompts:
    """What holds this client's own prompts for a user back. Without the scope `presence:read` by
    its own openings and their outcomes alone."""

    stranger: PromptLane
    """Openings from a browser that is not known, with `prior_auth` `none`."""
    unlocks_left: int
    vouched: PromptLane | None = None
    """Openings with another `prior_auth`, where it is believed."""


@dataclass(frozen=True)
class WebhookKey:
    """A key that signs what an endpoint is sent."""

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
    """`whsec_…`, only where a `v1` key was just made: the one time that it is seen."""


@dataclass(frozen=True)
class WebhookTest:
    """What came of a test."""

    delivered: bool
    status: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Delivery:
    """An event that has not reached its endpoint."""

    id: str
    event: str
    at: str
    state: DeliveryState
    attempts: int
    failure: str | None = None
    status: int | None = None


@dataclass(frozen=True)
class Deliveries:
    """A page of them. `next`, where there is one, is the `after` of those that follow."""

    deliveries: tuple[Delivery, ...]
    next: str | None = None
