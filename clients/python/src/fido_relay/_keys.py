"""The relay's public keys, cached for as long as the relay says. No IO here."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from . import _results
from ._flow import Answer
from ._parse import parsed
from .errors import InvalidResult, UnexpectedAnswer, UnknownKey

AGAIN_S = 60.0
"""Between two fetches for unknown keys."""
KEPT_S, KEPT_AT_MOST_S = 300.0, 3600.0
"""How long a set is cached without `max-age`, and the longest accepted `max-age`."""


@dataclass(frozen=True)
class _KeySet:
    keys: tuple[Mapping[str, Any], ...]


class Keys:
    """A withdrawn key is dropped at the next fetch, at the latest when the cached set expires."""

    def __init__(self) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._fresh_until = float("-inf")

    def must_fetch(self, kid: str) -> bool:
        now = time.monotonic()
        is_unknown = kid not in self._keys and now >= self._fetched_at + AGAIN_S
        return is_unknown or now >= self._fresh_until

    def replace(self, answer: Answer) -> None:
        listed = parsed(_KeySet, answer).keys
        try:
            self._keys = {str(jwk["kid"]): _results.key(jwk) for jwk in listed if _is_ours(jwk)}
        except (jwt.PyJWTError, KeyError) as error:
            raise UnexpectedAnswer(answer.status, "a key set") from error
        self._fetched_at = time.monotonic()
        self._fresh_until = self._fetched_at + _kept(answer.headers)

    def get(self, kid: str, *, is_latest: bool) -> jwt.PyJWK:
        """With `is_latest` the set was fetched for this token: a missing key does not exist."""
        if kid in self._keys:
            return self._keys[kid]
        if is_latest:
            raise InvalidResult("kid")
        raise UnknownKey(max(0.0, self._fetched_at + AGAIN_S - time.monotonic()))


def _is_ours(jwk: Mapping[str, Any]) -> bool:
    """Whether it can sign a result token; the set has other keys too."""
    return (jwk.get("kty"), jwk.get("crv"), jwk.get("use")) == ("EC", "P-256", "sig")


def _kept(headers: Mapping[str, str]) -> float:
    """In seconds (RFC 9111, section 5.2.2), less the `Age` of a cached copy."""
    control = headers.get("cache-control", "").lower()
    if re.search(r"\bno-(store|cache)\b", control):
        return 0.0
    found = re.search(r'\bmax-age="?(\d{1,9})', control)
    age = headers.get("age", "")
    kept = float(found[1]) if found else KEPT_S
    kept -= float(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0.0
    return max(0.0, min(kept, KEPT_AT_MOST_S))
