"""The whole of Rollcast as one process tree: broker, S3, predictor slots, a stream of requests."""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rollcast_cli.console import uninterrupted
from rollcast_cli.local.brokers import Broker, BrokerChoice, start_broker
from rollcast_cli.local.mesibo import MesiboServer, start_mesibo
from rollcast_cli.local.notifier import Notifier, start_notifier
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, ChildDied, NotInTime, start
from rollcast_cli.local.s3 import S3Server, start_s3
from rollcast_cli.local.state import ProcessRecord, Stack, StackS3, StateFolder
from rollcast_cli.rolling.folder_shell import read_workloads
from rollcast_cli.rolling.model_store import ModelStore
from rollcast_common.errors import RollcastError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import topic_specs
from rollcast_rollout.record import decode_record

__all__ = ["LocalStack", "StackOptions", "slot_health", "stack_environment"]

NAMESPACE = "default"

ROLLING = ("models", "records", "workloads")
"""Folders of what is rolled here; they are of no use to the next stack, whose S3 is empty."""

_PARTITIONS = 4
_SERVE_SECONDS = 90.0
_RESTARTS_AT_MOST = 5
_RESTART_WINDOW_SECONDS = 60.0
# The embedded broker keeps about 5 MB a partition and silently drops what is older.
_EMBEDDED_LEAD = 5_000


@dataclass(frozen=True, slots=True)
class StackOptions:
    model: str
    slots: int = 2
    slot_arguments: tuple[str, ...] = ()
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """`spec.rollout` of the ModelVersions that announcements become."""
    notifications: Path | None = None
    """The notifier's notifications.yaml; without it the stack's own."""


def stack_environment(stack: Stack) -> dict[str, str]:
    """What a service needs to find this stack: the same variables that a container would be given."""
    return {
        "ROLLCAST_KAFKA_SERVERS": stack.servers,
        "ROLLCAST_TOPIC_PREFIX": stack.topic_prefix,
        "ROLLCAST_S3_ENDPOINT_URL": stack.s3.endpoint_url,
        "ROLLCAST_S3_REGION": stack.s3.region,
        "ROLLCAST_S3_BUCKET": stack.s3.bucket,
        "ROLLCAST_S3_ACCESS_KEY_ID": stack.s3.access_key_id,
        "ROLLCAST_S3_SECRET_ACCESS_KEY": stack.s3.secret_access_key,
        "ROLLCAST_INSTALLATION": stack.installation,
        "ROLLCAST_NAMESPACE": NAMESPACE,
        "ROLLCAST_GUARANTEE": stack.guarantee,
    }


def slot_health(port: int) -> dict[str, Any] | None:
    """What a slot's readiness probe says, ready or not; None when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:  # loopback
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    except OSError:
        return None
    try:
        health: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return health


@dataclass(slots=True)
class _Slot:
    model: str
    ordinal: int
    port: int
    child: Child
    topics: Mapping[str, str]
    """As the environment names them."""
    deaths: list[float] = field(default_factory=list)

    @property
    def role(self) -> str:
        return f"predictor-{self.model}-{self.ordinal}"


class LocalStack:
    """Starts on entering, in order; ends on leaving, in the opposite order, whatever happened in between.

    Entering raises RollcastError when the folder is taken or a part does not start.
    """

    def __init__(
        self, folder: StateFolder, choice: BrokerChoice, options: StackOptions, say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._choice = choice
        self._options = options
        self._say = say
        self._logs = folder.path / "logs"
        self._exit = ExitStack()
        self._slots: list[_Slot] = []
        self._leaving: list[Child] = []
        self._known: set[str] = set()
        """Models that had a workload once."""
        self._controller: Child
        self.mesibo: MesiboServer
        self._notifier: Notifier
        self._source: Child | None = None
        self._sources = 0
        self.announced_at = 0.0
        """When the last model was announced, by the monotonic clock."""
        self._broker: Broker
        self._s3: S3Server
        self.stack: Stack

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            with uninterrupted():
                self._exit.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        with uninterrupted():
            self._say("stopping")
            self._exit.close()

    def _start(self) -> None:
        self._exit.enter_context(self._folder.lock())
        for name in ("logs", "broker", "journals", "notifier", *ROLLING):
            # S3 and mesibo forget everything when they stop, so what others kept would name what is gone.
            shutil.rmtree(self._folder.path / name, ignore_errors=True)
        (self._folder.path / "events.jsonl").unlink(missing_ok=True)
        for name in ("journals", "notifier"):
            (self._folder.path / name).mkdir(parents=True)
        self._broker = start_broker(self._choice, self._folder.path / "broker", progress=self._say)
        self._exit.callback(self._broker.stop)
        self._say(f"broker ready at {self._broker.servers}")
        self._s3 = start_s3(log=self._logs / "s3.log")
        self._exit.callback(self._s3.stop)
        self._say(f"S3 ready at {self._s3.params.endpoint_url}, bucket {self._s3.params.bucket}")
        self.stack = Stack(
            installation=self._folder.installation(),
            owner=ProcessRecord.of("rollcast up", os.getpid()),
            broker=self._broker.kind,
            servers=self._broker.servers,
            guarantee=self._broker.guarantee,
            s3=StackS3.of(self._s3.params),
            model=self._options.model,
        )
        specs = topic_specs(self.stack.kafka_params().topics, partitions=_PARTITIONS)
        self._broker.create_topics(specs)
        self._say(f"topics ready: {', '.join(spec.name for spec in specs)}")
        self._exit.callback(self._stop_slots)
        # They need not wait for their first ModelVersion: it takes them a moment to start.
        self._scale(self._options.model, self._options.slots, {})
        self._controller = self._start_controller()
        self._exit.callback(self._controller.stop)
        self._start_notifier()
        self._write()
        self._say(f"{len(self._slots)} predictor slots and the controller started; they wait for a model")

    def _start_notifier(self) -> None:
        self.mesibo = start_mesibo(self._folder.path / "notifier", log=self._logs / "mesibo.log")
        self._exit.callback(self.mesibo.stop)
        self._notifier = start_notifier(
            self._folder.path / "notifier",
            self.mesibo,
            notifications=self._options.notifications,
            environ=stack_environment(self.stack),
            log=self._logs / "notifier.log",
        )
        self._exit.callback(self._notifier.child.stop)
        access = self._notifier.access
        self.stack = self.stack.model_copy(update={"console": access})
        self._say(f"web console: {access.url}  user {access.user}, token {access.token}")

    def _start_controller(self) -> Child:
        template = self._folder.path / "template.json"
        rollout = {"rollout": dict(self._options.rollout)} if self._options.rollout else {}
        template.write_text(json.dumps({"serving": {"replicas": self._options.slots}, **rollout}), encoding="utf-8")
        return start(
            [
                sys.executable,
                "-m",
                "rollcast_cli.rolling",
                str(self._folder.path),
                "--installation",
                self.stack.installation,
                "--model",
                self._options.model,
                "--template",
                str(template),
            ],
            role="controller",
            log=self._logs / "controller.log",
            environ=stack_environment(self.stack),
        )

    def _scale(self, model: str, replicas: int, topics: Mapping[str, str]) -> bool:
        """Whether anything had to be done. Topics hold for slots that are started now."""
        own = [slot for slot in self._slots if slot.model == model]
        for slot in own[replicas:]:
            self._slots.remove(slot)
            slot.child.terminate()
            self._leaving.append(slot.child)
        for ordinal, port in zip(range(len(own), replicas), free_ports(max(replicas - len(own), 0)), strict=True):
            child = self._start_slot(model, ordinal, port, topics)
            self._slots.append(_Slot(model, ordinal, port, child, topics))
        return len(own) != replicas

    def _follow_workloads(self) -> None:
        """What the controller wants to run: slots of each model, as many as its ModelVersion says."""
        wanted = {workload["model"]: workload for workload in read_workloads(self._folder.path)}
        self._known |= wanted.keys()
        changed = False
        for model in self._known:
            workload = wanted.get(model)
            topics = {}
            if workload is not None:
                topics = {
                    "ROLLCAST_TOPIC_REQUESTS": workload["inputTopic"],
                    "ROLLCAST_TOPIC_APP_MESSAGES": workload["outputTopic"],
                }
            changed |= self._scale(model, workload["replicas"] if workload else 0, topics)
        if changed:
            self._write()

    def _start_slot(self, model: str, ordinal: int, port: int, topics: Mapping[str, str]) -> Child:
        return start(
            [
                sys.executable,
                "-m",
                "rollcast_predictor",
                "run",
                "--model",
                model,
                "--ordinal",
                str(ordinal),
                "--metrics-port",
                str(port),
                "--cache-dir",
                str(self._folder.path / "cache"),
                *self._options.slot_arguments,
            ],
            role=f"predictor-{model}-{ordinal}",
            log=self._logs / f"predictor-{model}-{ordinal}.log",
            environ={**stack_environment(self.stack), **topics},
        )

    @property
    def _parts(self) -> list[Child]:
        """What is never started again: the stack ends with it."""
        return [self._broker.child, self._s3.child, self._controller, self.mesibo.child, self._notifier.child]

    def _write(self) -> None:
        children = [*self._parts, *(slot.child for slot in self._slots)]
        if self._source is not None:
            children.append(self._source)
        self.stack = self.stack.model_copy(
            update={
                "processes": [ProcessRecord.of(child.role, child.pid) for child in children if child.alive],
                "metrics_ports": {slot.child.role: slot.port for slot in self._slots},
            }
        )
        self._folder.write_stack(self.stack)

    def check(self) -> None:
        """Start a dead slot again, and as many as are wanted; raise ChildDied when anything else has died, or a slot
        keeps dying.
        """
        for child in self._parts:
            child.check()
        self._follow_workloads()
        for slot in self._slots:
            if slot.child.alive:
                continue
            now = time.monotonic()
            slot.deaths = [*(at for at in slot.deaths if now - at < _RESTART_WINDOW_SECONDS), now]
            if len(slot.deaths) > _RESTARTS_AT_MOST:
                slot.child.check()
            self._say(f"{slot.role} has ended and is started again (log: {slot.child.log})")
            slot.child = self._start_slot(slot.model, slot.ordinal, slot.port, slot.topics)
            self._write()
        if self._source is not None and self._source.returncode not in (None, 0):
            self._source.check()

    def wait_for_channel(self, name: str, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return once the notifier reads predictions and this channel works. Raises NotInTime (90 s)."""
        deadline = time.monotonic() + _SERVE_SECONDS
        while True:
            health = slot_health(self._notifier.metrics_port) or {}
            problem = health.get("channels", {}).get(name, {"problem": "not there yet"})["problem"]
            if health.get("ready") and problem is None:
                return
            self.check()
            meanwhile()
            if time.monotonic() > deadline:
                raise NotInTime(f"channel {name}: not within {_SERVE_SECONDS:g} s: {problem or health}")
            time.sleep(0.1)

    def versions(self) -> list[str | None]:
        """Of each slot of the stack's model, the version that is stable there; None where it serves none."""
        healths = [slot_health(slot.port) for slot in self._slots if slot.model == self._options.model]
        return [health.get("version") if health and health.get("ready") else None for health in healths]

    def wait_for_version(self, version: str, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return once every slot serves it. Raises NotInTime (90 s) with what the slots say stands in the way."""
        deadline = time.monotonic() + _SERVE_SECONDS
        while any(serving != version for serving in self.versions()):
            self.check()
            meanwhile()
            if time.monotonic() > deadline:
                problems = "; ".join(self.problems()) or "no slot says why"
                raise NotInTime(f"every slot serves {version}: not within {_SERVE_SECONDS:g} s: {problems}")
            time.sleep(0.1)
        self._say(f"{len(self._slots)} slots serve {version}")

    def problems(self) -> list[str]:
        healths = [slot_health(slot.port) for slot in self._slots]
        return sorted({str(health["problem"]) for health in healths if health and health.get("problem")})

    @property
    def slots(self) -> int:
        """How many slots each model of the stack has by default."""
        return self._options.slots

    @property
    def model_versions(self) -> ModelStore:
        return ModelStore(self._folder.path / "models")

    def rolled(self, version: str) -> dict[str, Any]:
        """The status of the ModelVersion of this version; empty while there is none."""
        for resource in self.model_versions.all():
            if resource["spec"]["version"] == version:
                return dict(resource.get("status") or {})
        return {}

    def verdict_seconds(self, version: str) -> float:
        """When the controller decided against it, by its own record, in seconds since the epoch.

        Raises RollcastError when it did not.
        """
        for resource in self.model_versions.all():
            if resource["spec"]["version"] != version:
                continue
            record = (self._folder.path / "records" / f"{resource['spec']['model']}.json").read_bytes()
            entry = decode_record(record).entries.get(resource["metadata"]["uid"])
            if entry is not None and entry.failure is not None:
                return entry.failure.time
        raise RollcastError(f"nobody wrote down when {version} was judged")

    def wait_for_phase(
        self, version: str, phase: str, *, timeout_seconds: float, meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """The status once it is in this phase. Raises NotInTime; also when it went another way for good."""
        deadline = time.monotonic() + timeout_seconds
        while (status := self.rolled(version)).get("phase") != phase:
            self.check()
            meanwhile()
            failure = status.get("lastFailure") or {}
            if status.get("phase") in ("Failed", "RolledBack") or time.monotonic() > deadline:
                why = failure.get("message") or "; ".join(self.problems()) or "no slot says why"
                raise NotInTime(f"{version} is {status.get('phase')}, not {phase}: {why}")
            time.sleep(0.05)
        return status

    def train(
        self,
        config: Path,
        data: Path | None,
        *,
        seed: int | None = None,
        output: Path | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> str:
        """Run the trainer to its end and return the version that it announced. Raises ChildDied.

        It is another program, as it is another container elsewhere. `meanwhile` is called several times a second.
        With `output` the model is left in that folder, and nothing is published.
        """
        log = self._logs / f"trainer-{int(time.time() * 1000)}.log"
        arguments = ["fit", "--config", str(config), "--log-format", "json"]
        arguments += ["--data", str(data)] if data else []
        arguments += ["--seed", str(seed)] if seed is not None else []
        arguments += ["--no-publish", "--output", str(output)] if output is not None else []
        child = start(
            [sys.executable, "-m", "rollcast_trainer", *arguments],
            role="trainer",
            log=log,
            environ=stack_environment(self.stack),
        )
        seen = 0
        trained: dict[str, Any] = {}
        try:
            while True:
                over = not child.alive
                lines = _lines(log.read_text(encoding="utf-8", errors="replace"), over=over)
                for line in lines[seen:]:
                    entry = _entry(line)
                    if entry.get("event") == "trained":
                        trained = entry
                    elif "seconds" in entry:
                        self._say(f"  trainer: {entry.get('event', '')} ({entry['seconds']:.1f} s)")
                        if entry.get("event") == "announcing":
                            self.announced_at = time.monotonic()
                seen = len(lines)
                if over:
                    break
                self.check()
                meanwhile()
                time.sleep(0.1)
        finally:
            child.stop(grace_seconds=5)
        if child.returncode != 0:
            raise ChildDied(f"trainer: {_entry(lines[-1]).get('event', lines[-1]) if lines else 'no output'}")
        self._say(_summary(trained))
        return str(trained["version"])

    def request_rows(self, config: Path, data: Path | None) -> Path:
        """The example's rows as a file that the source can replay. Raises ChildDied."""
        if data is not None:
            return data
        target = self._folder.path / "rows.jsonl"
        child = start(
            [sys.executable, "-m", "rollcast_trainer", "rows", "--config", str(config), "--output", str(target)],
            role="trainer",
            log=self._logs / "rows.log",
        )
        while child.alive:
            time.sleep(0.05)
        if child.returncode != 0:
            child.check()
        return target

    def start_source(self, rows: Path, *, rate: float, bad_every: int) -> Path:
        """Begin to stream; the returned journal holds what Kafka acknowledged."""
        self._sources += 1
        journal = self._folder.path / "journals" / f"accepted-{self._sources}.jsonl"
        lead = _EMBEDDED_LEAD if self.stack.broker == "embedded" else 0
        group = ModelIdentity(self.stack.installation, NAMESPACE, self._options.model).consumer_group
        self._source = start(
            [
                sys.executable,
                "-m",
                "rollcast_cli.stream_source",
                "--rows",
                str(rows),
                "--rate",
                str(rate),
                "--bad-every",
                str(bad_every),
                "--run",
                f"stream-{int(time.time())}-{self._sources}",
                "--journal",
                str(journal),
                *(["--group", group, "--max-lead", str(lead)] if lead else []),
            ],
            role="source",
            log=self._logs / "source.log",
            environ=stack_environment(self.stack),
        )
        self._write()
        return journal

    def stop_source(self) -> None:
        """End the stream; when this returns the journal is complete. Raises ChildDied when it was not."""
        if self._source is None:
            return
        self._source.stop(grace_seconds=35)
        if self._source.returncode != 0:
            self._source.check()
        self._source = None

    def _stop_slots(self) -> None:
        children = [*(slot.child for slot in self._slots), *self._leaving]
        if self._source is not None:
            self._source.stop(grace_seconds=5)
        for child in children:  # all at once: each drains by itself
            child.terminate()
        for child in children:
            child.stop(grace_seconds=15)


def _lines(text: str, *, over: bool) -> list[str]:
    """Of a log: while its writer is not over, the last line may be half of one, which is left for the next look."""
    return (text if over else text[: text.rfind("\n") + 1]).splitlines()


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _summary(trained: dict[str, Any]) -> str:
    if not trained:
        raise RollcastError("the trainer ended without saying what it trained")
    pairs = ", ".join(
        f"{name} {value:.3g} (dummy {trained['baseline_metrics'].get(name, float('nan')):.3g})"
        for name, value in trained["metrics"].items()
    )
    return (
        f"trained {trained['model']}@{trained['version']} on {trained['train_rows']} rows, "
        f"held out {trained['test_rows']}: {pairs}"
    )
