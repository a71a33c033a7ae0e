"""Sign-ins under elapsed time and relay failures, with a fake clock and relay.

    pip install pytest && PYTHONPATH=../../clients/python/src pytest
"""

import asyncio
import os
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from cachetools import TTLCache
from fido_relay import Expected, InvalidResult, Opened, Problem, Unreachable

os.environ.setdefault("FIDO_RELAY_API_KEY", "rk_unused")

import app as bank  # noqa: E402

OPENED = Opened(
    id="cer_1",
    status="pending",
    phase="offered",
    expires_in=120,
    expected=Expected("cer_1", "authentication", "ada", "nonce"),
    code="123456",
    ticket="tkt_1",
)


class Relay:
    """A fake relay: `ceremony` determines the outcome, `verdicts` the verification."""

    def __init__(self):
        self.opened, self.cancelled, self.browsers = 0, [], []
        self.ceremony = SimpleNamespace(
            id="cer", status="succeeded", reason=None, is_closed=True, result="jws"
        )
        self.verdicts = []

    async def open(self, *_, context, **__):
        self.opened += 1
        self.browsers.append(context["browser"])
        return replace(OPENED, id=f"cer_{self.opened}")

    async def read(self, _):
        await asyncio.sleep(0)  # so that calls overlap
        return self.ceremony

    async def verify_result(self, *_):
        verdict = self.verdicts.pop(0) if self.verdicts else None
        if verdict:
            raise verdict
        return SimpleNamespace(username="ada", auth_time=bank.time.time())

    async def cancel(self, ceremony_id):
        self.cancelled.append(ceremony_id)


@pytest.fixture
def relay(monkeypatch):
    relay, clock = Relay(), SimpleNamespace(now=0.0)
    relay.clock = clock
    monkeypatch.setattr(bank, "relay", relay)
    monkeypatch.setattr(bank, "REMEMBERED", 2)
    for name, seconds in (("attempts", bank.ATTEMPT_S), ("signed_in", bank.SESSION_S)):
        cache = TTLCache(2, seconds, timer=lambda: clock.now)
        monkeypatch.setattr(bank, name, cache)
    bank.tries.clear()
    bank.known.clear()
    return relay


def browser(address="127.0.0.1"):
    """A client with its own cookie jar."""
    transport = httpx.ASGITransport(bank.app, client=(address, 50000))
    return httpx.AsyncClient(transport=transport, base_url="https://localhost")


async def sign_in(page, username="ada"):
    answer = await page.post("/sign-in", json={"username": username})
    return answer.json().get("id"), answer.status_code


async def finish(page, ceremony_id):
    answer = await page.post(f"/sign-in/{ceremony_id}/finish")
    return answer.status_code, answer.json()


def test_attempts_and_sessions_expire_and_are_removed(relay):
    async def story():
        page = browser()
        late, _ = await sign_in(page)
        relay.clock.now += bank.ATTEMPT_S + 1
        assert (await finish(page, late))[0] == 404
        in_time, _ = await sign_in(page)
        assert len(bank.attempts) == 1
        assert await finish(page, in_time) == (200, {"status": "succeeded"})
        assert len(bank.attempts) == 0
        relay.clock.now += bank.SESSION_S - 1
        assert (await page.get("/me")).json() == {"username": "ada"}
        relay.clock.now += 2
        assert (await page.get("/me")).json() == {"username": None}
        assert len(bank.signed_in) == 0

    asyncio.run(story())


def test_many_attempts_refuse_new_ones_and_drop_none(relay):
    async def story():
        pages = [browser() for _ in range(3)]
        ids = [await sign_in(page) for page in pages]
        assert [status for _, status in ids] == [200, 200, 503]
        assert await finish(pages[0], ids[0][0]) == (200, {"status": "succeeded"})
        assert (await sign_in(pages[2]))[1] == 200

    asyncio.run(story())


def test_a_new_attempt_cancels_the_browsers_earlier_one(relay):
    async def story():
        page = browser()
        earlier, _ = await sign_in(page)
        later, _ = await sign_in(page)
        assert relay.cancelled == [earlier] and len(bank.attempts) == 1
        assert (await finish(page, earlier))[0] == 404
        assert await finish(page, later) == (200, {"status": "succeeded"})

    asyncio.run(story())


def test_an_attempt_survives_an_unreachable_relay(relay):
    async def story():
        page = browser()
        asked, _ = await sign_in(page)
        relay.verdicts = [Unreachable("no keys"), Problem(503, "unavailable", "busy", None, 1.0)]
        assert [(await finish(page, asked))[0] for _ in range(3)] == [503, 503, 200]
        assert (await finish(page, asked))[0] == 404

    asyncio.run(story())


def test_of_two_concurrent_finishes_one_signs_in(relay):
    async def story():
        page = browser()
        asked, _ = await sign_in(page)
        ends = await asyncio.gather(finish(page, asked), finish(page, asked))
        assert sorted(status for status, _ in ends) == [200, 404]
        assert len(bank.signed_in) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "verdict", [InvalidResult("amr"), Problem(404, "not_found", "none", None, None)]
)
def test_an_unproven_result_ends_the_attempt(relay, verdict):
    async def story():
        page = browser()
        asked, _ = await sign_in(page)
        relay.verdicts = [verdict]
        assert await finish(page, asked) == (200, {"status": "unproven"})
        assert (await page.get("/me")).json() == {"username": None}
        assert (await finish(page, asked))[0] == 404

    asyncio.run(story())


def test_a_late_redemption_does_not_sign_in(relay, monkeypatch):
    async def story():
        page = browser()
        asked, _ = await sign_in(page)
        monkeypatch.setattr(bank, "REDEEM_S", -1)
        assert await finish(page, asked) == (200, {"status": "expired"})
        assert (await page.get("/me")).json() == {"username": None}

    asyncio.run(story())


def test_a_browser_is_recognised_by_its_cookie(relay):
    async def story():
        page = browser()
        answer = await page.post("/sign-in", json={"username": "ada"})
        kept = answer.headers.get_list("set-cookie")[-1]
        for part in ("__Host-browser=", "HttpOnly", "SameSite=lax", "Secure", "Max-Age=7776000"):
            assert part in kept
        await sign_in(page)
        await sign_in(browser())
        first, again, other = relay.browsers
        assert first == again != other and first in kept and len(first) == 43
        page.cookies.set("__Host-browser", "short", domain="localhost")
        await sign_in(page)
        assert len(relay.browsers[-1]) == 43

    asyncio.run(story())


def test_tries_are_limited_and_the_answer_reveals_no_user(relay, monkeypatch):
    clock = SimpleNamespace(now=6000)
    monkeypatch.setattr(bank, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(bank, "REMEMBERED", 100)
    monkeypatch.setattr(bank, "attempts", TTLCache(100, 60))
    monkeypatch.setattr(bank, "PER_ADDRESS", 4)
    monkeypatch.setattr(bank, "PER_USERNAME", 2)

    async def story():
        owner = browser("203.0.113.1")
        asked, _ = await sign_in(owner)
        assert (await finish(owner, asked))[1] == {"status": "succeeded"}
        bank.tries.clear()
        refused = []
        for name in ("ada", "nobody"):
            pages = [browser(f"198.51.100.{n}") for n in range(3)]
            answers = [await page.post("/sign-in", json={"username": name}) for page in pages]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            refused.append((answers[-1].text, answers[-1].headers["retry-after"]))
        assert refused[0] == refused[1] and refused[0][1] == "60"
        assert (await sign_in(owner))[1] == 200, "strangers cost her nothing"
        crowd = [await sign_in(browser(f"2001:db8::{n}"), f"user-{n}") for n in range(5)]
        assert [status for _, status in crowd] == [200] * 4 + [429]
        assert (await sign_in(browser("2001:db8:0:1::1"), "user-9"))[1] == 200
        clock.now += 60
        assert (await sign_in(browser("198.51.100.9")))[1] == 200

    asyncio.run(story())
