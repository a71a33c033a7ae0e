"""Result tokens: only the relay's own result for exactly what was opened is accepted."""

import base64
import dataclasses
import hashlib
import json
import time
import types
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from fido_relay import Expected, FidoRelay, InvalidResult, Problem, Transaction, UnknownKey

URL = "https://relay.example.com"
WORDS = Transaction("Payment", (("Amount", "120.00 EUR"),))
EXPECTED = Expected("cer_1", "approval", "ada", "nonce", tx_hash=WORDS.hash())


class Forge:
    """A relay's keys, and a count of their fetches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys = {"one": ec.generate_private_key(ec.SECP256R1())}
        self.withdrawn: set[str] = set()
        self.headers: dict[str, str] = {}
        self.is_down = False
        self.asked = 0
        self.monkeypatch = monkeypatch
        self.passed_s = 0.0
        self.bank = self.client()

    def client(self, **more: float) -> FidoRelay:
        transport = httpx.MockTransport(self.answer)
        return FidoRelay(URL, api_key="rk_1", http=httpx.Client(transport=transport), **more)

    def later(self, seconds: float) -> None:
        """Moves only the clock of the key cache."""
        self.passed_s += seconds
        passed_s, monotonic = self.passed_s, time.monotonic
        clock = types.SimpleNamespace(monotonic=lambda: monotonic() + passed_s)
        self.monkeypatch.setattr("fido_relay._keys.time", clock)

    def withdraw(self, kid: str) -> None:
        self.withdrawn.add(kid)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/clients/self":
            return httpx.Response(200, json={"client_id": "cli_1"})
        self.asked += 1
        if self.is_down:
            return httpx.Response(503, headers={"retry-after": "60"})
        assert "authorization" not in request.headers, "a public page needs no key"
        listed = []
        for kid, key in self.keys.items():
            jwk = json.loads(ECAlgorithm.to_jwk(key.public_key()))
            if kid not in self.withdrawn:
                listed.append({**jwk, "kid": kid, "alg": "ES256", "use": "sig"})
        return httpx.Response(200, json={"keys": listed}, headers=self.headers)

    def token(self, header: dict[str, Any] | None = None, by: str = "one", **claims: Any) -> str:
        now = int(time.time())
        proper = {
            "iss": URL,
            "aud": "cli_1",
            "sub": "ada",
            "jti": "cer_1",
            "iat": now,
            "exp": now + 60,
            "client_nonce": "nonce",
            "ceremony_type": "approval",
            "outcome": "succeeded",
            "binding": "code",
            "amr": ["pop", "user", "pin", "mfa"],
            "auth_time": claims.get("iat") or now,
            "tx_hash": WORDS.hash(),
            "tx_binding": "card",
            "cred_hash": "hash",
            "device_id": "dev_1",
        }
        said = {name: v for name, v in (proper | claims).items() if v is not None}
        headers = {"typ": "ceremony-result+jwt", "kid": by} | (header or {})
        return jwt.encode(said, self.keys[by], "ES256", headers=headers)


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    return Forge(monkeypatch)


def refusal(forge: Forge, token: str, expected: Expected = EXPECTED, **more: bool) -> str:
    with pytest.raises(InvalidResult) as raised:
        forge.bank.verify_result(token, expected, **more)
    assert token not in str(raised.value)
    return raised.value.code


def test_a_valid_token_is_accepted(forge: Forge) -> None:
    result = forge.bank.verify_result(forge.token(), EXPECTED)
    assert (result.tx_binding, result.device_id) == ("card", "dev_1")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://other.example.com"}, "iss"),
        ({"aud": "cli_2"}, "aud"),
        ({"aud": ["cli_1", "cli_2"]}, "aud"),
        ({"sub": "grace"}, "sub"),
        ({"jti": "cer_2"}, "jti"),
        ({"client_nonce": "another"}, "client_nonce"),
        ({"client_nonce": None}, "client_nonce"),
        ({"ceremony_type": "authentication"}, "ceremony_type"),
        ({"outcome": "denied"}, "outcome"),
        ({"outcome": None}, "outcome"),
        ({"binding": "none"}, "binding"),
        ({"tx_hash": Transaction("Payment", (("Amount", "9120.00 EUR"),)).hash()}, "tx_hash"),
        ({"tx_hash": None}, "tx_hash"),
        ({"tx_binding": None}, "tx_binding"),
        ({"tx_binding": "page"}, "tx_binding"),
        ({"auth_time": None}, "auth_time"),
        ({"auth_time": True}, "auth_time"),
        ({"auth_time": int(time.time()) + 3600}, "auth_time"),
        ({"exp": 1_700_000_000}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": 4_000_000_000}, "iat"),
        ({"amr": None}, "amr"),
    ],
)
def test_every_claim_must_match_the_opening(
    forge: Forge, claims: dict[str, Any], code: str
) -> None:
    assert refusal(forge, forge.token(**claims)) == code


@pytest.mark.parametrize("amr", [["pop", "user"], [], ["pinned"]])
def test_a_card_that_did_not_verify_its_holder_is_refused_by_default(
    forge: Forge, amr: list[str]
) -> None:
    token = forge.token(amr=amr)
    assert refusal(forge, token) == "amr"
    assert forge.bank.verify_result(token, EXPECTED, need_pin=False).amr == tuple(amr)


def test_an_approval_without_an_expected_hash_is_refused(forge: Forge) -> None:
    expected = dataclasses.replace(EXPECTED, tx_hash=None)
    assert refusal(forge, forge.token(tx_hash=None), expected) == "tx_hash"


def test_only_an_approval_may_have_a_transaction(forge: Forge) -> None:
    sign_in = dataclasses.replace(EXPECTED, ceremony_type="authentication", tx_hash=None)
    kind: dict[str, Any] = {"ceremony_type": "authentication"}
    assert refusal(forge, forge.token(**kind), sign_in) == "tx_hash"
    assert refusal(forge, forge.token(**kind, tx_hash=None), sign_in) == "tx_binding"
    result = forge.bank.verify_result(
        forge.token(**kind, tx_hash=None, tx_binding=None), sign_in
    )
    assert result.tx_binding is None


def test_another_signer_form_or_algorithm_is_refused(forge: Forge) -> None:
    assert refusal(forge, "nonsense") == "form"
    deep = base64.urlsafe_b64encode(b"[" * 99_999).decode()
    assert refusal(forge, f"{deep}.e30.c2ln") == "form"
    assert refusal(forge, forge.token({"typ": "ceremony-receipt+jwt"})) == "typ"
    assert refusal(forge, forge.token({"crit": ["exp"]})) in ("form", "alg")
    good = forge.token()
    claims = jwt.decode(good, options={"verify_signature": False})
    header = {"typ": "ceremony-result+jwt", "kid": "one"}
    none = jwt.encode(claims, None, "none", headers=header)
    shared = jwt.encode(claims, "a public key, taken for a secret", "HS256", headers=header)
    assert [refusal(forge, none), refusal(forge, shared)] == ["alg", "alg"]
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(claims, stranger, "ES256", headers=header)
    assert refusal(forge, forged) == "signature"
    body, signature = good.rsplit(".", 1)
    other = forge.token(sub="grace").rsplit(".", 1)[0]
    assert refusal(forge, f"{other}.{signature}") == "signature"
    assert body != other


def test_keys_are_fetched_once_more_for_an_unknown_one(forge: Forge) -> None:
    for _ in range(3):
        forge.bank.verify_result(forge.token(), EXPECTED)
    assert forge.asked == 1
    forge.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(UnknownKey) as caught:
        forge.bank.verify_result(forge.token(by="two"), EXPECTED)
    assert 55 < caught.value.retry_after <= 60
    assert forge.asked == 1, "at most once a minute"
    forge.later(61)
    forge.bank.verify_result(forge.token(by="two"), EXPECTED)
    with pytest.raises(UnknownKey):
        forge.bank.verify_result(forge.token({"kid": "three"}), EXPECTED)
    assert forge.asked == 2
    forge.later(61)
    assert refusal(forge, forge.token({"kid": "three"})) == "kid"
    assert forge.asked == 3


@pytest.mark.parametrize(
    ("headers", "kept_s"),
    [
        ({"cache-control": "public, max-age=120"}, 120),
        ({"cache-control": "public, max-age=120", "age": "100"}, 20),
        ({"cache-control": "max-age=31536000"}, 3600),
        ({"cache-control": "no-store"}, 0),
        ({}, 300),
    ],
)
def test_withdrawn_keys_are_dropped_after_max_age(
    forge: Forge, headers: dict[str, str], kept_s: int
) -> None:
    forge.headers = headers
    token = forge.token()
    forge.bank.verify_result(token, EXPECTED)
    forge.withdraw("one")
    if kept_s:
        forge.later(kept_s - 1)
        forge.bank.verify_result(token, EXPECTED)
        assert forge.asked == 1
    forge.later(2)
    assert refusal(forge, token) == "kid"
    assert forge.asked == 2


def test_keys_that_cannot_be_fetched_again_verify_nothing(forge: Forge) -> None:
    token = forge.token()
    forge.bank.verify_result(token, EXPECTED)
    forge.later(301)
    forge.is_down = True
    with pytest.raises(Problem):
        forge.bank.verify_result(token, EXPECTED)


@pytest.mark.parametrize(("leeway", "off_s"), [(None, 29), (5.0, 4), (0.0, 0)])
def test_clocks_may_differ_by_the_leeway(forge: Forge, leeway: float | None, off_s: int) -> None:
    bank = forge.bank if leeway is None else forge.client(leeway=leeway)
    now = int(time.time())
    for iat in (now + off_s, now - 60 - off_s + 1):
        token = forge.token(iat=iat, exp=iat + 60)
        assert bank.verify_result(token, EXPECTED).username == "ada"
    for iat, code in ((now + off_s + 9, "iat"), (now - 60 - off_s - 9, "expired")):
        with pytest.raises(InvalidResult) as caught:
            bank.verify_result(forge.token(iat=iat, exp=iat + 60), EXPECTED)
        assert caught.value.code == code


@pytest.mark.parametrize("leeway", [-1.0, 301.0, float("nan")])
def test_a_leeway_out_of_range_is_refused(leeway: float) -> None:
    with pytest.raises(ValueError, match="leeway"):
        FidoRelay(URL, api_key="rk_1", leeway=leeway)


def test_the_transaction_is_hashed_in_canonical_form() -> None:
    # test_ceremonies compares it with the relay's own tx_hash.
    canonical = '{"fields":[{"label":"Amount","value":"120.00 EUR"}],"title":"Payment"}'
    digest = hashlib.sha256(canonical.encode()).digest()
    assert WORDS.hash() == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
