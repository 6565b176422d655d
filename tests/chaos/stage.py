"""One play: topics, models, slots, and the actors who write down what happens."""

import hashlib
import time
from collections.abc import Callable
from typing import Literal, Self

from tests.chaos.actors import Client, Reader, Sampler, close_the_books
from tests.chaos.history import Announced, Event, Fault, Writer, read_history
from tests.chaos.models import save_line
from tests.chaos.slots import KeptSlot
from tests.chaos.telling import Telling
from tests.env.predictor import MODEL, World

from rollcast_cli.local.processes import wait_until
from rollcast_common.contracts import ModelTrained, ServedVersion

__all__ = ["PARTITIONS", "BadModel", "Stage"]

PARTITIONS = 4

BadModel = Literal["broken", "wrong-digest", "truncated", "bit-flipped"]
"""Broken and announced as it is; good and announced as another; good, and damaged where it lies."""


class Stage:
    def __init__(
        self,
        world: World,
        *,
        seed: int,
        per_second: float,
        models: int = 1,
        isolation: str = "read_committed",
        sabotage: tuple[str, str] | None = None,
        standby: bool = True,
        telling: bool = False,
        batch_deadline_seconds: float = 30.0,
    ) -> None:
        """With `telling` a notifier tells two receivers of a quarter of the answers."""
        self.world = world
        self.folder = world.folder / "history"
        self.folder.mkdir()
        self._sabotage = sabotage
        self._standby = standby
        self._batch_deadline_seconds = batch_deadline_seconds
        self._writer = Writer(self.folder / "stage.jsonl")
        self._files = [world.folder / f"v{number + 1}.pkl" for number in range(models)]
        slopes: dict[str, float] = {}
        for number, path in enumerate(self._files):
            save_line(number + 2.0, path)
            slopes[hashlib.sha256(path.read_bytes()).hexdigest()] = number + 2.0
        self._uploaded: dict[int, str] = {}
        """The uri of each model that is in the store."""
        self._digests = list(slopes)
        self._bad_ones = 0
        self._serving: ServedVersion | None = None
        self._overwritten = 0
        self.slots: dict[int, KeptSlot] = {}
        self.client = Client(
            world.kafka, world.names, self.folder / "client.jsonl", seed=seed, slopes=slopes, per_second=per_second
        )
        self.reader = Reader(world.kafka, world.names, self.folder / "reader.jsonl", isolation=isolation)
        self.telling = Telling(world.kafka, world.names, world.folder / "notifier") if telling else None
        self.sampler = Sampler(
            world.kafka,
            world.group,
            self.folder / "sampler.jsonl",
            slots=lambda: {slot.name: slot.health for slot in list(self.slots.values())},
        )

    # Models.

    @property
    def models(self) -> int:
        return len(self._files)

    def upload(self, number: int) -> None:
        if number not in self._uploaded:
            path = self._files[number]
            self._uploaded[number] = self.world.store.put_once(f"models/{path.name}", path).uri

    def announce(self, number: int) -> None:
        """A good model, put into the store if it is not there yet."""
        self.upload(number)
        version, digest = f"v{number + 1}", self._digests[number]
        self._writer.write([Announced(version=version, sha256=digest, time=time.monotonic())])
        uri = self._uploaded[number]
        self._serving = self.world.announce(
            ModelTrained(model=MODEL, version=version, uri=uri, format="pickle", sha256=digest)
        )

    def announce_overwritten(self, number: int) -> None:
        """A good model whose key holds another one by the time it is fetched: its version is still there."""
        self._overwritten += 1
        key = f"models/overwritten-{self._overwritten}.pkl"
        ref = self.world.store.put_once(key, self._files[number])
        other = self._files[(number + 1) % len(self._files)].read_bytes()
        self.world.store._client.put_object(Bucket=self.world.s3.bucket, Key=key, Body=other)
        version, digest = f"v{number + 1}", self._digests[number]
        self._writer.write([Announced(version=version, sha256=digest, time=time.monotonic())])
        event = ModelTrained(
            model=MODEL, version=version, uri=ref.uri, format="pickle", sha256=digest, version_id=ref.version_id
        )
        self._serving = self.world.announce(event)

    def announce_bad(self, how: BadModel, *, damage: Callable[..., None]) -> None:
        """A candidate that nobody may serve, so the history knows nothing of it. `damage` is the store's."""
        self._bad_ones += 1
        name = f"bad-{self._bad_ones}"
        key = f"models/{name}.pkl"
        path = self.world.folder / f"{name}.pkl"
        save_line(-1.0, path)
        if how == "broken":
            path.write_bytes(path.read_bytes()[:-20])
        ref = self.world.store.put_once(key, path)
        digest = hashlib.sha256(name.encode() if how == "wrong-digest" else path.read_bytes()).hexdigest()
        if how == "truncated":
            damage(key, lambda data: data[:-1])
        elif how == "bit-flipped":
            damage(key, lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        bad = ServedVersion(version=name, uri=ref.uri, format="pickle", sha256=digest)
        assert self._serving is not None
        self.world.assign(self._serving, bad, weight=50.0)

    # Slots.

    def add_slot(self, ordinal: int) -> KeptSlot:
        slot = KeptSlot(
            self.world,
            ordinal,
            sabotage=self._sabotage,
            standby=self._standby,
            batch_deadline_seconds=self._batch_deadline_seconds,
        ).start()
        self.slots[ordinal] = slot
        return slot

    def begin(self, slots: int = 1) -> None:
        """The first model is announced, and every partition has an owner before the first request."""
        self.announce(0)
        for ordinal in range(slots):
            self.add_slot(ordinal)

        def all_owned() -> bool:
            healths = [slot.health() for slot in self.slots.values()]
            ready = all(health.get("ready") and health["partitions"] for health in healths)
            return ready and sum(health["partitions"] for health in healths) == PARTITIONS

        wait_until(all_owned, what="every partition is owned", timeout_seconds=180)
        if self.telling is not None:
            self.telling.start()
        self.reader.start()
        self.sampler.start()
        self.client.start()

    def note(self, fault: Fault) -> None:
        self._writer.write([fault])

    def check(self) -> None:
        """Raises what ended an actor."""
        for actor in (self.client, self.reader, self.sampler):
            actor.check()

    def end(self, *, catch_up_seconds: float = 180.0) -> list[Event]:
        """Ask no more, let the slots catch up and go, and close the books. The whole history."""
        self.client.finish()

        def drain() -> None:
            self.sampler.stop()
            for slot in self.slots.values():
                slot.stop()

        close_the_books(
            self.world.kafka,
            self.world.names,
            self.world.group,
            self.folder / "books.jsonl",
            reader=self.reader,
            before_the_end=drain,
            catch_up_seconds=catch_up_seconds,
        )
        self.reader.stop()
        if self.telling is not None:
            self.telling.drain(self.reader.predicted)
            self.telling.stop(self.folder / "telling.jsonl")
        self._writer.close()
        return list(read_history(self.folder.glob("*.jsonl")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots.values():
            slot.kill()
        if self.telling is not None:
            self.telling.kill()
