"""A client that was left without any broker to ask says so to nobody but its statistics."""

import json
import threading
from typing import TYPE_CHECKING, cast

import pytest

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.kafka import LifeWatch, close_consumer

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_BOOTSTRAP = {"127.0.0.1:9092/bootstrap": {"source": "configured"}}
_LEARNED = {"127.0.0.1:9092/1": {"source": "learned"}}
_COORDINATOR = {"GroupCoordinator": {"source": "logical"}}


def statistics(brokers: dict[str, dict[str, str]], name: str = "rdkafka#consumer-1") -> str:
    return json.dumps({"name": name, "brokers": brokers})


def watch_after(seen: list[dict[str, dict[str, str]]]) -> LifeWatch:
    watch = LifeWatch("127.0.0.1:9092")
    for brokers in seen:
        watch.take_statistics(statistics(brokers))
    return watch


@pytest.mark.parametrize(
    "seen",
    [
        [],
        [_BOOTSTRAP, _BOOTSTRAP],
        [_LEARNED | _COORDINATOR, _LEARNED],
        pytest.param([{}], id="it may be about to look again"),
        pytest.param([{}, _BOOTSTRAP, {}], id="it did"),
    ],
)
def test_a_client_that_knows_a_broker_goes_on(seen: list[dict[str, dict[str, str]]]) -> None:
    watch = watch_after(seen)
    assert not watch.is_cut_off
    watch.check("reading")


@pytest.mark.parametrize("seen", [[_LEARNED, {}, {}], [_COORDINATOR, _COORDINATOR]], ids=["nobody", "a logical one"])
def test_a_client_that_knows_none_twice_in_a_row_must_begin_anew(seen: list[dict[str, dict[str, str]]]) -> None:
    watch = watch_after(seen)
    assert watch.is_cut_off
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:9092: reading: .*begin anew"):
        watch.check("reading")


def test_clients_that_share_a_watch_are_told_apart() -> None:
    watch = watch_after([])
    for _ in range(2):
        watch.take_statistics(statistics({}, "producer"))
        watch.take_statistics(statistics(_LEARNED, "consumer"))
    assert watch.is_cut_off


class _Consumer:
    def __init__(self, answer: threading.Event, error: Exception | None = None) -> None:
        self._answer = answer
        self._error = error

    def close(self) -> None:
        self._answer.wait()
        if self._error is not None:
            raise self._error


def test_a_consumer_that_never_closes_is_left_behind() -> None:
    answer = threading.Event()
    close_consumer(cast("Consumer", _Consumer(answer)), timeout_seconds=0.01)
    answer.set()


def test_what_closing_raises_is_raised() -> None:
    answer = threading.Event()
    answer.set()
    with pytest.raises(RuntimeError, match="already closed"):
        close_consumer(cast("Consumer", _Consumer(answer, RuntimeError("already closed"))))
