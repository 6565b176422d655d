"""How often at most: token buckets. Time is passed in, so the same predictions meet the same limits again."""

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Buckets"]

_MOST_BUCKETS = 10_000
_MINUTE_MS = 60_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: int
    per_ms: float
    burst: int


class Buckets:
    """One bucket for each name. `burst` go through at once, after that `per_minute` a minute."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, *, per_minute: float, burst: int, now_ms: int) -> bool:
        """Whether one more may pass. A time before the last one does not fill the bucket, and does not empty it."""
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._forget(now_ms)
            bucket = self._buckets[name] = _Bucket(burst, now_ms, 0.0, burst)
        bucket.per_ms, bucket.burst = per_minute / _MINUTE_MS, burst
        bucket.tokens = min(burst, bucket.tokens + max(0, now_ms - bucket.at) * bucket.per_ms)
        bucket.at = max(bucket.at, now_ms)
        if bucket.tokens < 1 - 1e-9:  # a minute's share of 1/7 adds up to a hair less than 1
            return False
        bucket.tokens -= 1
        return True

    def _forget(self, now_ms: int) -> None:
        """Those that are full again are as good as new; where that frees nothing, the ones that waited longest."""
        self._buckets = {
            name: bucket
            for name, bucket in self._buckets.items()
            if bucket.tokens + (now_ms - bucket.at) * bucket.per_ms < bucket.burst
        }
        if len(self._buckets) >= _MOST_BUCKETS:
            latest = sorted(self._buckets.items(), key=lambda item: item[1].at)[_MOST_BUCKETS // 2 :]
            self._buckets = dict(latest)
