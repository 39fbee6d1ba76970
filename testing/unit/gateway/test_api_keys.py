"""Keys are shown once, kept as digests, and limited a minute at a time."""

from __future__ import annotations

import pytest

from pipecatapp.errors import ConfigError, GatewayError
from pipecatapp.gateway.api_keys import PREFIX, create_key, digest_of
from pipecatapp.gateway.rate_limits import RateLimiter
from pipecatapp.ports import ApiKey
from testing.conformance.keys_suite import KeysSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_keys import FakeKeys

pytestmark = pytest.mark.unit


class TestFakeKeys(KeysSuite):
    @pytest.fixture
    def keys(self) -> FakeKeys:
        return FakeKeys()


async def made(
    store: FakeKeys, name: str = "editor", requests: int = 2, tokens: int = 100
) -> tuple[str, ApiKey]:
    return await create_key(store, FakeClock(), name, requests_per_minute=requests, tokens_per_minute=tokens)


async def test_a_key_is_kept_as_a_digest_only() -> None:
    store = FakeKeys()
    secret, key = await made(store)
    assert secret.startswith(PREFIX) and len(secret) > 40
    assert store.known()[digest_of(secret)] == key
    assert secret not in repr(store.known())


async def test_two_keys_are_unlike() -> None:
    store = FakeKeys()
    assert (await made(store, "one"))[0] != (await made(store, "two"))[0]


@pytest.mark.parametrize("name", ["", " x", "a\nb", "x" * 65, "../etc"])
async def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="valid: up to 64 letters"):
        await made(FakeKeys(), name)


async def test_a_name_is_given_once() -> None:
    store = FakeKeys()
    await made(store)
    with pytest.raises(ConfigError, match="revoke it, or take another"):
        await made(store)


async def test_a_limit_is_not_negative() -> None:
    with pytest.raises(ConfigError, match="0 for none"):
        await made(FakeKeys(), requests=-1)


async def test_requests_beyond_the_limit_wait_for_the_minute() -> None:
    clock = FakeClock()
    limits, (_, key) = RateLimiter(clock), await made(FakeKeys(), requests=2)
    limits.acquire_request(key)
    limits.acquire_request(key)
    with pytest.raises(GatewayError) as caught:
        limits.acquire_request(key)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.retry_after_s == pytest.approx(30)
    clock.advance(30)
    limits.acquire_request(key)


async def test_tokens_that_were_overdrawn_are_paid_back_first() -> None:
    clock = FakeClock()
    limits, (_, key) = RateLimiter(clock), await made(FakeKeys(), requests=0, tokens=60)
    limits.acquire_request(key)
    limits.charge_tokens(key, 90)
    with pytest.raises(GatewayError, match="60 tokens a minute"):
        limits.acquire_request(key)
    clock.advance(31)
    limits.acquire_request(key)


async def test_each_key_has_a_limit_of_its_own() -> None:
    store = FakeKeys()
    limits, (_, one), (_, two) = (
        RateLimiter(FakeClock()),
        await made(store, "one", 1),
        await made(store, "two", 1),
    )
    limits.acquire_request(one)
    limits.acquire_request(two)
    with pytest.raises(GatewayError):
        limits.acquire_request(one)


async def test_what_is_left_is_told_by_openais_names() -> None:
    limits, (_, key) = RateLimiter(FakeClock()), await made(FakeKeys(), requests=4, tokens=100)
    limits.acquire_request(key)
    limits.charge_tokens(key, 50)
    assert limits.headers(key) == {
        "x-ratelimit-limit-requests": "4",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "15.0s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "50",
        "x-ratelimit-reset-tokens": "30.0s",
    }


def test_a_program_on_this_machine_has_no_limit() -> None:
    limits = RateLimiter(FakeClock())
    for _ in range(1000):
        limits.acquire_request(None)
    limits.charge_tokens(None, 10**9)
    assert limits.headers(None) == {}
