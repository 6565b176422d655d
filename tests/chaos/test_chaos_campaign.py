"""A small campaign: every kind of fault that one broker allows for in a minute, once, under traffic."""

from pathlib import Path

from tests.chaos.campaign import Campaign, play
from tests.chaos.checker import Limits
from tests.chaos.report import report

_FAULTS = (
    "kill-streamer",
    "kill-while-committing",
    "kill-host",
    "stop-streamer-2s",
    "restart-slot",
    "stop-broker-2s",
    "announce-without-s3",
    "swap",
    "overwritten-model",
    "broken-model",
    "wrong-digest",
    "truncated-in-s3",
    "bit-flipped-in-s3",
    "deadly-request",
    "slow-request",
    "bad-records",
    "kill-notifier",
    "kill-notifier-after-send",
    "channel-down",
    "channel-silent",
)
# Nobody knows what else runs on the machine of a test; how soon all is well again, `make chaos` measures.
_LIMITS = Limits(unready_seconds=90.0, unowned_seconds=90.0, catch_up_seconds=120.0)


def test_promises_are_kept_through_faults(tmp_path: Path) -> None:
    campaign = Campaign(
        seed=7,
        requests=1500,
        per_second=50,
        rounds=1,
        slots=2,
        faults=_FAULTS,
        most_pause_seconds=1.5,
        limits=_LIMITS,
        batch_deadline_seconds=3.0,
    )
    played = play(campaign, tmp_path)
    verdict = played.verdict
    assert verdict.kept, "\n".join(report(verdict, played.events, seed=campaign.seed, seconds=played.seconds))
    assert verdict.requests >= campaign.requests
    assert played.restarts == {}
    assert verdict.told > 0
