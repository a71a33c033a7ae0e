"""Verifies that a result token is the relay's result for exactly what was opened. No IO here."""

from collections.abc import Mapping
from typing import Any

import jwt

from .errors import InvalidResult
from .models import Expected, Result

TYP = "ceremony-result+jwt"
ALG = "ES256"
LEEWAY_S = 30.0
"""Between the relay's clock and this one: the relay's own tolerance."""
REQUIRED = ["iss", "aud", "sub", "jti", "iat", "exp"]


def key_id(token: str) -> str:
    """The `kid` of a token with the header of a result token."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, RecursionError):
        raise InvalidResult("form") from None
    if header.get("typ") != TYP:
        raise InvalidResult("typ")
    if header.get("alg") != ALG or "crit" in header:
        raise InvalidResult("alg")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise InvalidResult("kid")
    return kid


def key(jwk: Mapping[str, Any]) -> jwt.PyJWK:
    return jwt.PyJWK(dict(jwk), algorithm=ALG)


def verified(
    token: str,
    key: jwt.PyJWK,
    issuer: str,
    client_id: str,
    expected: Expected,
    need_pin: bool,
    leeway: float,
) -> Result:
    """The result, if `key` signed the token and its claims are as expected."""
    claims = _claims(token, key, issuer, client_id, leeway)
    wanted: dict[str, str | None] = {
        # The library would also accept a list with other audiences.
        "aud": client_id,
        "jti": expected.ceremony_id,
        "sub": expected.username,
        "ceremony_type": expected.ceremony_type,
        "client_nonce": expected.client_nonce,
        "binding": expected.binding,
        "outcome": "succeeded",
    }
    is_approval = expected.ceremony_type == "approval"
    # None equals a missing claim, which is right only for other types.
    wanted["tx_hash"] = (expected.tx_hash or "") if is_approval else None
    for name, value in wanted.items():
        if claims.get(name) != value:
            raise InvalidResult(name)
    amr = claims.get("amr")
    if not isinstance(amr, list) or (need_pin and "pin" not in amr):
        raise InvalidResult("amr")
    if claims.get("tx_binding") not in (("card", "relay") if is_approval else (None,)):
        raise InvalidResult("tx_binding")
    auth_time = claims.get("auth_time")
    # In Python `True` is an `int`.
    if type(auth_time) is not int or auth_time > claims["iat"] + leeway:
        raise InvalidResult("auth_time")
    for name in ("cred_hash", "device_id"):
        if not isinstance(claims.get(name), str):
            raise InvalidResult(name)
    return Result(
        ceremony_id=expected.ceremony_id,
        ceremony_type=expected.ceremony_type,
        username=expected.username,
        device_id=claims["device_id"],
        amr=tuple(str(method) for method in amr),
        auth_time=auth_time,
        cred_hash=claims["cred_hash"],
        tx_binding=claims.get("tx_binding"),
        claims=claims,
    )


def _claims(
    token: str, key: jwt.PyJWK, issuer: str, client_id: str, leeway: float
) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[ALG],  # Never the token's own `alg`.
            audience=client_id,
            issuer=issuer,
            leeway=leeway,
            options={"require": REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise InvalidResult("expired") from None
    except jwt.InvalidSignatureError:
        raise InvalidResult("signature") from None
    except jwt.InvalidIssuerError:
        raise InvalidResult("iss") from None
    except jwt.InvalidAudienceError:
        raise InvalidResult("aud") from None
    except jwt.ImmatureSignatureError:
        raise InvalidResult("iat") from None
    except jwt.MissingRequiredClaimError as error:
        raise InvalidResult(error.claim) from None
    except jwt.PyJWTError:
        raise InvalidResult("form") from None
