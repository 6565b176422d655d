"""Everything that all people see alike: read once, whoever looks."""

import time
from collections.abc import Sequence

from rollcast_common.contracts import Prediction, decode_prediction
from rollcast_common.contracts.assignment import decode_assignment
from rollcast_common.contracts.ground_truth import decode_ground_truth
from rollcast_common.contracts.predictor_status import decode_predictor_status
from rollcast_common.errors import ContractError
from rollcast_common.kafka import KafkaParams
from rollcast_notifier.console.accuracy import AccuracyBoard
from rollcast_notifier.console.letters import LetterBoard
from rollcast_notifier.console.models_board import ModelsBoard
from rollcast_notifier.console.predictions import PredictionLog
from rollcast_notifier.console.reader import Record, Source, TopicReader

__all__ = ["Live"]

_CLIENT_ID = "rollcast-notifier-console"


class Live:
    """The boards, and two readers that fill them: a flood of predictions delays no news of the models."""

    def __init__(self, kafka: KafkaParams, *, installation: str, namespace: str, group: str) -> None:
        """Raises ConfigError when librdkafka does not accept a property."""
        self._owner = f"{installation}/{namespace}/"
        self.predictions = PredictionLog()
        self.models = ModelsBoard()
        self.accuracy = AccuracyBoard()
        self.letters = LetterBoard()
        self._readers = [
            TopicReader(kafka, sources, client_id=_CLIENT_ID, group_id=f"{group}.console")
            for sources in (
                [Source("app_messages", self._take_predictions, last=300)],
                [
                    Source("assignments", self._take_assignments),
                    Source("predictor_status", self._take_statuses),
                    Source("feedback", self._take_feedback, last=5000),
                    Source("dead_letters", self._take_letters, last=500),
                ],
            )
        ]
        self.unreadable = 0

    @property
    def problem(self) -> str | None:
        """Why what is shown may be old; None while all is read."""
        return next((reader.problem for reader in self._readers if reader.problem), None)

    @property
    def is_reading(self) -> bool:
        return all(reader.is_reading for reader in self._readers)

    def start(self) -> None:
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        for reader in self._readers:
            reader.stop()

    def _take_predictions(self, records: Sequence[Record]) -> None:
        history: list[tuple[Prediction, int]] = []
        new: list[tuple[Prediction, int]] = []
        for record in records:
            try:
                prediction = decode_prediction(record.value or b"")
            except ContractError:
                self.unreadable += 1
                continue
            if prediction.prediction_id.startswith(self._owner):
                (history if record.is_history else new).append((prediction, len(record.value or b"")))
        now = time.time()
        # Partitions are read one after the other; people want to see them as they came.
        history.sort(key=lambda pair: pair[0].prediction_time)
        if history:
            self.predictions.add(history, now=now, counted=False)
        if new:
            self.predictions.add(new, now=now)

    def _take_assignments(self, records: Sequence[Record]) -> None:
        for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            if not key.startswith(self._owner):
                continue
            try:
                assignment = decode_assignment(record.value) if record.value else None
            except ContractError:
                self.unreadable += 1
                continue
            self.models.assign(key, assignment, record.time)

    def _take_statuses(self, records: Sequence[Record]) -> None:
        last = {record.key or b"": record for record in records}
        for raw, record in last.items():
            key = raw.decode("utf-8", "replace")
            if not key.startswith(self._owner):
                continue
            try:
                status = decode_predictor_status(record.value) if record.value else None
            except ContractError:
                self.unreadable += 1
                continue
            self.models.report(key, status)

    def _take_feedback(self, records: Sequence[Record]) -> None:
        for record in sorted(records, key=lambda record: record.time):
            try:
                truth = decode_ground_truth(record.value or b"")
            except ContractError:
                self.unreadable += 1
                continue
            if truth.prediction_id.startswith(self._owner):
                self.accuracy.add(truth)

    def _take_letters(self, records: Sequence[Record]) -> None:
        for record in sorted(records, key=lambda record: record.time):
            self.letters.add(record)
