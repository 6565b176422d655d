"""Where the stream begins to read, and what it does with what is no prediction; the rest needs a real broker and is in
tests/integration.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from prometheus_client import CollectorRegistry
from tests.env.kafka import MockKafka
from tests.env.notifier import Predictions
from tests.env.outboxes import made

from rollcast_cli.local.processes import wait_until
from rollcast_common.contracts import Prediction
from rollcast_common.errors import KafkaUnavailable, TopicMissing
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams, TopicNames
from rollcast_notifier.metrics import NotifierMetrics
from rollcast_notifier.notification import Notification
from rollcast_notifier.outbox import Outbox
from rollcast_notifier.stream import Stream, where_to_begin

_SECONDS = 60.0


@pytest.mark.parametrize(
    ("recorded", "committed", "first", "end", "begins", "surprise"),
    [
        pytest.param(7, 7, 0, 10, 7, None, id="both say the same"),
        pytest.param(7, 5, 0, 10, 7, None, id="a death before the commit"),
        pytest.param(7, -1001, 0, 10, 7, None, id="nothing was ever committed"),
        pytest.param(10, 10, 0, 10, 10, None, id="all is read"),
        pytest.param(7, 9, 0, 10, 7, "the group has committed more", id="committed ahead of the record"),
        pytest.param(7, 7, 8, 10, 8, "deleted before they were read", id="retention was faster"),
        pytest.param(70, 70, 0, 10, 0, "it was created anew", id="another topic, and the group knows nothing of it"),
        pytest.param(70, 5, 0, 10, 5, "it was created anew", id="another topic, and the group has been there"),
        pytest.param(70, 1, 4, 10, 4, "it was created anew", id="another topic, shortened already"),
    ],
)
def test_it_begins_where_the_outbox_says_unless_the_topic_is_another(
    recorded: int, committed: int, first: int, end: int, begins: int, surprise: str | None
) -> None:
    offset, said = where_to_begin(recorded, committed=committed, first=first, end=end)
    assert offset == begins
    assert (surprise is None and said is None) or (surprise or "none") in (said or "")


class Reading:
    """A stream in a thread, on the embedded broker; each prediction is one notification."""

    def __init__(self, params: KafkaParams, names: TopicNames, path: Path) -> None:
        self.registry = CollectorRegistry()
        self.outbox = Outbox(path)
        self.seen: list[str] = []
        self.woken = threading.Event()
        self._stopping = threading.Event()
        self.failure: BaseException | None = None
        self.stream = Stream(
            params.model_copy(update={"topics": names}),
            self.outbox,
            NotifierMetrics(self.registry),
            group=f"{names.prefix}notifier",
            batch_rows=100,
            select=self._select,
            on_recorded=self.woken.set,
            stopping=self._stopping,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.stream.run()
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.failure = error

    def _select(self, predictions: Sequence[Prediction], created: Sequence[int]) -> list[Notification]:
        assert len(created) == len(predictions)
        assert all(time_ms > 1_600_000_000_000 for time_ms in created)
        self.seen += [prediction.request_id for prediction in predictions]
        return [made(int(prediction.request_id.removeprefix("r-"))) for prediction in predictions]

    def wait_recorded(self, count: int) -> None:
        self.wait(lambda: sum(self.outbox.counts().values()) >= count, f"{count} are recorded")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            assert self.failure is None
            return condition()

        wait_until(holds, what=what, timeout_seconds=_SECONDS)

    def counted(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"rollcast_notifier_{name}_total")

    def end(self) -> None:
        self._stopping.set()
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive()
        self.outbox.close()


@pytest.fixture
def names(embedded_kafka: MockKafka, topic_prefix: str) -> TopicNames:
    return embedded_kafka.create_topics(topic_prefix)


@pytest.fixture
def reading(embedded_kafka: MockKafka, names: TopicNames, tmp_path: Path) -> Iterator[Reading]:
    reading = Reading(embedded_kafka.params, names, tmp_path / "outbox.db")
    yield reading
    reading.end()


def test_what_is_no_prediction_is_passed_over_and_counted(
    embedded_kafka: MockKafka, names: TopicNames, reading: Reading
) -> None:
    predictions = Predictions(embedded_kafka.params, names)
    predictions.send_raw(b"{}")
    predictions.send(3)
    predictions.send_raw(None)
    predictions.send_raw(b'{"schema": "99.0"}')
    predictions.send(2)
    predictions.flush()
    reading.wait_recorded(5)
    assert sorted(reading.seen) == [f"r-{number}" for number in range(5)]
    reading.wait(lambda: sum(reading.outbox.places(names.full("app_messages")).values()) == 8, "all are passed")
    # Both come after what is recorded.
    reading.wait(reading.woken.is_set, "whoever sends is woken")
    reading.wait(lambda: reading.counted("predictions") == 5, "predictions are counted")
    assert reading.counted("skipped_records") == 3


class Places:
    """A consumer of which only its places are asked: by partition, where it stands and where that ends."""

    def __init__(self, known: dict[int, tuple[int, int]]) -> None:
        self.known = known

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, self.known[place.partition][0]) for place in places]

    def get_watermark_offsets(self, place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, self.known[place.partition][1]


@pytest.mark.parametrize(
    ("known", "lag"),
    [
        pytest.param({0: (10, 10), 1: (3, 3)}, 0, id="all is read"),
        pytest.param({0: (7, 10), 1: (2, 3)}, 4, id="something is not"),
        pytest.param({0: (10, 10), 1: (-1001, 0)}, 0, id="one is empty"),
        pytest.param({}, 99, id="nothing is owned: what was known stays"),
        pytest.param({0: (10, 10), 1: (-1001, -1001)}, 99, id="one is not known yet: what was known stays"),
    ],
)
def test_no_lag_is_only_told_of_what_is_known(tmp_path: Path, known: dict[int, tuple[int, int]], lag: float) -> None:
    registry = CollectorRegistry()
    metrics = NotifierMetrics(registry)
    metrics.lag.set(99)
    outbox = Outbox(tmp_path / "outbox.db")
    params = KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:1"))
    stream = Stream(
        params,
        outbox,
        metrics,
        group="notifier",
        batch_rows=1,
        select=lambda _, __: [],
        on_recorded=lambda: None,
        stopping=threading.Event(),
    )
    stream._owned.update(known)
    stream._report_lag(cast("Consumer", Places(known)))
    outbox.close()
    assert registry.get_sample_value("rollcast_notifier_lag_records") == lag


def test_a_full_disk_pauses_the_reading_and_what_was_read_is_recorded_when_there_is_room(
    embedded_kafka: MockKafka, names: TopicNames, reading: Reading
) -> None:
    predictions = Predictions(embedded_kafka.params, names)
    predictions.send(1)
    predictions.flush()
    reading.wait_recorded(1)
    with reading.outbox._lock:
        # The most pages that the file may have stand for the disk: SQLite says the same.
        pages = reading.outbox._db.execute("PRAGMA page_count").fetchone()[0]
        reading.outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    predictions.send(2000)
    predictions.flush()
    full = "the disk is full; make room, nothing is lost"
    reading.wait(lambda: full in (reading.stream.problem or ""), "the full disk is told")
    with reading.outbox._lock:
        reading.outbox._db.execute("PRAGMA max_page_count = 1000000")
    reading.wait_recorded(2001)
    reading.wait(lambda: reading.stream.problem is None, "all is well")


def test_an_outage_is_no_problem_any_more_when_it_is_over_and_nothing_new_comes(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    step, say = Stream._step, Stream._say

    def stumbling(self: Stream, consumer: Consumer, watch: ErrorWatch) -> None:
        if self.partitions and not said:
            watch.last = KafkaError(KafkaError._TRANSPORT)
            raise KafkaUnavailable("the broker is away")
        step(self, consumer, watch)

    def saying(self: Stream, what: str, problem: Exception) -> None:
        say(self, what, problem)
        said.append(what)

    monkeypatch.setattr(Stream, "_say", saying)
    monkeypatch.setattr(Stream, "_step", stumbling)
    reading.wait(lambda: said, "the outage is told")
    reading.wait(lambda: reading.stream.partitions > 0, "it reads again")
    assert reading.stream.problem is None


def test_a_topic_that_is_not_there_ends_the_stream(embedded_kafka: MockKafka, tmp_path: Path) -> None:
    """It is checked at the start; this one is deleted meanwhile."""
    reading = Reading(embedded_kafka.params, TopicNames(prefix="nobody-made-them."), tmp_path / "outbox.db")
    try:
        wait_until(lambda: reading.failure, what="the stream ends", timeout_seconds=_SECONDS)
    finally:
        reading.end()
    assert isinstance(reading.failure, TopicMissing)
