"""The real `rollcast-predictor` as a process, and what a test needs around it: models, requests, what was answered."""

import http.client
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from sklearn.linear_model import LinearRegression

from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.artifacts import ArtifactRef, ArtifactStore, S3Params, parse_uri
from rollcast_common.contracts import (
    Assignment,
    ModelTrained,
    Prediction,
    PredictorStatus,
    ServedVersion,
    decode_prediction,
    parse_model_trained,
)
from rollcast_common.contracts.assignment import encode_assignment, salt_of
from rollcast_common.contracts.dead_letter import DeadLetter, parse_dead_letter
from rollcast_common.contracts.predictor_status import decode_predictor_status
from rollcast_common.errors import ArtifactNotFound, StoreProblem
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_consumer, make_producer, read_to_end
from rollcast_common.models.files import save_model

__all__ = ["Answers", "Requests", "Sent", "Slot", "World", "line_of"]

MODEL = "line"
_COMMAND = Path(sys.executable).with_name("rollcast-predictor")
_START_SECONDS = 180.0
"""On a machine with much else to do a slot has been seen to take 70 s to start."""

_READ_SECONDS = 120.0
_ANSWER_SECONDS = 60.0


def line_of(slope: float) -> LinearRegression:
    """A model whose answer tells which one it is: `slope * x`."""
    return LinearRegression(fit_intercept=False).fit(pd.DataFrame({"x": [1.0, 2.0]}), np.array([slope, 2 * slope]))


class Slot:
    """One process. Ask it as Kubernetes and Prometheus would."""

    def __init__(self, child: Child, port: int, *, answer_seconds: float = 60.0) -> None:
        """An endpoint that takes longer than `answer_seconds` passes for one where nothing listens."""
        self.child = child
        self.port = port
        self._answer_seconds = answer_seconds

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def streamer_pid(self) -> int:
        """Of the process that streams; `pid` is its supervisor's, which starts another when it dies."""
        return int(self.health()["pid"])

    def _get(self, path: str) -> bytes | None:
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=self._answer_seconds) as answer:  # loopback
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.read()
        except (OSError, http.client.HTTPException):  # the second when it dies in the middle of its answer
            return None

    def health(self) -> dict[str, Any]:
        """What /readyz says; empty while nothing listens."""
        body = self._get("/readyz")
        return json.loads(body) if body else {}

    def metric(self, name: str) -> dict[str, float]:
        """The samples of one metric: its labels as they are written, and its value."""
        text = (self._get("/metrics") or b"").decode()
        pattern = rf"^rollcast_predictor_{name}(?:{{(.*)}})? (\S+)$"
        return {labels or "": float(value) for labels, value in re.findall(pattern, text, re.MULTILINE)}

    def counted(self, name: str) -> dict[str, float]:
        """Those of them that are not 0."""
        return {labels: value for labels, value in self.metric(name).items() if value}

    def lines(self) -> list[dict[str, Any]]:
        """Its log. Fails on a line that is not JSON: whoever reads logs by machine would."""
        whole, _, _ = self.child.log.read_bytes().rpartition(b"\n")  # the last one may just be being written
        return [json.loads(line) for line in whole.decode().splitlines() if line.strip()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = _START_SECONDS) -> Any:
        """Fails at once when the process dies."""
        return wait_until(condition, what=what, timeout_seconds=seconds, children=[self.child])

    def wait_for_version(self, version: str, *, partitions: int = 1) -> None:
        """Until it serves this version and owns at least so many partitions."""

        def serves() -> bool:
            health = self.health()
            return bool(health.get("ready")) and health["version"] == version and health["partitions"] >= partitions

        self.wait(serves, f"{version} serves")

    def wait_for_problem(self, pattern: str) -> str:
        """Until /readyz names a problem like this one, all of it in one line."""

        def problem() -> str:
            text = self.health().get("problem") or ""
            return text if re.search(pattern, text) else ""

        text: str = self.wait(problem, f"problem {pattern!r}")
        assert "\n" not in text
        return text

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.child.terminate()
        return self.wait_for_end()

    def wait_for_end(self, seconds: float = 120.0) -> int:
        def ended() -> bool:
            return self.child.returncode is not None

        wait_until(ended, what="the slot ends", timeout_seconds=seconds)
        code = self.child.returncode
        assert code is not None
        return code

    def kill(self) -> None:
        """SIGKILL to the slot alone: what becomes of its hosts is its own matter."""
        hosts = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        self.wait_for_end()
        psutil.wait_procs(hosts, timeout=60)
        assert not [host for host in hosts if host.is_running() and host.status() != psutil.STATUS_ZOMBIE]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that the broker has, and where it lies."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int

    def request_id(self, topic: str) -> str:
        return f"{topic}-{self.partition}-{self.offset}"


class Requests:
    """Produces requests; each is remembered with the place that the broker gave it."""

    def __init__(self, params: KafkaParams, topic: str) -> None:
        self._topic = topic
        self._producer = make_producer(
            params,
            ErrorWatch(params.broker.servers),
            client_id="test-requests",
            settings={"message.max.bytes": 10_000_000, "linger.ms": 2, "queue.buffering.max.messages": 1_000_000},
        )
        self.sent: list[Sent] = []
        self.refused: list[KafkaError] = []

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refused.append(error)
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None  # noqa: PT018  # a delivered record has both
        self.sent.append(Sent(message.key(), message.value(), partition, offset))

    def send(
        self, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes | str | None]] = ()
    ) -> None:
        self._producer.produce(self._topic, value, key, headers=list(headers), on_delivery=self._delivered)
        self._producer.poll(0)

    def send_x(self, xs: Iterable[float], keys: int = 8) -> None:
        """Rows {"x": …}; x says the order within its key."""
        for x in xs:
            self.send(b'{"x":%d}' % x, b"key-%d" % (int(x) % keys))

    def flush(self) -> None:
        assert self._producer.flush(120) == 0
        assert self.refused == []


@dataclass(slots=True)
class Answers:
    """All that can be read, with `read_committed`, from both output topics."""

    predictions: list[tuple[bytes | None, Prediction]] = field(default_factory=list)
    """With the key of their records, in the order of their partition."""

    dead_letters: list[tuple[DeadLetter, Message]] = field(default_factory=list)

    def times_answered(self) -> Counter[str]:
        ids = [prediction.request_id for _, prediction in self.predictions]
        return Counter([*ids, *(letter.request_id for letter, _ in self.dead_letters)])

    def by_key(self) -> dict[bytes | None, list[Prediction]]:
        answers: dict[bytes | None, list[Prediction]] = defaultdict(list)
        for key, prediction in self.predictions:
            answers[key].append(prediction)
        return answers


class World:
    """Topics, a bucket and a cache of one test's own, and the slots that it started."""

    def __init__(self, kafka: KafkaParams, names: TopicNames, s3: S3Params, folder: Path) -> None:
        self.kafka = kafka
        self.names = names
        self.s3 = s3
        self.folder = folder
        self.store = ArtifactStore(s3)
        self.identity = ModelIdentity("test", "default", MODEL)
        # Tests share a broker, and a group is the broker's: the topics' prefix sets them apart.
        self.group = f"{names.prefix}{self.identity.consumer_group}"
        self._slots: list[Slot] = []
        self.generation = 0

    # What there is to serve.

    def upload(self, model: Any, name: str) -> ArtifactRef:
        """Saved as skops, put to models/<name>.skops."""
        path = self.folder / f"{name}.skops"
        save_model(model, path)
        return self.store.put_once(f"models/{name}.skops", path)

    def served(self, event: ModelTrained | str) -> ServedVersion:
        """An announced version, pinned as whoever assigns it would pin it; what is not in the store as zeros."""
        if isinstance(event, str):
            event = parse_model_trained(None, event.encode(), default_model=MODEL)
        place = parse_uri(event.uri, self.s3.bucket)
        sha256, version_id = event.sha256, event.version_id
        if sha256 is None:
            try:
                ref = self.store.fetch(place, self.folder / "resolved")
            except (ArtifactNotFound, StoreProblem):
                sha256 = "0" * 64
            else:
                sha256, version_id = ref.sha256, ref.version_id
        assert sha256 is not None
        return ServedVersion(
            version=event.version,
            uri=place.uri,
            format=event.format,
            sha256=sha256,
            version_id=version_id,
            card_uri=event.card_uri,
            card_sha256=event.card_sha256,
        )

    def assign(
        self,
        stable: ServedVersion,
        candidate: ServedVersion | None = None,
        *,
        model: str = MODEL,
        **changes: Any,
    ) -> Assignment:
        """The next generation, on topic assignments."""
        self.generation += 1
        if candidate is not None:
            changes = {"salt": salt_of(candidate.sha256), "rollout": self.generation, **changes}
        assignment = Assignment(model=model, generation=self.generation, stable=stable, candidate=candidate, **changes)
        self.put_assignment(encode_assignment(assignment), model=model)
        return assignment

    def put_assignment(self, value: bytes | None, *, model: str = MODEL) -> None:
        """Anything at all under the model's key; None is its end."""
        producer = make_producer(self.kafka, ErrorWatch(self.kafka.broker.servers), client_id="test-assigner")
        key = str(ModelIdentity(self.identity.installation, self.identity.namespace, model))
        producer.produce(self.names.full("assignments"), value, key)
        assert producer.flush(120) == 0

    def announce(self, event: ModelTrained | str) -> ServedVersion:
        """An event, or a bare path: it is to be stable at once."""
        version = self.served(event)
        self.assign(version, model=event.model if isinstance(event, ModelTrained) else MODEL)
        return version

    def put_model(self, version: str, slope: float) -> ServedVersion:
        """A good model, uploaded, and assigned to nobody."""
        return self.served(self.upload(line_of(slope), version).uri)

    def publish(self, version: str, slope: float) -> ServedVersion:
        """A good model, uploaded, and stable at once."""
        served = self.put_model(version, slope)
        self.assign(served)
        return served

    def announce_trained(self) -> ServedVersion:
        """What was announced last on topic train."""
        last = self._all_of(self.names.full("train"))[-1]
        return self.announce(parse_model_trained(last.key(), last.value(), default_model=MODEL))

    def status(self, ordinal: int = 0) -> PredictorStatus | None:
        """The last one of a slot."""
        key = f"{self.identity}/{ordinal}".encode()
        values = [
            message.value() for message in self._all_of(self.names.full("predictor_status")) if message.key() == key
        ]
        return decode_predictor_status(values[-1]) if values and values[-1] is not None else None

    # Who serves it.

    def environment(self) -> dict[str, str]:
        secret = self.s3.secret_access_key
        assert secret is not None
        assert self.s3.access_key_id is not None
        return {
            "ROLLCAST_MODEL": MODEL,
            "ROLLCAST_INSTALLATION": self.identity.installation,
            "ROLLCAST_KAFKA_SERVERS": self.kafka.broker.servers,
            "ROLLCAST_KAFKA_GROUP_ID": self.group,
            "ROLLCAST_TOPIC_PREFIX": self.names.prefix,
            "ROLLCAST_S3_ENDPOINT_URL": self.s3.endpoint_url or "",
            "ROLLCAST_S3_BUCKET": self.s3.bucket,
            "ROLLCAST_S3_ACCESS_KEY_ID": self.s3.access_key_id,
            "ROLLCAST_S3_SECRET_ACCESS_KEY": secret.get_secret_value(),
            "ROLLCAST_CACHE_DIR": str(self.folder / "cache"),
        }

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None, ordinal: int = 0) -> Slot:
        """Start a slot and return at once."""
        port = free_ports(1)[0]
        child = start(
            [str(_COMMAND), "run", *arguments],
            role="predictor",
            log=self.folder / f"slot-{len(self._slots)}.log",
            environ={
                **self.environment(),
                "ROLLCAST_ORDINAL": str(ordinal),
                "ROLLCAST_METRICS_PORT": str(port),
                **(environ or {}),
            },
        )
        slot = Slot(child, port)
        self._slots.append(slot)
        return slot

    def serve(self, version: str, *arguments: str, **options: Any) -> Slot:
        """Start a slot and wait until it serves `version`."""
        slot = self.start(*arguments, **options)
        slot.wait_for_version(version)
        return slot

    def stop(self) -> None:
        for slot in self._slots:
            slot.child.stop()

    # What is asked, and what comes back.

    def requests(self) -> Requests:
        return Requests(self.kafka, self.names.full("requests"))

    def read(self) -> Answers:
        """Both output topics from their beginning to their end; fails when a transaction stays open."""
        answers = Answers()
        for message in self._all_of(self.names.full("app_messages")):
            value = message.value()
            assert value is not None
            answers.predictions.append((message.key(), decode_prediction(value)))
        for message in self._all_of(self.names.full("dead_letters")):
            headers: Any = message.headers()
            answers.dead_letters.append((parse_dead_letter(headers), message))
        return answers

    def read_shadow(self) -> list[Prediction]:
        """What candidates have said in shadow."""
        values = [message.value() for message in self._all_of(self.names.full("shadow_predictions"))]
        return [decode_prediction(value) for value in values if value is not None]

    def committed(self) -> dict[int, int]:
        """The group's offset in each partition of requests."""
        consumer = self._consumer(self.group)
        try:
            topic = self.names.full("requests")
            wanted = [TopicPartition(topic, number) for number in self._partitions(consumer, topic)]
            return {place.partition: place.offset for place in consumer.committed(wanted, timeout=_ANSWER_SECONDS)}
        finally:
            consumer.close()

    def wait_answered(self, requests: Requests, slots: Sequence[Slot] = (), seconds: float = 180.0) -> None:
        """Until the group has committed everything that was sent."""
        requests.flush()
        ends: dict[int, int] = {}
        for sent in requests.sent:
            ends[sent.partition] = max(ends.get(sent.partition, 0), sent.offset + 1)

        def caught_up() -> bool:
            committed = self.committed()
            return all(committed[partition] >= end for partition, end in ends.items())

        wait_until(
            caught_up,
            what="all requests are answered",
            timeout_seconds=seconds,
            children=[slot.child for slot in slots],
            interval_seconds=0.1,
        )

    def check_exactly_once(self, requests: Requests) -> Answers:
        """0 lost, 0 doubled, order per key kept, versions never going back, and every answer is its model's."""
        requests.flush()
        answers = self.read()
        topic = self.names.full("requests")
        wanted = Counter(sent.request_id(topic) for sent in requests.sent)
        found = answers.times_answered()
        assert found - wanted == Counter(), "doubled, or answers to nobody's question"
        assert wanted - found == Counter(), "lost"
        for predictions in answers.by_key().values():
            asked = [json.loads(bytes(prediction.features))["x"] for prediction in predictions]
            assert asked == sorted(asked)
            generations = [prediction.generation for prediction in predictions]
            assert generations == sorted(generations)
        return answers

    def _consumer(self, group: str) -> Consumer:
        watch = ErrorWatch(self.kafka.broker.servers)
        settings: dict[str, str | int | float | bool] = {"fetch.wait.max.ms": 50}
        return make_consumer(self.kafka, watch, client_id="test-reader", group_id=group, settings=settings)

    def _partitions(self, consumer: Consumer, topic: str) -> list[int]:
        return sorted(consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic].partitions)

    def _all_of(self, topic: str) -> list[Message]:
        consumer = self._consumer("test-reader")
        servers = self.kafka.broker.servers
        try:
            return list(read_to_end(consumer, topic, ErrorWatch(servers), servers, timeout_seconds=_READ_SECONDS))
        finally:
            consumer.close()
