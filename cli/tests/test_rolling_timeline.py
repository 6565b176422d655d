"""A rollout's timeline: what share of the outputs was really the candidate's between two events."""

from typing import Any

import pytest

from rollcast_cli.rolling.timeline import last_made_ms, moments

VERSIONS = {"wine-1": "v1", "wine-2": "v2"}


def event(second: int, name: str | None, reason: str) -> dict[str, Any]:
    return {"time": f"1970-01-01T00:00:{second:02}+00:00", "name": name, "reason": reason, "message": reason.lower()}


@pytest.mark.parametrize(
    ("events", "made", "shares"),
    [
        ([], {(1, "v1"): 5}, []),
        ([event(0, "wine-1", "Live")], {}, [None]),
        ([event(0, "wine-1", "Live")], {(10, "v1"): 5}, [1.0]),
        ([event(1, "wine-1", "Live")], {(999, "v1"): 5}, [None]),
        (
            [event(0, "wine-1", "Live"), event(1, "wine-2", "Canary")],
            {(0, "v1"): 4, (1000, "v2"): 1, (1001, "v1"): 3},
            [1.0, 0.25],
        ),
        ([event(0, "wine-2", "Shadow")], {(0, "v1"): 4}, [0.0]),
        ([event(0, None, "Canary"), event(0, "gone", "Canary")], {(0, "v1"): 4}, [None, 0.0]),
        # What is made in the last millisecond of the whole is outside.
        ([event(0, "wine-1", "Live")], {(30_000, "v1"): 5}, [None]),
    ],
)
def test_shares_are_of_what_was_made_until_the_next_moment(
    events: list[dict[str, Any]], made: dict[tuple[int, str], int], shares: list[float | None]
) -> None:
    found = moments(events, VERSIONS, made, 30_000)
    assert [moment.share for moment in found] == shares
    assert [moment.time_ms for moment in found] == [float(each["time"][17:19]) * 1000 for each in events]
    assert [moment.version for moment in found] == [VERSIONS.get(each["name"] or "", "?") for each in events]


def test_the_last_output_of_a_version() -> None:
    made = {(5, "v1"): 1, (9, "v2"): 1, (7, "v1"): 3}
    assert (last_made_ms(made, "v1"), last_made_ms(made, "v2"), last_made_ms(made, "v3")) == (7, 9, None)
