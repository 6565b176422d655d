"""What people read: columns, ages, descriptions, histories. Pure, so a table each."""

import json
from typing import Any

import pytest
import yaml

from rollcast_cli.rolling.history import history_of, history_rows
from rollcast_cli.rolling.printing import (
    as_json,
    as_yaml,
    columns,
    described,
    event_rows,
    human_age,
    row,
)
from rollcast_cli.rolling.resources import Resource, Said

NOW = 1_660_910_400.0  # 2022-08-19T12:00:00Z
DIGEST = "ab" * 32


def resource(number: int = 2, phase: str = "Canary", **status: Any) -> Resource:
    return {
        "apiVersion": "rollcast.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {
            "name": f"wine-{number}",
            "namespace": "default",
            "uid": f"uid-{number}",
            "creationTimestamp": "2022-08-19T11:58:00.5Z",
        },
        "spec": {"model": "wine", "version": f"v{number}", "artifact": {"uri": f"s3://wines/{number}.skops"}},
        "status": {
            "sequence": number,
            "phase": phase,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "Canary",
                    "message": "step 1 is observed for 30 s",
                    "lastTransitionTime": "2022-08-19T11:59:00Z",
                }
            ],
            **status,
        },
    }


ROLLING: dict[str, Any] = {
    "rollout": {"step": "Canary 1/3", "weight": 5, "since": "2022-08-19T11:59:30Z", "samples": 12},
    "predictor": {"readySlots": 1, "slots": 2},
}
FAILED: dict[str, Any] = {
    "lastFailure": {"reason": "CandidateErrors", "message": "3 %", "time": "2022-08-19T11:00:00Z", "version": "v2"}
}


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-3, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_460, "3h11m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (252_288_000, "8y"),
    ],
)
def test_an_age_is_kubectls(seconds: float, age: str) -> None:
    assert human_age(seconds) == age


def test_a_row_of_what_nobody_has_looked_at() -> None:
    new = {**resource(), "status": {}}
    assert row(new, NOW) == ("wine-2", "wine", "v2", "", "", "", "", "119s")
    assert row(new, NOW, wide=True)[8:] == ("", "<none>", "<none>", "<none>", "s3://wines/2.skops")


def test_a_row_of_what_is_rolling() -> None:
    rolling = resource(**ROLLING)
    assert row(rolling, NOW) == ("wine-2", "wine", "v2", "Canary", "5", "False", "Canary", "119s")
    wide = row(rolling, NOW, wide=True, digest=DIGEST)
    assert wide[8:] == ("2", "abababababab", "1/2", "12", "s3://wines/2.skops")


def test_columns_line_up() -> None:
    assert columns([("NAME", "AGE"), ("wine-price", "")]) == ["NAME         AGE", "wine-price"]
    assert columns([("a", "b")], [3, 1]) == ["a     b"]


def test_a_list_is_a_list_and_one_is_one() -> None:
    assert json.loads(as_json([resource()], is_list=False)) == resource()
    assert yaml.safe_load(as_yaml([resource()], is_list=True))["items"][0]["spec"] == resource()["spec"]
    assert yaml.safe_load(as_yaml([], is_list=True))["kind"] == "List"


def test_a_description_tells_all() -> None:
    said = [Said(NOW - 5, "Normal", "Canary", "wine-2", "v2 answers 5 % of the keys")]
    text = described(resource(**ROLLING, **FAILED), said, NOW, digest=DIGEST)
    facts = dict(line.split(":", 1) for line in text.splitlines() if not line.startswith(" "))
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["Rollout"] == "shadow 30 s, 5 % for 30 s and 500 predictions, 25 % for 30 s, 50 % for 60 s, all"
    assert facts["Aborts"].startswith("error ratio above 0.01, cost ratio above 2, prediction drift above 0.25")
    assert facts["Serving"] == "requests -> app_messages, slots: 1"
    assert facts["Step"] == "Canary 1/3, 5 % of the keys for 30s, 12 predictions"
    assert facts["Slots"] == "1 of 2 ready"
    assert facts["Sha256"] == DIGEST
    assert facts["Last failure"] == "CandidateErrors: 3 % (version v2, 2022-08-19T11:00:00Z, 60m ago)"
    assert facts["Created"] == "2022-08-19T11:58:00Z, 119s ago"
    assert "  Ready   False    Canary   60s     step 1 is observed for 30 s" in text
    assert "  5s    Normal   Canary   v2 answers 5 % of the keys" in text


def test_a_description_of_what_nobody_has_looked_at() -> None:
    new = {**resource(), "status": {}}
    new["spec"] = {
        **new["spec"],
        "serving": {"autoscaling": {"max": 4}, "image": "mine:1"},
        "rollout": {
            "paused": True,
            "shadow": {"forSeconds": 0},
            "steps": [],
            "abort": dict.fromkeys(
                ("errorRatioAbove", "costRatioAbove", "predictionDriftAbove", "liveErrorRatioAbove")
            ),
        },
    }
    new["metadata"] = {**new["metadata"], "deletionTimestamp": "2022-08-19T12:00:00Z", "labels": {"a": "b", "c": "d"}}
    text = described(new, [], NOW)
    for part in (
        "nobody has looked at it yet",
        "not pinned yet",
        "slots: 1 to 4, image mine:1",
        "all (spec.rollout.paused)",
        "never",
        "a=b, c=d",
        "2022-08-19T12:00:00Z, 0s ago",
        "Conditions:  <none>",
        "Events:  <none>",
    ):
        assert part in text, part


def test_events_are_lines() -> None:
    assert event_rows([Said(NOW - 61, "Warning", "ActionRefused", "wine-2", "no")], NOW) == [
        ("61s", "Warning", "ActionRefused", "modelversion/wine-2", "no")
    ]


def said(second: int, number: int, reason: str, message: str = "", *, model: str = "wine") -> Said:
    return Said(
        time=NOW + second,
        type="Normal",
        reason=reason,
        name=f"wine-{number}",
        message=message or reason,
        model=model,
        version=f"v{number}",
        uid=f"uid-{number}",
    )


@pytest.mark.parametrize(
    ("events", "live"),
    [
        ([], {}),
        ([said(0, 1, "Live")], {1: 100}),
        ([said(0, 1, "Live"), said(40, 2, "Canary"), said(60, 2, "Live")], {1: 60, 2: 40}),
        (
            [said(0, 1, "Live"), said(10, 2, "Live"), said(30, 2, "RolledBackByHand"), said(30, 1, "Live")],
            {1: 80, 2: 20},
        ),
        ([said(0, 1, "Live"), said(10, 1, "Live")], {1: 100}),
        ([said(0, 1, "Live"), said(10, 1, "Deleted"), said(30, 2, "Live")], {1: 30, 2: 70}),
        ([said(0, 1, "Live"), said(10, 1, "Deleted"), said(30, 2, "ModelEnded")], {1: 30}),
        ([said(0, 1, "Live"), said(50, 3, "Live", model="beer")], {1: 100}),
    ],
)
def test_how_long_each_was_live(events: list[Said], live: dict[int, int]) -> None:
    pasts = history_of("wine", [resource(1, "Live"), resource(2, "Canary")], events)
    seconds = {
        past.name: sum((NOW + 100 if end is None else end) - begin for begin, end in past.live)
        for past in pasts
        if past.live
    }
    assert seconds == {f"wine-{number}": length for number, length in live.items()}


def test_a_history_knows_the_deleted_and_the_failed() -> None:
    there = [resource(2, "RolledBack", **FAILED), resource(3, "Live")]
    events = [said(0, 1, "Live"), said(5, 1, "Deleted", "v1 is deleted"), said(6, 3, "Live")]
    rows = history_rows(history_of("wine", there, events), NOW + 66)
    assert rows == [
        ("", "wine-1", "v1", "Deleted", "2022-08-19T12:00:00Z", "6s", "v1 is deleted"),
        ("2", "wine-2", "v2", "RolledBack", "-", "-", "CandidateErrors: 3 %"),
        ("3", "wine-3", "v3", "Live", "2022-08-19T12:00:06Z", "60s", "step 1 is observed for 30 s"),
    ]
    assert history_of("beer", there, events) == []
