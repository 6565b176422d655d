"""One predictor slot, put together: orders, loader, Kafka clients, the loop, and what it shows the outside."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack

import structlog
from confluent_kafka import Consumer
from prometheus_client import CollectorRegistry

from rollcast_common.artifacts import ArtifactStore, S3Params
from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.errors import KafkaDenied, KafkaProblem, KafkaUnavailable, RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    check_topics,
    make_admin,
    make_consumer,
    problem_from,
    reach_broker,
)
from rollcast_predictor.committing import AtLeastOnceCommitter, Committer, TransactionalCommitter
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import ModelCache
from rollcast_predictor.model_loader import ModelLoader
from rollcast_predictor.served_model import ServedModel
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.streamer import Streamer
from rollcast_predictor.train_orders import TrainOrders

__all__ = ["run_slot"]

_log = structlog.get_logger()

_STALLED_AFTER_SECONDS = 60.0


class _State:
    """What the probes are told; written by the slot, read by the endpoint's threads."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self.heartbeat = Heartbeat()
        self.streamer: Streamer | None = None
        self.loader: ModelLoader | None = None

    def health(self) -> Health:
        detail: dict[str, object] = {
            "slot": self._settings.slot,
            "pid": os.getpid(),
            "model": self._settings.model,
            "version": None,
            "sha256": None,
            "generation": None,
            "partitions": 0,
            "problem": self.loader.last_problem if self.loader else None,
        }
        streamer = self.streamer
        if streamer is None:
            return Health(alive=True, ready=False, detail=detail)
        model = streamer.model
        detail |= {
            "version": model.order.version,
            "sha256": model.sha256,
            "generation": model.order.generation,
            "partitions": streamer.owned_partitions,
            "host_pid": model.host.pid,
        }
        # A batch may break its host row by row; the heart beats at every row.
        alive = self.heartbeat.age_seconds < max(_STALLED_AFTER_SECONDS, 3 * self._settings.batch_deadline_seconds)
        return Health(alive=alive, ready=alive, detail=detail)


def run_slot(
    settings: PredictorSettings,
    kafka: KafkaParams,
    s3: S3Params,
    stopping: threading.Event,
    *,
    on_serving: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stopping` is set, then commit what was begun and return.

    Raises RollcastError for what an operator must mend: settings, Kafka, a model host that cannot be had.
    """
    registry = CollectorRegistry()
    metrics = PredictorMetrics(registry)
    state = _State(settings)
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(settings.metrics_host, settings.metrics_port, registry, state.health))
        _log.info(
            "predictor starting",
            guarantee=settings.guarantee,
            servers=kafka.broker.servers,
            metrics_port=endpoint.port,
        )
        _check_kafka(kafka, settings)
        orders = stack.enter_context(
            TrainOrders(kafka, model=settings.model, bucket=s3.bucket, client_id=settings.slot)
        )
        files = 3 if settings.verify_key else 2  # the model, its card, and its signature
        cache = ModelCache(settings.cache_dir, ArtifactStore(s3), keep=settings.cache_models, files_per_model=files)
        loader = stack.enter_context(ModelLoader(orders, cache, settings, metrics))
        state.loader = loader
        model = _first_model(loader, orders, stopping)
        if model is None:
            return

        def next_model() -> ServedModel | None:
            _check_threads(loader, orders)
            return loader.take_ready()

        _log.info("serving", model=settings.model, version=model.order.version, sha256=model.sha256)
        on_serving()
        try:
            while (served := _stream(model, next_model, settings, kafka, metrics, state, stopping)) is not None:
                model = served
        finally:
            (state.streamer.model if state.streamer else model).host.close()
        _log.info("drained")


def _stream(
    model: ServedModel,
    next_model: Callable[[], ServedModel | None],
    settings: PredictorSettings,
    kafka: KafkaParams,
    metrics: PredictorMetrics,
    state: _State,
    stopping: threading.Event,
) -> ServedModel | None:
    """Stream with clients of our own until `stopping` is set: then None.

    Otherwise the model to go on with, with new clients: after an outage the old ones may be refused for good. A
    consumer whose rejoining was never answered is fenced by its own second try, and a transaction that the broker
    ended meanwhile fences its producer. New ones begin where the last commit ended, as a restarted slot does.
    Raises KafkaProblem when there was no outage to explain it.
    """
    watch = ErrorWatch(kafka.broker.servers)
    with ExitStack() as clients:
        consumer = _make_consumer(kafka, watch, settings)
        clients.callback(consumer.close)
        committer: Committer = (
            TransactionalCommitter(kafka, watch, slot=settings.slot, heartbeat=state.heartbeat, stopping=stopping)
            if settings.guarantee == "exactly_once"
            else AtLeastOnceCommitter(kafka, watch, consumer, slot=settings.slot, heartbeat=state.heartbeat)
        )
        clients.callback(committer.close)
        streamer = Streamer(
            settings=settings,
            consumer=consumer,
            watch=watch,
            committer=committer,
            topics=kafka.topics,
            servers=kafka.broker.servers,
            metrics=metrics,
            heartbeat=state.heartbeat,
            model=model,
            next_model=next_model,
            stopping=stopping,
        )
        try:
            # Before the consumer asks where the group is: this ends what a predecessor left open.
            committer.start()
            state.streamer = streamer
            streamer.run()
        except KafkaProblem as problem:
            away = isinstance(problem, KafkaUnavailable) or _was_away(watch)
            if stopping.is_set() or isinstance(problem, KafkaDenied) or not away:
                raise
            _log.warning("starting anew with Kafka after an outage", problem=str(problem))
            return streamer.model
    return None


def _was_away(watch: ErrorWatch) -> bool:
    """Whether clients that share this watch have missed the broker."""
    return watch.last is not None and isinstance(problem_from(watch.last, "", ""), KafkaUnavailable)


def _check_kafka(kafka: KafkaParams, settings: PredictorSettings) -> None:
    """What is wrong from the start is said at the start, in one line."""
    reach_broker(kafka, client_id=settings.slot, timeout_seconds=settings.startup_timeout_seconds)
    admin = make_admin(kafka, ErrorWatch(kafka.broker.servers), client_id=settings.slot)
    wanted = [kafka.topics.full(name) for name in ("requests", "app_messages", "dead_letters", "train")]
    check_topics(admin, wanted, servers=kafka.broker.servers)


def _make_consumer(kafka: KafkaParams, watch: ErrorWatch, settings: PredictorSettings) -> Consumer:
    """A static member: restarted within the session timeout it takes its partitions back at once."""
    session_ms = int(settings.session_timeout_seconds * 1000)
    return make_consumer(
        kafka,
        watch,
        client_id=settings.slot,
        group_id=kafka.consumer.group_id or settings.identity.consumer_group,
        settings={
            "group.instance.id": settings.slot,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(1, session_ms // 6),
            # Millions may wait in the topic; this much of them waits in memory.
            "queued.max.messages.kbytes": 65_536,
            "queued.min.messages": 20_000,
            "fetch.wait.max.ms": 10,
            "enable.partition.eof": False,
        },
    )


def _first_model(loader: ModelLoader, orders: TrainOrders, stopping: threading.Event) -> ServedModel | None:
    """Wait for a model: without one there is no use in owning partitions."""
    said = False
    while not stopping.is_set():
        _check_threads(loader, orders)
        if (model := loader.take_ready()) is not None:
            return model
        if not said and orders.caught_up and loader.idle:
            said = True
            _log.info("waiting for a model to be announced on topic train")
        stopping.wait(0.02)
    return None


def _check_threads(loader: ModelLoader, orders: TrainOrders) -> None:
    """A background thread that has ended takes the process with it: a slot that cannot swap is not a slot."""
    for name, failure in (("following topic train", orders.failure), ("loading models", loader.failure)):
        if isinstance(failure, RollcastError):
            raise failure
        if failure is not None:
            raise RollcastError(f"{name}: {failure!r}; this is a bug of the predictor") from failure
