"""What is sent to the relay and what it answers. Answers may gain fields, which are passed over.

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
    """The browser, as the backend sees it; shown on the phone."""

    ip: str
    user_agent: str
    location: str


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

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Ceremony":
        entries = (ProgressEntry(one["seq"], one["step"], one["at"]) for one in body["progress"])
        return cls(
            id=body["id"],
            type=body["type"],
            username=body.get("username"),
            status=body["status"],
            phase=body["phase"],
            seq=body["seq"],
            progress=tuple(entries),
            expires_in=body["expires_in"],
            reason=body.get("reason"),
            result=body.get("result"),
        )


@dataclass(frozen=True)
class Event:
    """One step, as it happens. With the step `closed`, `status` is the outcome."""

    seq: int
    step: str
    at: str
    status: str
    phase: str
    reason: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Event":
        return cls(
            seq=body["seq"],
            step=body["step"],
            at=body["at"],
            status=body["status"],
            phase=body["phase"],
            reason=body.get("reason"),
        )


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

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Pairing":
        names = ("expires_in", "uri", "qr_svg", "typed_code", "pairing_token")
        return cls(*(body[name] for name in names))


@dataclass(frozen=True)
class Device:
    """A phone of a user's."""

    device_id: str
    name: str | None
    platform: str
    paired_at: str
    online: bool | None = None
    """Only with the scope `presence:read`."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Device":
        return cls(
            device_id=body["device_id"],
            name=body.get("name"),
            platform=body["platform"],
            paired_at=body["paired_at"],
            online=body.get("online"),
        )
