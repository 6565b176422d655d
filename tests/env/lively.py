"""A lively console: a rollout under way, predictions, answers and dead letters, as a busy installation has them."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from tests.env.console import Kafkaesque
from tests.env.showcase import VERSION

from rollcast_common.contracts import Assignment, DeadLetterReason, PredictorStatus, ServedVersion
from rollcast_common.contracts.assignment import encode_assignment, salt_of
from rollcast_common.contracts.dead_letter import DeadLetter
from rollcast_common.contracts.predictor_status import TrackCounts, VersionReport, encode_predictor_status

__all__ = ["STABLE", "Lively", "flooded"]

_WINERIES = (
    *("Vega Sicilia", "Artadi", "Contador", "La Rioja Alta", "Marqués de Murrieta", "Álvaro Palacios", "Muga"),
    *("Dominio de Pingus", "Clos Erasmus", "Emilio Moro", "Ramón Bilbao", "Mas Doix", "Bodegas Mauro", "Contino"),
)
_REGIONS = ("Rioja", "Ribera del Duero", "Priorato", "Toro", "Rueda", "Rías Baixas")


def _served(version: str, digit: str) -> ServedVersion:
    return ServedVersion(
        version=version, uri=f"s3://wines-models/models/{version}.skops", format="skops", sha256=digit * 64
    )


STABLE = _served(VERSION, "a")
CANDIDATE = _served("2022-09-02", "b")


class Lively:
    """Writes what a rollout leaves on the topics, as fast as it is told."""

    def __init__(self, topics: Kafkaesque, seed: int = 7) -> None:
        self.topics = topics
        self._random = random.Random(seed)  # noqa: S311  # no secret: the same picture every time
        self._weight = 0.0
        self._generation = 0
        self.made = {"stable": 0, "candidate": 0}
        """Predictions, by track."""

    def assign(
        self, *, weight: float = 0.0, shadow: bool = False, candidate: bool = True, seconds_ago: float = 0.0
    ) -> None:
        self._generation += 1
        self._weight = weight
        has = {"candidate": CANDIDATE, "salt": salt_of(CANDIDATE.sha256), "rollout": 2} if candidate else {}
        self.topics.assign(
            encode_assignment(
                Assignment(
                    model=self.topics.identity.model,
                    generation=self._generation,
                    stable=STABLE,
                    weight=weight,
                    shadow=shadow,
                    **has,  # type: ignore[arg-type]  # fields of several types
                )
            ),
            int((time.time() - seconds_ago) * 1000),
        )

    def report(self) -> None:
        """Three slots; the last one has had trouble with the candidate."""
        for ordinal, partitions in enumerate((2, 1, 1)):
            share = partitions / 4
            status = PredictorStatus(
                slot=self.topics.identity.slot(ordinal),
                ordinal=ordinal,
                instance=f"instance-{ordinal}",
                time=time.time_ns() // 1_000_000,
                generation=self._generation,
                partitions=partitions,
                stable=VersionReport(version=STABLE.version, sha256=STABLE.sha256, state="ready"),
                candidate=VersionReport(version=CANDIDATE.version, sha256=CANDIDATE.sha256, state="ready"),
                serving=STABLE.sha256,
                stable_counts=TrackCounts(predictions=int(self.made["stable"] * share)),
                candidate_counts=TrackCounts(
                    predictions=int(self.made["candidate"] * share),
                    errors=3 * (ordinal == 2),
                    fallbacks=3 * (ordinal == 2),
                ),
            )
            self.topics.report(encode_predictor_status(status), ordinal)

    def predict(self, times: int) -> None:
        rng = self._random
        for _ in range(times):
            price = round(rng.lognormvariate(3.4, 0.8), 2)
            track = "candidate" if rng.random() * 100 < self._weight else "stable"
            self.made[track] += 1
            self.topics.predict(
                price,
                key=rng.choice(_WINERIES),
                version=CANDIDATE.version if track == "candidate" else STABLE.version,
                track="candidate" if track == "candidate" else "stable",
                features=self._wine(),
                took_ms=max(2, int(rng.lognormvariate(2.6, 0.5))),
            )

    def answers(self, times: int) -> None:
        """What wines really cost; the candidate is the better one."""
        rng = self._random
        for number in range(times):
            actual = round(rng.lognormvariate(3.5, 0.7), 2)
            version, spread = (CANDIDATE.version, 0.13) if number % 3 == 0 else (STABLE.version, 0.28)
            prediction = self.topics.predict(round(actual * rng.lognormvariate(0.03, spread), 2), version=version)
            self.topics.happened(prediction, actual)

    def refuse(self, times: int) -> None:
        rng = self._random
        kinds: list[tuple[DeadLetterReason, str, bytes | None]] = [
            (
                DeadLetterReason.WRONG_TYPE,
                "feature year: expected a number, was 'N.V.'",
                b'{"winery":"Muga","year":"N.V."}',
            ),
            (DeadLetterReason.MISSING_FEATURE, "feature region is missing", b'{"winery":"Contino","year":2016}'),
            (DeadLetterReason.NOT_JSON, "not JSON: invalid character (byte 17)", b'{"winery":"Artadi'),
            (DeadLetterReason.EMPTY, "the record has no value", None),
        ]
        for number in range(times):
            reason, message, value = rng.choices(kinds, weights=(9, 5, 3, 1))[0]
            letter = DeadLetter(
                reason=reason,
                message=message,
                source_topic="requests",
                source_partition=rng.randrange(4),
                source_offset=41_000 + 137 * number,
                model=self.topics.identity.model,
                version=STABLE.version,
                request_id=f"order-{7300 + number}",
            )
            self.topics.dead_letter(letter, value, rng.choice(_WINERIES))

    def _wine(self) -> dict[str, Any]:
        rng = self._random
        return {
            "year": rng.randrange(1998, 2020),
            "rating": round(rng.uniform(4.2, 4.9), 1),
            "region": rng.choice(_REGIONS),
            "body": rng.randrange(3, 6),
            "acidity": rng.randrange(1, 4),
        }


@contextmanager
def flooded(lively: Lively, a_second: int) -> Iterator[None]:
    """So many predictions a second, and the slots' reports, until the block ends."""
    over = threading.Event()
    step_seconds = 0.05

    def run() -> None:
        begun = time.monotonic()
        for step in count(1):
            lively.predict(round(a_second * step_seconds * step) - round(a_second * step_seconds * (step - 1)))
            if step % 10 == 0:
                lively.report()
            if over.wait(max(0.0, begun + step * step_seconds - time.monotonic())):
                return

    thread = threading.Thread(target=run, name="flood")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        lively.topics.flush()
