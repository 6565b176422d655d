"""Follows topic `train`: each announcement is handled once, also by whoever comes after a crash."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import structlog
from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, Message, TopicPartition

from rollcast_common.contracts import parse_model_trained
from rollcast_common.errors import ConfigError, ContractError, KafkaDenied, KafkaProblem, RollcastError
from rollcast_common.kafka import KafkaParams, LifeWatch, close_consumer, make_consumer, problem_from
from rollcast_control.bridge import model_version_for
from rollcast_control.shell import ShellUnavailable

__all__ = ["Bridge"]

_log = structlog.get_logger()

_RETRY_SECONDS = 1.0
_SAY_EVERY_SECONDS = 30.0
_LIST_SECONDS = 10.0


class Bridge:
    """A thread. It belongs to no consumer group but keeps its offsets in one, so that it begins where it ended.

    `create` makes a ModelVersion of a resource and says what became of it; one that is there already is no problem.
    It may raise ConfigError, for what will never be one, and ShellUnavailable, after which it is asked again.
    """

    def __init__(
        self,
        kafka: KafkaParams,
        *,
        installation: str,
        bucket: str,
        namespace: str,
        default_model: str,
        template_of: Callable[[str], dict[str, Any] | None],
        create: Callable[[dict[str, Any]], str],
        on_ignored: Callable[[], None] = lambda: None,
    ) -> None:
        """`template_of` a model is the rest of its spec, None for a model that nobody wants bridged. `on_ignored` is
        called for each announcement that is none.

        Raises ConfigError when librdkafka does not accept a property.
        """
        self._servers = kafka.broker.servers
        self._topic = kafka.topics.full("train")
        self._doing = f"following {self._topic}"
        self._bucket = bucket
        self._namespace = namespace
        self._default_model = default_model
        self._template_of = template_of
        self._create = create
        self._on_ignored = on_ignored
        self._watch = LifeWatch(self._servers)
        self._make: Callable[[], Consumer] = lambda: make_consumer(
            kafka,
            self._watch,
            client_id="rollcast-bridge",
            group_id=f"rollcast.{installation}.bridge",
            settings={"auto.offset.reset": "earliest", "fetch.wait.max.ms": 20},
        )
        self._consumer = self._make()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._say_at = 0.0
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raises what ended the thread."""
        if isinstance(self._failure, RollcastError):
            raise self._failure
        if self._failure is not None:
            raise RollcastError(f"the bridge: {self._failure!r}; this is a bug of Rollcast") from self._failure

    def _say(self, what: str, problem: Exception) -> None:
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_SECONDS
            _log.warning(what, topic=self._topic, problem=str(problem))

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._follow()
                except KafkaDenied:
                    raise
                except (KafkaProblem, KafkaException) as problem:
                    self._say("announcements are not read now", problem)
                    if self._watch.is_cut_off:
                        close_consumer(self._consumer)
                        self._watch = LifeWatch(self._servers)
                        self._consumer = self._make()
                    # Only who polls is told that it was cut off, also while it could not even begin.
                    self._consumer.poll(0)
                    self._stopping.wait(_RETRY_SECONDS)
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self._failure = error
        finally:
            close_consumer(self._consumer)

    def _follow(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, number, OFFSET_STORED) for number in self._partitions()])
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            self._watch.check(self._doing)
            if message is None:
                continue
            if (error := message.error()) is not None:
                self._say("announcements are not read now", problem_from(error, self._doing, self._servers))
                # A consumer that could not learn where to begin, from a coordinator that is just moving, does not ask
                # again: it is told anew what to read.
                self._stopping.wait(_RETRY_SECONDS)
                return
            if self._taken(message):
                # What is not committed is announced again, and then it is there already. So nobody waits for it: a
                # client that has lost its way to the cluster would wait for ever.
                self._consumer.commit(message=message, asynchronous=True)

    def _partitions(self) -> list[int]:
        try:
            found = self._consumer.list_topics(self._topic, timeout=_LIST_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise problem_from(error.args[0], self._doing, self._servers) from None
        if found.error is not None:
            raise problem_from(found.error, self._doing, self._servers)
        return sorted(found.partitions)

    def _taken(self, message: Message) -> bool:
        """False when it is time to end before it was done with."""
        while not self._stopping.is_set():
            try:
                self._handle(message)
            except (ContractError, ConfigError) as error:
                self._on_ignored()
                _log.warning("announcement ignored", topic=self._topic, offset=message.offset(), problem=str(error))
                return True
            except ShellUnavailable as problem:
                self._say("an announcement waits", problem)
                self._stopping.wait(_RETRY_SECONDS)
            else:
                return True
        return False

    def _handle(self, message: Message) -> None:
        event = parse_model_trained(message.key(), message.value(), default_model=self._default_model)
        if not event.model:
            raise ContractError("ModelTrained: a bare path without a key, and no default model is set")
        template = self._template_of(event.model)
        if template is None:
            return
        resource = model_version_for(event, bucket=self._bucket, namespace=self._namespace, template=template)
        became = self._create(resource)
        name = resource["metadata"]["name"]
        _log.info("announced", model=event.model, version=event.version, name=name, became=became)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()
