"""A client that never stops asking while the cluster is worked on, and the judge of what was answered."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.chaos.actors import BAD_RECORDS, Client, Reader, Sampler, close_the_books
from tests.chaos.checker import Limits, Verdict, judge
from tests.chaos.history import Accepted, Announced, Event, Fault, Result, Writer, read_history
from tests.chaos.report import recoveries
from tests.e2e.notifications import receipts
from tests.e2e.readiness import Readiness

from rollcast_common.contracts.receipt import Receipt
from rollcast_common.errors import RollcastError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams, TopicNames

__all__ = ["Play", "report"]

_LIMITS = Limits(unready_seconds=20.0, unowned_seconds=60.0, catch_up_seconds=60.0)
_SEED = 1


class Play:
    def __init__(
        self,
        kafka: KafkaParams,
        names: TopicNames,
        identity: ModelIdentity,
        folder: Path,
        *,
        ready: Readiness,
        per_second: float = 50.0,
    ) -> None:
        self._kafka, self._names, self._folder = kafka, names, folder
        self._ready = ready
        self._group = identity.consumer_group
        folder.mkdir(exist_ok=True)
        self._writer = Writer(folder / "play.jsonl")
        self._slopes: dict[str, float] = {}
        self.is_over = False
        self.client = Client(
            kafka,
            names,
            folder / "client.jsonl",
            seed=_SEED,
            slopes=self._slopes,
            per_second=per_second,
            bad_share=0.01,
            # To a model whose card says what it was trained on, a value that is not there is only unknown.
            bad=[make for name, make in BAD_RECORDS.items() if name != "another feature"],
        )
        self.reader = Reader(kafka, names, folder / "reader.jsonl")
        self._sampler = Sampler(kafka, self._group, folder / "sampler.jsonl", slots=ready.slots)

    def knows(self, version: str, sha256: str, slope: float, *, since: float) -> None:
        """A model that may answer, from then on (by the monotonic clock), `slope * x`."""
        self._slopes[sha256] = slope
        self._writer.write([Announced(version=version, sha256=sha256, time=since)])

    def start(self) -> None:
        self._ready.start()
        self.reader.start()
        self._sampler.start()
        self.client.start()

    @contextmanager
    def fault(self, kind: str, target: str) -> Iterator[None]:
        """Whatever is done to the cluster within the block."""
        began = time.monotonic()
        yield
        self._writer.write([Fault(kind=kind, target=target, time=began, until=time.monotonic())])

    def check(self) -> None:
        for actor in (self.client, self.reader, self._sampler):
            actor.check()

    def end(self) -> tuple[Verdict, dict[str, float]]:
        """Ask no more, let the slots catch up, and judge. With the verdict: how long each kind of fault was felt."""
        self.is_over = True
        self.client.finish()
        close_the_books(self._kafka, self._names, self._group, self._folder / "books.jsonl", reader=self.reader)
        self._sampler.stop()
        self._ready.stop()
        self.reader.stop()
        self._writer.close()
        events = [self._with_all_models(event) for event in read_history(sorted(self._folder.glob("*.jsonl")))]
        felt = {kind: max(seconds) for kind, seconds in recoveries(events).items()}
        return judge(events, _LIMITS), felt

    def predicted(self, key: str) -> set[str]:
        """The ids of the requests with this key that were answered by a prediction."""
        events = read_history([self._folder / "reader.jsonl"])
        return {event.id for event in events if isinstance(event, Result) and event.key == key}

    def receipts(self) -> list[Receipt]:
        return receipts(self._kafka, self._names)

    def give_up(self) -> None:
        """After a test that failed: nothing is judged, and nobody is left behind."""
        if self.is_over:
            return
        self.is_over = True
        for actor in (self.client, self._sampler, self.reader):
            with contextlib.suppress(RollcastError):
                actor.stop()
        self._ready.stop()
        self._writer.close()

    def _with_all_models(self, event: Event) -> Event:
        """A request may be answered by a model that was trained after it was sent."""
        if not isinstance(event, Accepted) or not event.expected:
            return event
        digest, value = next(iter(event.expected.items()))
        x = value / self._slopes[digest]
        return msgspec.structs.replace(event, expected={known: slope * x for known, slope in self._slopes.items()})


def report(verdict: Verdict, felt: dict[str, float]) -> list[str]:
    counts = (
        f"{verdict.requests} requests: {verdict.predictions} predictions, {verdict.dead_letters} dead letters, "
        f"{verdict.lost} lost, {verdict.doubled} doubled, {verdict.out_of_order} out of order, {verdict.wrong} wrong; "
        f"the longest time without an answer was {verdict.longest_gap_seconds:.1f} s"
    )
    waits = [f"{seconds:6.1f} s until all was answered again: {kind}" for kind, seconds in sorted(felt.items())]
    return [counts, *waits]
