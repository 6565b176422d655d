"""Token buckets: how often at most."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rollcast_notifier.notification import Receiver
from rollcast_notifier.rules.allowing import is_allowed
from rollcast_notifier.rules.rate_limits import Buckets


def test_a_burst_passes_and_then_so_many_a_minute() -> None:
    buckets = Buckets()
    passed = [
        buckets.take("ann", per_minute=6, burst=3, now_ms=now) for now in (0, 0, 0, 0, 9_999, 10_000, 10_001, 20_000)
    ]
    assert passed == [True, True, True, False, False, True, False, True]


def test_names_do_not_share() -> None:
    buckets = Buckets()
    assert [buckets.take(name, per_minute=1, burst=1, now_ms=0) for name in ("ann", "bob", "ann")] == [
        True,
        True,
        False,
    ]


def test_time_that_goes_back_neither_fills_nor_blocks() -> None:
    buckets = Buckets()
    taken = [buckets.take("ann", per_minute=60, burst=1, now_ms=now) for now in (10_000, 5_000, 10_500, 11_000)]
    assert taken == [True, False, False, True]


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 600_000), max_size=200),
    st.integers(1, 120),
    st.integers(1, 20),
)
def test_never_more_than_burst_and_rate_allow(times: list[int], per_minute: int, burst: int) -> None:
    buckets = Buckets()
    passed = [now for now in sorted(times) if buckets.take("ann", per_minute=per_minute, burst=burst, now_ms=now)]
    for index, first in enumerate(passed):
        for later, last in enumerate(passed[index:], start=index):
            assert later - index + 1 <= burst + (last - first) * per_minute / 60_000 + 1e-6


def test_many_names_do_not_fill_the_memory_and_the_busy_ones_are_kept() -> None:
    buckets = Buckets()
    assert buckets.take("busy", per_minute=1, burst=1, now_ms=999_999_999)
    for number in range(30_000):
        buckets.take(number, per_minute=1, burst=1, now_ms=1_000_000_000 + number)
        assert not buckets.take("busy", per_minute=0.001, burst=1, now_ms=1_000_000_000 + number)
    assert len(buckets) <= 10_000


def test_who_is_allowed() -> None:
    patterns = ["mesibo:*@example.com", "console:ann", "mesibo:group:7?", "hook:[a]*"]
    allowed = [
        *("mesibo:ann@example.com", "console:ann", "mesibo:group:72", "hook:[a]bc"),
    ]
    refused = [
        *("mesibo:ann@example.org", "console:anna", "console:Ann", "mesibo:group:x@example.com", "hook:abc"),
        "mesibo:group:8",
    ]
    assert [text for text in [*allowed, *refused] if is_allowed(Receiver.parse(text), patterns)] == allowed
    assert not is_allowed(Receiver("console", "ann"), [])
