"""The web console as the service runs it, on a test's own topics, and who writes what it shows."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page

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
from rollcast_notifier.console.ports import Asker, Cards, ModelInfo
from rollcast_notifier.console.server import ConsoleServer
from rollcast_notifier.console.talking import Talk
from rollcast_notifier.console.users import Users, new_token
from rollcast_notifier.notification import Inbound

__all__ = ["Heard", "Kafkaesque", "RunningConsole", "console_of"]

INSTALLATION = "test"


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

    def models(self) -> list[ModelInfo]:
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

    def assign(self, value: bytes | None) -> None:
        self._produce("assignments", value, str(self.identity))

    def report(self, value: bytes, ordinal: int) -> None:
        self._produce("predictor_status", value, f"{self.identity}/{ordinal}")

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def _produce(
        self, topic: str, value: bytes | None, key: str | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._producer.produce(self.names.full(topic), value, key, headers=list(headers))
        self._producer.poll(0)


class RunningConsole:
    """Reachable, with the users ann and bob."""

    def __init__(self, server: ConsoleServer, live: Live, mailbox: Mailbox, tokens: dict[str, str]) -> None:
        self._server = server
        self.live = live
        self.mailbox = mailbox
        self.tokens = tokens
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


@contextmanager
def console_of(
    params: KafkaParams,
    folder: Path,
    *,
    channel: ConsoleChannel | None = None,
    mailbox: Mailbox | None = None,
    cards: Cards | None = None,
    asker: Asker | None = None,
    heard: Heard | None = None,
    host: str = "127.0.0.1",
    hosts: Sequence[str] = (),
) -> Iterator[RunningConsole]:
    """A console of its own port on a free one; without a channel it has one that tells `heard`."""
    made = {user: new_token(user) for user in ("ann", "bob")}
    users_file = folder / "users.yaml"
    users_file.write_text("users:\n" + "\n".join(new.lines for new in made.values()) + "\n")
    users = Users(users_file)
    mailbox = mailbox or Mailbox(folder / "outbox.db.console")
    if channel is None:
        channel = ConsoleChannel("console", mailbox, knows=lambda name: users.credential(name) is not None)
        channel.start(heard or Heard())
    live = Live(params, installation=INSTALLATION, namespace="default", group=f"{params.topics.prefix}test")
    talk = Talk(mailbox, lambda: channel, cards=cards or NoCards(), asker=asker or NoAsker())
    running: list[RunningConsole] = []

    def count(pages: int) -> None:
        running[0].open_pages = pages

    server = ConsoleServer(
        lambda closing: make_console(
            live, mailbox, talk, users, installation=INSTALLATION, hosts=hosts, on_sessions=count, closing=closing
        ),
        host=host,
        port=0,
    )
    running.append(RunningConsole(server, live, mailbox, {user: new.token for user, new in made.items()}))
    live.start()
    try:
        with server:
            yield running[0]
    finally:
        live.stop()
        mailbox.close()
