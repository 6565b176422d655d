"""What a page is sent: bounded however much came, of its own view only, and never what somebody else was told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.env.console import Parts, parts_of
from tests.env.kafka import params_for
from tests.env.notifications import a_notification

from rollcast_common.contracts import Prediction
from rollcast_notifier.console.frames import Frames, View, view_of
from rollcast_notifier.console.predictions import Filter

_MOST_BYTES = 100_000


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_of(params_for("127.0.0.1:1"), tmp_path)
    yield parts
    parts.mailbox.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1_700_000_000.0]

    def forward(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("rollcast_notifier.console.frames.time.time", lambda: now[0])
    return forward


def frames_of(parts: Parts, view: View = "live", wanted: Filter | None = None, user: str = "ann") -> Frames:
    return Frames(parts.live, parts.mailbox, user, view=view, wanted=wanted or Filter(), model="")


def come(parts: Parts, count: int, size: int = 10) -> None:
    """So many predictions, each with features of that size."""
    features = msgspec.Raw(msgspec.json.encode("x" * size))
    one = Prediction(
        prediction_id="test/default/m:r",
        request_id="r" * 500,
        key="k" * 500,
        prediction=msgspec.Raw(b"1.5"),
        model="m",
        version="v1",
        sha256="",
        generation=1,
        request_time=0,
        prediction_time=10,
        features=features,
    )
    parts.live.predictions.add([(one, size)] * count, now=1_700_000_000.0)


def test_a_frame_is_bounded_however_much_came_meanwhile(parts: Parts) -> None:
    frames = frames_of(parts)
    frames.next()
    for count in (1, 50, 5_000, 50_000):  # the last is what a page gets that was away for ten seconds
        come(parts, count, size=5_000)
        frame = frames.next()
        assert frame["predictions"]["counted"] == count
        assert len(frame["predictions"]["rows"]) <= 40
        assert len(msgspec.json.encode(frame)) < _MOST_BYTES


def test_a_steady_flood_gets_a_few_rows_a_frame(parts: Parts) -> None:
    frames = frames_of(parts)
    rows = []
    for _ in range(20):
        come(parts, 1250)
        rows.append(len(frames.next()["predictions"]["rows"]))
    assert rows[0] == 40
    assert set(rows[5:]) == {12}


def test_a_trickle_is_shown_whole(parts: Parts) -> None:
    frames = frames_of(parts)
    frames.next()
    for count in (3, 30, 2):
        come(parts, count)
        assert len(frames.next()["predictions"]["rows"]) == count
        for _ in range(3):
            frames.next()  # quiet moments, in which it may catch its breath


def test_what_matches_is_counted_since_the_page_was_opened(parts: Parts) -> None:
    come(parts, 100)
    frames = frames_of(parts, wanted=Filter(track="stable"))
    assert frames.next()["predictions"]["matched"] == 0
    come(parts, 70)
    assert frames.next()["predictions"]["matched"] == 70


def test_without_news_there_is_nothing_to_send(parts: Parts, clock: Callable[[float], None]) -> None:
    frames = frames_of(parts)
    assert {"history", "pulse", "mail", "problem"} <= set(frames.next())
    assert frames.next() == {}
    clock(1.0)
    assert set(frames.next()) == {"pulse"}


@pytest.mark.parametrize("view", ["ask", "models", "accuracy", "dead-letters"])
def test_a_page_gets_what_it_shows_and_no_more(parts: Parts, view: View) -> None:
    come(parts, 100)
    frame = frames_of(parts, view).next()
    board = {"models": "models", "accuracy": "accuracy", "dead-letters": "letters"}.get(view)
    assert set(frame) == {"mail", "problem", *filter(None, [board])}


def test_mail_comes_to_every_view_of_its_own_person(parts: Parts) -> None:
    ann, bob = frames_of(parts, "models"), frames_of(parts, "models", user="bob")
    ann.next()
    bob.next()
    notification = a_notification("console:ann")
    parts.mailbox.deliver(notification)
    mail = ann.next()["mail"]
    assert [message["id"] for message in mail["messages"]] == [notification.id]
    assert mail["unread"] == 1
    assert "mail" not in bob.next()
    parts.mailbox.mark("ann", [notification.id], "read")
    assert ann.next()["mail"]["unread"] == 0


def test_an_unknown_view_is_the_live_one() -> None:
    assert view_of("dead-letters") == "dead-letters"
    assert view_of("nonsense") == view_of("") == "live"
