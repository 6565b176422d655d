"""From topic `train` to ModelVersions: what a trainer announces is rolled out without anybody's help."""

import threading
import time
from typing import Any, Self

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from rollcast_common.contracts import ModelTrained, parse_model_trained
from rollcast_common.errors import ConfigError, ContractError, KafkaDenied, RollcastError
from rollcast_common.kafka import ErrorWatch, KafkaParams, make_consumer, problem_from
from rollcast_control.bridge import BRIDGE_LABEL, model_version_for
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.kinds import MODEL_VERSION
from rollcast_operator.kube import Conflict, Gone, Kube, Refused
from rollcast_operator.metrics import OperatorMetrics
from rollcast_operator.resource_cache import CachedVersion, ResourceCache
from rollcast_operator.settings import BridgeSettings, OperatorSettings

__all__ = ["Bridge"]

_log = structlog.get_logger()

_POLL_SECONDS = 0.5
_AGAIN_SECONDS = 2.0
_SAY_EVERY_SECONDS = 30.0
_APART_SECONDS = 1.1
"""An object's age is known by the second, and of two models the one that was announced later is wanted."""

_OVER = ("Superseded", "Failed", "RolledBack")


class Bridge:
    """A thread. The offset of an announcement is committed once its ModelVersion is there."""

    def __init__(
        self,
        settings: OperatorSettings,
        bridge: BridgeSettings,
        kafka: KafkaParams,
        *,
        bucket: str,
        kube: Kube,
        cache: ResourceCache,
        metrics: OperatorMetrics,
    ) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._bridge = bridge
        self._kafka = kafka
        self._bucket = bucket
        self._kube = kube
        self._cache = cache
        self._metrics = metrics
        self._topic = kafka.topics.full("train")
        self._watch = ErrorWatch(kafka.broker.servers)
        name = f"rollcast.{settings.installation}.bridge"
        self._consumer: Consumer = make_consumer(
            kafka, self._watch, client_id=name, group_id=name, settings={"auto.offset.reset": "earliest"}
        )
        self._created_at: dict[str, float] = {}
        self._said_at = -_SAY_EVERY_SECONDS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raises what ended the thread."""
        if isinstance(self._failure, RollcastError):
            raise self._failure
        if self._failure is not None:
            raise RollcastError(f"the bridge: {self._failure!r}; this is a bug of the operator") from self._failure

    def _run(self) -> None:
        try:
            self._consumer.subscribe([self._topic])
            while not self._stopping.is_set():
                message = self._consumer.poll(_POLL_SECONDS)
                self._watch.check(f"reading {self._topic}")
                if message is None:
                    continue
                error = message.error()
                if error is not None:
                    self._note(error)
                elif self._carried_out(message):
                    self._commit(message)
        except BaseException as error:  # noqa: BLE001  # its owner asks, and must hear of it
            self._failure = error
        finally:
            self._consumer.close()

    def _note(self, error: KafkaError) -> None:
        problem = problem_from(error, f"reading {self._topic}", self._kafka.broker.servers)
        if isinstance(problem, KafkaDenied):
            raise problem
        self._say("announcements cannot be read now", str(problem))

    def _say(self, what: str, problem: str) -> None:
        if time.monotonic() - self._said_at >= _SAY_EVERY_SECONDS:
            self._said_at = time.monotonic()
            _log.warning(what, topic=self._topic, problem=problem)

    def _commit(self, message: Message) -> None:
        """What is not committed is announced again, and then it is there already."""
        try:
            self._consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            self._say("an announcement will be read again", str(error))

    def _carried_out(self, message: Message) -> bool:
        """False when it is time to end."""
        try:
            event = parse_model_trained(message.key(), message.value(), default_model=self._bridge.default_model)
            if not event.model:
                raise ContractError("ModelTrained: a bare path without a key, and bridge.default_model is not set")  # noqa: TRY301  # as others
            if self._bridge.models and event.model not in self._bridge.models:
                self._metrics.announced.labels("other").inc()
                return True
            manifest = model_version_for(
                event, bucket=self._bucket, namespace=self._bridge.namespace, template=self._bridge.template
            )
        except (ContractError, ConfigError) as problem:
            self._pass_over(message, str(problem))
            return True
        return self._create_in_time(message, event, manifest)

    def _pass_over(self, message: Message, problem: str) -> None:
        self._metrics.announced.labels("invalid").inc()
        _log.warning("announcement passed over", topic=self._topic, offset=message.offset(), problem=problem)

    def _create_in_time(self, message: Message, event: ModelTrained, manifest: dict[str, Any]) -> bool:
        while not self._stopping.is_set():
            wait = self._created_at.get(event.model, -_APART_SECONDS) + _APART_SECONDS - time.monotonic()
            if wait > 0:
                self._stopping.wait(wait)
                continue
            try:
                self._create(event, manifest)
                self._clean_up(event.model)
            except Refused as problem:
                self._pass_over(message, str(problem))
                return True
            except (ShellUnavailable, Gone) as problem:
                self._say("a ModelVersion cannot be made now", str(problem))
                self._stopping.wait(_AGAIN_SECONDS)
            else:
                return True
        return False

    def _create(self, event: ModelTrained, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        try:
            created = self._kube.create(MODEL_VERSION, self._bridge.namespace, manifest)
        except Conflict:
            self._metrics.announced.labels("known").inc()
            _log.info("announced already", model=event.model, version=event.version, name=name)
            return
        self._created_at[event.model] = time.monotonic()
        self._metrics.announced.labels("created").inc()
        _log.info("announced", model=event.model, version=event.version, name=created["metadata"]["name"])

    def _clean_up(self, model: str) -> None:
        """The oldest go that nobody wants: never what is live or on its way, and never what a person has made."""
        announced = [
            cached
            for cached in self._cache.versions((self._bridge.namespace, model))
            if cached.labels.get(BRIDGE_LABEL) == "true" and not cached.version.deleting and _is_over(cached)
        ]
        announced.sort(key=lambda cached: (cached.version.created, cached.version.name))
        for cached in announced[: -self._bridge.revision_history_limit]:
            self._kube.delete(MODEL_VERSION, cached.version.namespace, cached.version.name)
            _log.info("old ModelVersion removed", model=model, name=cached.version.name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()


def _is_over(cached: CachedVersion) -> bool:
    return cached.version.status.get("phase") in _OVER
