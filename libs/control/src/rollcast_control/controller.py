"""One model's loop: look, plan, carry out. Whoever dies in between plans the same again from what was written."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from rollcast_common.errors import KafkaUnavailable
from rollcast_common.identity import ModelIdentity
from rollcast_control.control_topics import ControlTopics
from rollcast_control.resolving import Resolver
from rollcast_control.shell import Shell
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import Observed
from rollcast_rollout.plan import Event, Plan, Tombstone, plan
from rollcast_rollout.record import Record

__all__ = ["Controller"]

_log = structlog.get_logger()

_PUBLISH_AGAIN_SECONDS = 2.5
"""That a broker takes writes again is heard by writing only."""


class Controller:
    """Not for several threads at once."""

    def __init__(
        self,
        identity: ModelIdentity,
        shell: Shell,
        topics: ControlTopics,
        resolver: Resolver,
        *,
        now: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """`now` is in seconds since the epoch and never runs backwards; `wake` asks for another `reconcile`."""
        self.identity = identity
        self._shell = shell
        self._topics = topics
        self._resolver = resolver
        self._now = now
        self._wake = wake
        self._record: Record | None = None
        self._has_record = False
        self._is_refused = False
        self.is_over = False
        """Whether the last turn has left nothing of the model: it need not be looked after any more."""

    def reconcile(self) -> float | None:
        """Seconds until it should be called again even if nothing happens; None: only news matters.

        Raises ShellUnavailable.
        """
        versions = self._shell.model_versions()
        observed = self._observe(versions)
        decided = plan(versions, observed, self._now())
        self._carry_out(decided, {version.uid: version for version in versions}, observed)
        self.is_over = not versions and decided.record is None
        after = decided.wake_after
        if self._is_refused:
            return _PUBLISH_AGAIN_SECONDS if after is None else min(after, _PUBLISH_AGAIN_SECONDS)
        return after

    def _observe(self, versions: Sequence[ModelVersion]) -> Observed:
        if not self._has_record:
            self._record, self._has_record = self._shell.read_record(), True
        published = self._topics.published(self.identity)
        return Observed(
            record=self._record,
            artifacts=self._resolver.answers({version.uid for version in versions}),
            slots=self._topics.slots(self.identity),
            replicas=self._shell.replicas(),
            published=published.generation,
            topic_assignment=published.assignment,
            kafka_problem=self._topics.problem,
            watched_seconds=self._topics.watched_seconds,
        )

    def _carry_out(self, decided: Plan, versions: dict[str, ModelVersion], observed: Observed) -> None:
        self._keep(decided.record)
        if decided.publish is not None:
            self._publish(decided)
        elif observed.kafka_problem is None:
            self._is_refused = False
        self._shell.apply_workload(decided.workload)
        for uid in decided.resolve:
            self._resolver.ask(versions[uid], self._wake)
        self._tell(decided, versions)
        for uid in decided.released:
            self._shell.release(uid)
            self._resolver.forget([uid])
        # Only now: no record remembers them, so whoever died before the release would post them again and again.
        self._post([event for event in decided.events if event.uid in decided.released], versions)
        if observed.record is not None and decided.record is None:
            _log.info("nothing is left of the model", model=str(self.identity))

    def _tell(self, decided: Plan, versions: dict[str, ModelVersion]) -> None:
        for uid, status in decided.statuses.items():
            if versions[uid].status != status:
                self._shell.write_status(uid, status)
        self._post([event for event in decided.events if event.uid not in decided.released], versions)
        # Who asked waits for this, and then looks at what was said.
        for uid in decided.handled_actions:
            if versions[uid].action is not None:
                self._shell.take_off_action(uid)

    def _post(self, events: Sequence[Event], versions: Mapping[str, ModelVersion]) -> None:
        for event in events:
            _log.info("rollout", model=str(self.identity), reason=event.reason, message=event.message)
            if event.uid in versions:
                self._shell.post(event)

    def _keep(self, record: Record | None) -> None:
        if record == self._record:
            return
        # Until it is written nobody knows what is there: a write that failed may have happened.
        self._has_record = False
        if record is None:
            self._shell.delete_record()
        else:
            self._shell.write_record(record)
        self._record, self._has_record = record, True

    def _publish(self, decided: Plan) -> None:
        assignment = None if isinstance(decided.publish, Tombstone) else decided.publish
        try:
            self._topics.publish(self.identity, assignment)
        except KafkaUnavailable as problem:
            self._is_refused = True
            _log.warning("assignment not published yet", model=str(self.identity), problem=str(problem))
            return
        self._is_refused = False
        _log.info(
            "assigned",
            model=str(self.identity),
            generation=assignment.generation if assignment else None,
            stable=assignment.stable.version if assignment else None,
            candidate=assignment.candidate.version if assignment and assignment.candidate else None,
            weight=assignment.weight if assignment else None,
            shadow=assignment.shadow if assignment else None,
        )
