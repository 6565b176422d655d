"""The web console as the service runs it, on a test's own topics, and who writes what it shows."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page
from starlette.applications import Starlette
from tests.env.showcase import Answering

from rollcast_cli.local.processes import wait_until
from rollcast_common.contracts import GroundTruth, Prediction, ReceiptState, Track
from rollcast_common.contracts.dead_letter import DeadLetter, dead_letter_headers
from rollcast_common.contracts.ground_truth import encode_ground_truth
from rollcast_common.contracts.prediction import encode_prediction
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import ErrorWatch, KafkaParams, TopicNames, make_producer
from rollcast_notifier.console.app import make_console
from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.console.live import Live
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.console.server import ConsoleServer
from rollcast_notifier.console.talking import Talk
from rollcast_notifier.console.users import Users, new_token
from rollcast_notifier.inbound.ports import Asking, Model, Served
from rollcast_notifier.notification import Inbound, Receiver

__all__ = ["Heard", "Kafkaesque", "Parts", "RunningConsole", "console_of", "parts_of"]

INSTALLATION = "test"
_READING_SECONDS = 60.0


@dataclass
class Heard:
    """What the channel tells the service."""

    messages: list[Inbound] = field(default_factory=list)
    receipts: list[tuple[str, ReceiptState]] = field(default_factory=list)

    def receipt(self, _channel: str, external_id: str, state: ReceiptState, _reason: str | None = None) -> None:
        self.receipts.append((external_id, state))

    def message(self, inbound: Inbound) -> None:
        self.messages.append(inbound)


class NoCards:
    """Nothing is served."""

    def models(self) -> list[Model]:
        return []


class NoAsker:
    """Nothing can be asked."""

    def ask(self, *_: Any, **__: Any) -> str:
        raise KafkaUnavailable("Kafka at nowhere: writing requests: there is none in this test")


class Kafkaesque:
    """Writes to the topics as predictors and people do."""

    def __init__(self, params: KafkaParams, names: TopicNames, model: str = "wine-price") -> None:
        self.params = params
        self.names = names
        self.identity = ModelIdentity(INSTALLATION, "default", model)
        self._producer = make_producer(
            params,
            ErrorWatch(params.broker.servers),
            client_id="test-console",
            settings={"linger.ms": 5, "queue.buffering.max.messages": 1_000_000},
        )
        self._number = 0

    def predict(
        self,
        value: Any,
        *,
        key: str | None = None,
        version: str = "v1",
        track: Track = "stable",
        features: Any = None,
        took_ms: int = 12,
    ) -> Prediction:
        self._number += 1
        now = time.time_ns() // 1_000_000
        request_id = f"r-{self._number}"
        prediction = Prediction(
            prediction_id=self.identity.prediction_id(request_id),
            request_id=request_id,
            key=key,
            prediction=msgspec.Raw(json.dumps(value).encode()),
            model=self.identity.model,
            version=version,
            sha256="0" * 64,
            track=track,
            generation=1,
            request_time=now - took_ms,
            prediction_time=now,
            features=msgspec.Raw(json.dumps(features).encode()),
        )
        self._produce("app_messages", encode_prediction(prediction), key)
        return prediction

    def happened(self, prediction: Prediction, actual: Any) -> None:
        truth = GroundTruth(
            prediction_id=prediction.prediction_id,
            model=prediction.model,
            version=prediction.version,
            actual=msgspec.Raw(json.dumps(actual).encode()),
            prediction=prediction.prediction,
            source="console:ann",
            time=time.time_ns() // 1_000_000,
        )
        self._produce("feedback", encode_ground_truth(truth), prediction.prediction_id)

    def dead_letter(self, letter: DeadLetter, value: bytes | None, key: str | None = None) -> None:
        self._produce("dead_letters", value, key, dead_letter_headers(letter))

    def assign(self, value: bytes | None, time_ms: int = 0) -> None:
        """`time_ms` is the record's timestamp; 0 is now."""
        self._produce("assignments", value, str(self.identity), time_ms=time_ms)

    def report(self, value: bytes, ordinal: int) -> None:
        self._produce("predictor_status", value, f"{self.identity}/{ordinal}")

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def _produce(
        self,
        topic: str,
        value: bytes | None,
        key: str | None,
        headers: Sequence[tuple[str, bytes]] = (),
        time_ms: int = 0,
    ) -> None:
        self._producer.produce(self.names.full(topic), value, key, headers=list(headers), timestamp=time_ms)
        self._producer.poll(0)


@dataclass
class Parts:
    """A console that nobody serves yet: Kafka is read once `live` is started."""

    live: Live
    mailbox: Mailbox
    users_file: Path
    tokens: dict[str, str]
    make: Callable[..., Starlette]


class RunningConsole:
    """Reachable, with the users ann and bob."""

    def __init__(self, server: ConsoleServer, parts: Parts) -> None:
        self._server = server
        self.live = parts.live
        self.mailbox = parts.mailbox
        self.users_file = parts.users_file
        self.tokens = parts.tokens
        self.open_pages = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def enter(self, page: Page, user: str = "ann") -> None:
        """Log in as a person would."""
        page.goto(f"{self.url}/login")
        page.get_by_label("Name").fill(user)
        page.get_by_label("Token").fill(self.tokens[user])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("#connection[data-state=live]")


def parts_of(
    params: KafkaParams,
    folder: Path,
    *,
    channel: ConsoleChannel | None = None,
    mailbox: Mailbox | None = None,
    cards: Served | None = None,
    asker: Asking | None = None,
    heard: Heard | None = None,
    allows: Callable[[Receiver], bool] = lambda _: True,
) -> Parts:
    """For the users ann and bob. Without a channel it has one that tells `heard`; an asker that has a channel to
    answer on gets it.
    """
    made = {user: new_token(user) for user in ("ann", "bob")}
    users_file = folder / "users.yaml"
    users_file.write_text("users:\n" + "\n".join(new.lines for new in made.values()) + "\n")
    users = Users(users_file)
    box = mailbox or Mailbox(folder / "outbox.db.console")
    if channel is None:
        channel = ConsoleChannel("console", box, knows=lambda name: users.credential(name) is not None)
        channel.start(heard or Heard())
    if isinstance(asker, Answering):
        asker.channel = channel
    live = Live(params, installation=INSTALLATION, namespace="default", group=f"{params.topics.prefix}test")
    talk = Talk(box, lambda: channel, cards=cards or NoCards(), asker=asker or NoAsker(), allows=allows)

    def make(**options: Any) -> Starlette:
        return make_console(live, box, talk, users, installation=INSTALLATION, **options)

    return Parts(live, box, users_file, {user: new.token for user, new in made.items()}, make)


@contextmanager
def console_of(
    params: KafkaParams, folder: Path, *, hosts: Sequence[str] = (), **options: Any
) -> Iterator[RunningConsole]:
    """On a free port; the options are `parts_of`'s."""
    parts = parts_of(params, folder, **options)
    running: list[RunningConsole] = []

    def count(pages: int) -> None:
        running[0].open_pages = pages

    server = ConsoleServer(
        lambda closing: parts.make(hosts=hosts, on_sessions=count, closing=closing), host="127.0.0.1", port=0
    )
    running.append(RunningConsole(server, parts))
    parts.live.start()
    try:
        with server:
            wait_until(lambda: parts.live.is_reading, what="the console reads", timeout_seconds=_READING_SECONDS)
            yield running[0]
    finally:
        parts.live.stop()
        parts.mailbox.close()
