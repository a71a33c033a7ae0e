"""Credentials of a backend: an API key, or its own key pair (`private_key_jwt`)."""

import re
import time
import uuid
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ._flow import Answer, Flow, Send, may_pass, refusal, send
from ._parse import parsed

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

ASSERTION_LIFETIME_S = 60
RENEW_BEFORE_S = 60
"""An access token this close to its expiry is not used, since the relay may hold a request."""


class NotNow(Exception):
    """The token endpoint failed temporarily."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the token endpoint cannot answer now")
        self.answer = answer


@dataclass(frozen=True)
class _AccessToken:
    expires_in: int
    access_token: str = field(repr=False)


class ApiKey:
    """`rk_…`: the same for every request."""

    client_id: str | None = None
    is_renewable = False

    def __init__(self, key: str) -> None:
        self._key = visible("api_key", key)

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def bearer(self, until: float, another: bool) -> Flow[str]:
        return self._key
        yield  # A flow that sends nothing.


class KeyPair:
    """A client id and the private key whose public half the operator registered."""

    is_renewable = True

    def __init__(
        self, client_id: str, key_id: str, private_key: str | bytes | PrivateKey, audience: str
    ) -> None:
        self.client_id: str | None = visible("client_id", client_id)
        self._key_id = key_id
        self._key = _loaded(private_key)
        self._algorithm = _algorithm(self._key)
        self._audience = audience
        self._token: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return f"KeyPair(client_id={self.client_id!r}, key_id={self._key_id!r})"

    def bearer(self, until: float, another: bool) -> Flow[str]:
        """An access token with some lifetime left; with `another` a new one."""
        held = self._token
        if held and not another and time.monotonic() < held[1]:
            return held[0]
        asked_at = time.monotonic()
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._assertion(),
        }
        answer = yield from send(Send("POST", "/oauth/token", until=until, form=form))
        if may_pass(answer):
            raise NotNow(answer)
        if answer.status != 200:
            raise refusal(answer)
        issued = parsed(_AccessToken, answer)
        self._token = issued.access_token, asked_at + issued.expires_in - RENEW_BEFORE_S
        return issued.access_token

    def _assertion(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self._audience,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME_S,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._key_id})


def visible(name: str, text: str) -> str:
    """Returns the text if a header can carry it. Errors do not repeat it: it may be a secret."""
    if re.fullmatch(r"[!-~]+", text):
        return text
    raise ValueError(f"{name} must be ASCII without white space: strip what a file ends with")


def _loaded(key: str | bytes | PrivateKey) -> PrivateKey:
    if isinstance(key, PrivateKey):
        return key
    try:
        pem = key.encode() if isinstance(key, str) else key
        loaded = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        # The library's message is dropped: it may contain bytes of the key.
        raise ValueError("private_key must be unencrypted PEM") from None
    if isinstance(loaded, PrivateKey):
        return loaded
    raise ValueError("private_key must be EC P-256, Ed25519 or RSA")


def _algorithm(key: PrivateKey) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("an EC private_key must be on P-256")
        return "ES256"
    return "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "PS256"
