"""Rate limits of API keys, by token buckets.

It owns the counting, in this process: each worker of a house counts for itself. A limit is a bucket that
holds a minute's worth and fills evenly: a program may do all of it at once, and then as much as flows in.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipecatapp.errors import GatewayError
from pipecatapp.ports import ApiKey, Clock

MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    limit: int
    level: float
    filled_s: float

    def fill(self, now_s: float) -> None:
        self.level = min(self.limit, self.level + (now_s - self.filled_s) * self.limit / MINUTE_S)
        self.filled_s = now_s

    def wait_s(self, wanted: float) -> float:
        """Return after how long it holds `wanted` (seconds)."""
        return max(0.0, (wanted - self.level) * MINUTE_S / self.limit)


class RateLimiter:
    """What is left to each key.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def acquire_request(self, key: ApiKey | None) -> None:
        """Count a request that begins; None is a program on this machine, which has no limit.

        Raises:
            GatewayError: `rate_limit_exceeded`, with the time after which there is room.
        """
        if key is None:
            return
        requests = self._bucket(key, "requests")
        tokens = self._bucket(key, "tokens")
        # Nobody knows how long an answer will be: while any token is left, one may begin.
        if tokens is not None and tokens.level < 1:
            raise _exceeded(key, "tokens", tokens, tokens.wait_s(1))
        if requests is not None:
            if requests.level < 1:
                raise _exceeded(key, "requests", requests, requests.wait_s(1))
            requests.level -= 1

    def charge_tokens(self, key: ApiKey | None, count: int) -> None:
        """Count the tokens of an answer that is over; the bucket may owe some then."""
        if key is not None and (bucket := self._bucket(key, "tokens")) is not None:
            bucket.level -= count

    def headers(self, key: ApiKey | None) -> dict[str, str]:
        """Return what is left, by the names that OpenAI's clients read."""
        if key is None:
            return {}
        found = {}
        for kind in ("requests", "tokens"):
            if (bucket := self._bucket(key, kind)) is not None:
                found[f"x-ratelimit-limit-{kind}"] = str(bucket.limit)
                found[f"x-ratelimit-remaining-{kind}"] = str(max(0, int(bucket.level)))
                found[f"x-ratelimit-reset-{kind}"] = f"{bucket.wait_s(bucket.limit):.1f}s"
        return found

    def _bucket(self, key: ApiKey, kind: str) -> _Bucket | None:
        limit = key.requests_per_minute if kind == "requests" else key.tokens_per_minute
        if not limit:
            return None
        now_s = self._clock.monotonic_s()
        bucket = self._buckets.get((key.digest, kind))
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[key.digest, kind] = _Bucket(limit, limit, now_s)
        bucket.fill(now_s)
        return bucket


def _exceeded(key: ApiKey, kind: str, bucket: _Bucket, wait_s: float) -> GatewayError:
    return GatewayError(
        "rate_limit_exceeded",
        f"The key {key.name!r} may use {bucket.limit} {kind} a minute; try again in {wait_s:.1f} seconds.",
        status=429,
        retry_after_s=wait_s,
    )
