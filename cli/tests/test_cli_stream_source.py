"""The stream of requests: what is replayed, what is planted, and that its journal is the truth."""

import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.env.kafka import MockKafka

from rollcast_cli.local.processes import Child, NotInTime, start, wait_until
from rollcast_cli.stream_source import _Source, bad_values, main, read_rows, requests
from rollcast_common.contracts.headers import header
from rollcast_common.errors import DataError
from rollcast_common.kafka import ErrorWatch, KafkaBrokerParams, KafkaParams, TopicNames, make_consumer, topic_ends

SECONDS = 120.0
ROWS = [b'{"x": 0}', b'{"x": 1}', b'{"x": 2}']


# What is replayed.


def test_a_csv_is_read_as_strings(tmp_path: Path) -> None:
    path = tmp_path / "wines.csv"
    path.write_text('winery,year\n"Vega, Sicilia",2009\nÚnico,\n', encoding="utf-8")
    assert [json.loads(row) for row in read_rows(path)] == [
        {"winery": "Vega, Sicilia", "year": "2009"},
        {"winery": "Único", "year": ""},
    ]


def test_json_lines_are_taken_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b' {"x":  1.50}\n\n{"y": "\xc3\xa9"}')
    assert read_rows(path) == [b'{"x":  1.50}', b'{"y": "\xc3\xa9"}']


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("none.csv", None, "rows cannot be read: .*No such file"),
        ("latin.csv", "winery\nÚnico\n".encode("latin-1"), "rows cannot be read: .*utf-8"),
        ("header.csv", b"winery,year\n", "holds no rows"),
        ("empty.jsonl", b"", "holds no rows"),
        ("blank.jsonl", b"\n  \n", "holds no rows"),
    ],
)
def test_a_file_without_rows_is_named(tmp_path: Path, name: str, content: bytes | None, complaint: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {complaint}") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


# What is planted.


@settings(derandomize=True, database=None, deadline=None)
@given(st.integers(0, 7), st.integers(1, 60))
def test_every_nth_request_is_bad_on_purpose_and_the_others_are_the_rows_in_turn(bad_every: int, count: int) -> None:
    stream = list(itertools.islice(requests(ROWS, run="r", bad_every=bad_every), count))
    assert [request.request_id for request in stream] == [f"r-{number}" for number in range(count)]
    assert [request.key for request in stream] == [str(number % 3) for number in range(count)]
    planted = [number for number, request in enumerate(stream) if request.planted]
    assert planted == ([number for number in range(count) if number % bad_every == bad_every - 1] if bad_every else [])
    for number, request in enumerate(stream):
        assert request.value in (bad_values(ROWS[0]) if request.planted else [ROWS[number % 3]])


def test_each_kind_of_bad_record_comes_in_turn() -> None:
    planted = list(itertools.islice(requests(ROWS, run="r", bad_every=1), 10))
    assert [request.value for request in planted] == 2 * [b"{not json", b"[1, 2, 3]", b"{}", b'{"x": []}', None]


# What is sent.


class Topic:
    """What lies in topic requests of one test."""

    def __init__(self, kafka: MockKafka, names: TopicNames) -> None:
        self.params = kafka.params.model_copy(update={"topics": names})
        self.name = names.full("requests")

    def consumer(self, group: str) -> Consumer:
        watch = ErrorWatch(self.params.broker.servers)
        return make_consumer(
            self.params, watch, client_id="test", group_id=group, settings={"enable.partition.eof": True}
        )

    def count(self, consumer: Consumer) -> int:
        return sum(end.offset for end in topic_ends(consumer, self.name, self.params.broker.servers))

    def read(self) -> list[Message]:
        consumer = self.consumer("reader")
        try:
            ends = topic_ends(consumer, self.name, self.params.broker.servers)
            consumer.assign([TopicPartition(end.topic, end.partition, 0) for end in ends])
            found: list[Message] = []
            unread = {end.partition for end in ends}

            def all_read() -> bool:
                for message in consumer.consume(1000, 0.1):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                        unread.discard(message.partition() or 0)
                return not unread

            wait_until(all_read, what="the end of the topic", timeout_seconds=SECONDS)
            return found
        finally:
            consumer.close()

    def ids(self) -> list[str]:
        """Sorted; one that came twice stands twice."""
        return sorted(request_id(message) for message in self.read())


def request_id(message: Message) -> str:
    headers = message.headers()
    assert isinstance(headers, list)
    found = header(headers, "request-id")
    assert found is not None
    return found


@pytest.fixture
def topic(embedded_kafka: MockKafka, topic_prefix: str) -> Topic:
    return Topic(embedded_kafka, embedded_kafka.create_topics(topic_prefix))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(ROWS))
    return path


StartSource = Callable[..., Child]


@pytest.fixture
def source(topic: Topic, rows: Path, tmp_path: Path) -> Iterator[StartSource]:
    """Start the source as `rollcast up` does."""
    children: list[Child] = []

    def started(*arguments: str) -> Child:
        child = start(
            [
                *(sys.executable, "-m", "rollcast_cli.stream_source"),
                *("--rows", str(rows), "--journal", str(tmp_path / "journal.jsonl")),
                *arguments,
            ],
            role="source",
            log=tmp_path / "source.log",
            environ={
                "ROLLCAST_KAFKA_SERVERS": topic.params.broker.servers,
                "ROLLCAST_TOPIC_PREFIX": topic.params.topics.prefix,
            },
        )
        children.append(child)
        return child

    yield started
    for child in children:
        child.kill()


def wait_for_end(child: Child) -> None:
    wait_until(lambda: not child.alive, what="the source ends", timeout_seconds=SECONDS)
    assert child.returncode == 0, child.log_tail()


def journal(folder: Path) -> list[tuple[str, bool]]:
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((entry["id"], entry["planted"]) for entry in map(json.loads, lines))


def test_the_journal_is_what_lies_in_the_topic(topic: Topic, source: StartSource, tmp_path: Path) -> None:
    wait_for_end(source("--rate", "5000", "--count", "103", "--bad-every", "10", "--run", "mine"))
    expected = {
        request.request_id: request for request in itertools.islice(requests(ROWS, run="mine", bad_every=10), 103)
    }
    assert journal(tmp_path) == sorted((request.request_id, request.planted) for request in expected.values())
    found = topic.read()
    assert sorted(map(request_id, found)) == sorted(expected)
    for message in found:
        request = expected[request_id(message)]
        assert (message.key(), message.value()) == (request.key.encode(), request.value)
    # Of one key in the order in which they were sent.
    for key in (b"0", b"1", b"2"):
        numbers = [int(request_id(m).removeprefix("mine-")) for m in found if m.key() == key]
        assert numbers == sorted(numbers)


def test_sigterm_leaves_a_complete_journal(topic: Topic, source: StartSource, tmp_path: Path) -> None:
    child = source("--rate", "2000", "--bad-every", "7")
    consumer = topic.consumer("watcher")
    try:
        wait_until(lambda: topic.count(consumer) >= 200, what="it streams", timeout_seconds=SECONDS, children=[child])
    finally:
        consumer.close()
    child.terminate()
    wait_for_end(child)
    ids = [entry for entry, _ in journal(tmp_path)]
    assert len(ids) >= 200
    assert ids == topic.ids()


def test_it_never_runs_further_ahead_of_its_group_than_it_may(topic: Topic, source: StartSource) -> None:
    """The embedded broker forgets what nobody has read."""
    group = f"{topic.params.topics.prefix}group"
    child = source("--rate", "5000", "--count", "40", "--group", group, "--max-lead", "20")
    consumer = topic.consumer(group)
    try:
        wait_until(lambda: topic.count(consumer) > 20, what="the lead", timeout_seconds=SECONDS, children=[child])
        with pytest.raises(NotInTime):
            wait_until(lambda: not child.alive, what="its end", timeout_seconds=1.5)
        assert topic.count(consumer) == 21
        ends = topic_ends(consumer, topic.name, topic.params.broker.servers)
        consumer.commit(offsets=ends, asynchronous=False)
        wait_for_end(child)
        assert topic.count(consumer) == 40
    finally:
        consumer.close()


class Group:
    """A consumer group that has read all that came to a topic, as a broker says that just then had got nothing."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self._error = error

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002  # as librdkafka's
        if self._error is not None:
            raise KafkaException(self._error)
        return type("Cluster", (), {"topics": {topic: type("Topic", (), {"partitions": {0: None}})}})

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002  # the same
        return wanted

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002  # the same
        return 0, 0


@pytest.mark.parametrize("group", [Group(), Group(KafkaError(KafkaError._TIMED_OUT))], ids=["late", "silent"])
def test_what_a_slow_broker_has_not_got_yet_nobody_has_read(group: Group) -> None:
    """Nothing listens at this address: every request is on its way for as long as the test takes."""
    params = KafkaParams(broker=KafkaBrokerParams(servers="127.0.0.1:1"))
    source = _Source(params, io.StringIO(), group=None)
    source._group = cast("Consumer", group)
    for request in itertools.islice(requests(ROWS, run="r", bad_every=0), 21):
        source._send(request)
    assert source._lead() >= 21
    source._producer.purge()


def test_rows_that_are_not_there_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal_file = tmp_path / "journal.jsonl"
    code = main(["--rows", str(tmp_path / "none.csv"), "--rate", "1", "--journal", str(journal_file)])
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("stream-source: error: ")
    assert "none.csv" in line
    assert not journal_file.exists()
