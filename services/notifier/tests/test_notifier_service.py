"""What channels tell the service: receipts count, and a person's message is answered once, whatever dies in between."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.env.outboxes import ANN, made

from rollcast_notifier.notification import Inbound
from rollcast_notifier.outbox import Outbox, Outcome
from rollcast_notifier.service import Post


class Echo:
    """Answers with what was said; fails as often as it is told to."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.failures = 0

    def handle(self, inbound: Inbound) -> str:
        self.handled.append(inbound.id)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        return f"you said {inbound.text}" if inbound.text else ""


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def post(outbox: Outbox, echo: Echo, woken: list[bool]) -> Post:
    wake: Callable[[], None] = lambda: woken.append(True)  # noqa: E731  # a name for its type
    return Post(outbox, echo, wake)


def said(id_: str, text: str = "hello") -> Inbound:
    return Inbound(id_, ANN, text, 1_000_000)


def texts(outbox: Outbox) -> list[str]:
    return [queued.notification.text for queued in outbox.due("hook", 100)]


def test_a_message_is_answered_once_however_often_it_comes(
    outbox: Outbox, echo: Echo, post: Post, woken: list[bool]
) -> None:
    for _ in range(3):
        post.message(said("m-1"))
    assert texts(outbox) == ["you said hello"]
    assert echo.handled == ["m-1"]
    assert woken == [True]


def test_the_same_words_again_are_another_message(outbox: Outbox, post: Post) -> None:
    post.message(said("m-1"))
    post.message(said("m-2"))
    assert texts(outbox) == ["you said hello", "you said hello"]


def test_a_message_that_failed_is_answered_when_it_comes_again(outbox: Outbox, echo: Echo, post: Post) -> None:
    echo.failures = 1
    with pytest.raises(OSError, match="away"):
        post.message(said("m-1"))
    assert texts(outbox) == []
    post.message(said("m-1"))
    assert texts(outbox) == ["you said hello"]


def test_silence_is_an_answer_too(outbox: Outbox, echo: Echo, post: Post) -> None:
    post.message(said("m-1", ""))
    post.message(said("m-1", ""))
    assert texts(outbox) == []
    assert echo.handled == ["m-1"]


def test_an_answer_is_about_no_prediction(outbox: Outbox, post: Post) -> None:
    post.message(said("m-1"))
    (queued,) = outbox.due("hook", 10)
    outbox.settle(Outcome(queued, "sent"))
    assert outbox.last_sent_to(ANN) is None
    (receipt, _) = (transition.receipt for transition in outbox.transitions(10))
    assert (receipt.prediction_id, receipt.subscription) == ("", "conversation")


def test_what_a_channel_tells_of_a_message_counts(outbox: Outbox, post: Post) -> None:
    outbox.record([made(1)])
    (queued,) = outbox.due("hook", 10)
    outbox.settle(Outcome(queued, "sent", external_id="x-1"))
    post.receipt("hook", "x-1", "read")
    assert outbox.counts() == {("hook", "read"): 1}
