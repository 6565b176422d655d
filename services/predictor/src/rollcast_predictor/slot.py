"""One predictor slot, put together: assignments, loader, Kafka clients, the loop, and what it shows the outside."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer
from prometheus_client import CollectorRegistry

from rollcast_common.artifacts import ArtifactStore, S3Params
from rollcast_common.contracts import PredictorStatus, ServedVersion
from rollcast_common.contracts.predictor_status import VersionReport
from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.errors import KafkaDenied, KafkaProblem, KafkaUnavailable, RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    KafkaParams,
    LifeWatch,
    check_topics,
    close_consumer,
    make_admin,
    make_consumer,
    problem_from,
    reach_broker,
)
from rollcast_predictor.assignments import Assignments
from rollcast_predictor.committing import AtLeastOnceCommitter, Committer, TransactionalCommitter
from rollcast_predictor.heartbeat import Heartbeat
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import ModelCache
from rollcast_predictor.model_loader import ModelLoader
from rollcast_predictor.reporting import INSTANCE, StatusReporter
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.streamer import Streamer
from rollcast_predictor.tally import Tally

__all__ = ["run_slot"]

_log = structlog.get_logger()

_STALLED_AFTER_SECONDS = 60.0
_TOPICS = ("requests", "app_messages", "dead_letters", "assignments", "predictor_status", "shadow_predictions")


class _State:
    """What the outside is told; written by the slot, read by the endpoint's threads and by the reporter."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self.heartbeat = Heartbeat()
        self.tally = Tally()
        self.streamer: Streamer | None = None
        self.loader: ModelLoader | None = None
        self.assignments: Assignments | None = None

    def health(self) -> Health:
        detail: dict[str, object] = {
            "slot": self._settings.slot,
            "pid": os.getpid(),
            "model": self._settings.model,
            "version": None,
            "sha256": None,
            "generation": None,
            "candidate": None,
            "weight": 0.0,
            "partitions": 0,
            "problem": self.loader.last_problem if self.loader else None,
        }
        streamer = self.streamer
        if streamer is None:
            return Health(alive=True, ready=False, detail=detail)
        lineup = streamer.lineup
        detail |= {
            "version": lineup.stable.version,
            "sha256": lineup.stable.sha256,
            "generation": lineup.assignment.generation,
            "candidate": lineup.candidate.version if lineup.candidate else None,
            "weight": lineup.assignment.weight,
            "partitions": streamer.owned_partitions,
            "host_pid": lineup.stable.host.pid,
            "candidate_pid": lineup.candidate.host.pid if lineup.candidate else None,
        }
        # A batch may break its host row by row; the heart beats at every row.
        alive = self.heartbeat.age_seconds < max(_STALLED_AFTER_SECONDS, 3 * self._settings.batch_deadline_seconds)
        return Health(alive=alive, ready=alive, detail=detail)

    def status(self) -> PredictorStatus:
        counts = self.tally.snapshot()
        status = PredictorStatus(
            slot=self._settings.slot,
            ordinal=self._settings.ordinal,
            instance=INSTANCE,
            time=0,
            generation=0,
            rollout=counts.rollout,
            stable_counts=counts.stable,
            candidate_counts=counts.candidate,
            comparison=counts.comparison,
            samples=counts.samples,
            last_error=self.loader.last_problem if self.loader else None,
        )
        assignment = self.assignments.current() if self.assignments is not None else None
        if assignment is not None:
            status.stable = self._report(assignment.stable)
            status.candidate = self._report(assignment.candidate)
        if (streamer := self.streamer) is not None:
            status.generation = streamer.lineup.assignment.generation
            status.serving = streamer.lineup.stable.sha256
            status.partitions = streamer.owned_partitions
        return status

    def _report(self, served: ServedVersion | None) -> VersionReport | None:
        report = self.loader.report(served) if self.loader is not None else None
        candidate = self.streamer.candidate if self.streamer is not None else None
        if report is None or candidate is None or candidate.is_up or candidate.model.sha256 != report.sha256:
            return report
        return VersionReport(
            version=report.version, sha256=report.sha256, state="failed", reason="HostFailed", message=candidate.problem
        )


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
    metrics.slot_info.labels(settings.installation, settings.namespace, settings.model, settings.slot).set(1)
    metrics.ready.set_function(lambda: float(state.health().ready))
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(settings.metrics_host, settings.metrics_port, registry, state.health))
        _log.info(
            "predictor starting",
            guarantee=settings.guarantee,
            servers=kafka.broker.servers,
            metrics_port=endpoint.port,
        )
        metrics.input_partitions.set(_check_kafka(kafka, settings))
        reporter = StatusReporter(
            kafka,
            key=f"{settings.identity}/{settings.ordinal}",
            client_id=settings.slot,
            status=state.status,
            metrics=metrics,
        )
        assignments = Assignments(
            kafka, identity=str(settings.identity), client_id=settings.slot, on_change=reporter.soon
        )
        files = 3 if settings.verify_key else 2  # the model, its card, and its signature
        cache = ModelCache(settings.cache_dir, ArtifactStore(s3), keep=settings.cache_models, files_per_model=files)
        loader = ModelLoader(assignments, cache, settings, metrics, bucket=s3.bucket)
        loader.on_change = reporter.soon
        state.loader, state.assignments = loader, assignments
        slot = _Slot(settings, kafka, metrics, state, assignments, loader, reporter, stopping)
        for part in (assignments, loader, reporter):
            stack.enter_context(part)
        while (lineup := slot.first_lineup()) is not None:
            _log.info("serving", model=settings.model, version=lineup.stable.version, sha256=lineup.stable.sha256)
            on_serving()
            slot.serve(lineup)
        _log.info("drained")


@dataclass(frozen=True, slots=True)
class _Slot:
    settings: PredictorSettings
    kafka: KafkaParams
    metrics: PredictorMetrics
    state: _State
    assignments: Assignments
    loader: ModelLoader
    reporter: StatusReporter
    stopping: threading.Event

    def first_lineup(self) -> Lineup | None:
        """Wait for a model: without one there is no use in owning partitions. None when it is time to end."""
        said = False
        while not self.stopping.is_set():
            if (lineup := self.next_lineup()) is not None:
                return lineup
            if not said and self.assignments.caught_up and self.assignments.current() is None:
                said = True
                _log.info("waiting for a model to be assigned", topic=self.kafka.topics.full("assignments"))
            self.stopping.wait(0.02)
        return None

    def next_lineup(self) -> Lineup | None:
        """A background thread that has ended takes the process with it: a slot that cannot swap is not a slot."""
        self.assignments.check()
        failure = self.loader.failure
        if isinstance(failure, RollcastError):
            raise failure
        if failure is not None:
            raise RollcastError(f"loading models: {failure!r}; this is a bug of the predictor") from failure
        return self.loader.take_lineup()

    def serve(self, lineup: Lineup) -> None:
        """Until `stopping` is set, or nothing is assigned any longer."""
        going_on: Lineup | None = lineup
        try:
            while going_on is not None:
                going_on = self._stream(going_on)
        finally:
            self.state.streamer = None
            self.metrics.nothing_serves()
        self.loader.end_lineup()

    def _is_over(self) -> bool:
        return self.assignments.current() is None

    def _stream(self, lineup: Lineup) -> Lineup | None:
        """Stream with clients of our own until `stopping` is set or nothing is assigned: then None.

        Otherwise the line-up to go on with, with new clients: after an outage the old ones may be refused for good. A
        consumer whose rejoining was never answered is fenced by its own second try, and a transaction that the broker
        ended meanwhile fences its producer. New ones begin where the last commit ended, as a restarted slot does.
        Raises KafkaProblem when there was no outage to explain it.
        """
        settings, kafka, heartbeat = self.settings, self.kafka, self.state.heartbeat
        watch = LifeWatch(kafka.broker.servers)
        with ExitStack() as clients:
            consumer = _make_consumer(kafka, watch, settings)
            clients.callback(close_consumer, consumer)
            committer: Committer = (
                TransactionalCommitter(kafka, watch, slot=settings.slot, heartbeat=heartbeat, stopping=self.stopping)
                if settings.guarantee == "exactly_once"
                else AtLeastOnceCommitter(kafka, watch, consumer, slot=settings.slot, heartbeat=heartbeat)
            )
            clients.callback(committer.close)
            streamer = Streamer(
                settings=settings,
                consumer=consumer,
                watch=watch,
                committer=committer,
                topics=kafka.topics,
                servers=kafka.broker.servers,
                metrics=self.metrics,
                heartbeat=heartbeat,
                lineup=lineup,
                next_lineup=self.next_lineup,
                is_over=self._is_over,
                on_follow=self.reporter.soon,
                tally=self.state.tally,
                publish_shadow=self.reporter.publish_shadow,
                stopping=self.stopping,
            )
            try:
                # Before the consumer asks where the group is: this ends what a predecessor left open.
                committer.start()
                self.state.streamer = streamer
                streamer.run()
            except KafkaProblem as problem:
                away = isinstance(problem, KafkaUnavailable) or _was_away(watch)
                if self.stopping.is_set() or isinstance(problem, KafkaDenied) or not away:
                    raise
                _log.warning("starting anew with Kafka after an outage", problem=str(problem))
                return streamer.lineup
        return None


def _was_away(watch: ErrorWatch) -> bool:
    """Whether clients that share this watch have missed the broker."""
    return watch.last is not None and isinstance(problem_from(watch.last, "", ""), KafkaUnavailable)


def _check_kafka(kafka: KafkaParams, settings: PredictorSettings) -> int:
    """What is wrong from the start is said at the start, in one line. How many partitions the input topic has."""
    reach_broker(kafka, client_id=settings.slot, timeout_seconds=settings.startup_timeout_seconds)
    admin = make_admin(kafka, ErrorWatch(kafka.broker.servers), client_id=settings.slot)
    wanted = [kafka.topics.full(name) for name in _TOPICS]
    return check_topics(admin, wanted, servers=kafka.broker.servers)[kafka.topics.full("requests")]


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
