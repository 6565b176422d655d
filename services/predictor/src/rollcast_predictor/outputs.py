"""From a scored batch to the records that go out for it. Pure, and the hot part of the streamer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from confluent_kafka import Message

from rollcast_common.contracts import DeadLetter, DeadLetterReason, Prediction, Track, request_id_of
from rollcast_common.contracts.dead_letter import dead_letter_headers
from rollcast_common.contracts.headers import header_texts
from rollcast_common.contracts.prediction import encode_prediction
from rollcast_predictor.answers import Answers, Origin
from rollcast_predictor.batch import Batch, Failure, headers_of

__all__ = ["Output", "OutputMaker", "Voice"]


class Output(NamedTuple):
    """A record to produce for row `row` of the batch; `reason` is None for a prediction."""

    row: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]] | None
    reason: DeadLetterReason | None


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: what a prediction says of the version that made it."""

    version: str
    sha256: str
    track: Track = "stable"
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class OutputMaker:
    """What does not change from row to row as long as one line-up plays."""

    identity: str
    model: str
    stable: Voice
    candidate: Voice | None
    generation: int
    app_messages: str
    dead_letters: str
    include_features: bool
    max_dead_letter_bytes: int

    def outputs(
        self, batch: Batch, answers: Answers, *, now_ms: int, refused: Mapping[int, str] | None = None
    ) -> list[Output]:
        """One record for every row that is ours: a prediction, or a dead letter saying why there is none.

        `refused` names rows whose prediction Kafka would not take in an earlier attempt.
        """
        failures: dict[int, Failure] = {
            row: (DeadLetterReason(reason), message) for row, reason, message in answers.errors
        }
        failures |= batch.failures
        for row, text in (refused or {}).items():
            failures[row] = (DeadLetterReason.OUTPUT_REFUSED, f"Kafka refused the prediction: {text}")
        outputs: list[Output] = []
        results = answers.results
        voices = self._voices(answers)
        stable = self.stable
        for row, message in enumerate(batch.messages):
            if row in batch.skipped:
                continue
            if failures and row in failures:
                outputs.append(self._dead_letter(row, message, failures[row]))
            else:
                voice = voices.get(row, stable) if voices else stable
                outputs.append(self._prediction(row, message, results[row], now_ms, voice))
        return outputs

    def shadow_outputs(self, batch: Batch, results: list[bytes], topic: str, *, now_ms: int) -> list[Output]:
        """What the candidate would have said, for topic `topic`; rows without a result are left out."""
        if self.candidate is None:
            return []
        return [
            self._prediction(row, message, result, now_ms, self.candidate)._replace(topic=topic)
            for row, (message, result) in enumerate(zip(batch.messages, results, strict=False))
            if result and row not in batch.skipped and row not in batch.failures
        ]

    def _voices(self, answers: Answers) -> dict[int, Voice]:
        if not answers.origins:
            return {}
        fallback = replace(self.stable, track="candidate", fallback=True)
        candidate = self.candidate or fallback
        return {row: candidate if origin is Origin.CANDIDATE else fallback for row, origin in answers.origins.items()}

    def _prediction(self, row: int, message: Message, result: bytes, now_ms: int, voice: Voice) -> Output:
        key = message.key()
        headers = headers_of(message)
        request_id = request_id_of(headers, message.topic(), message.partition(), message.offset())  # type: ignore[arg-type]  # a record without error has all three
        prediction = Prediction(
            prediction_id=f"{self.identity}:{request_id}",
            request_id=request_id,
            key=None if key is None else key.decode("utf-8", "replace"),
            prediction=msgspec.Raw(result),
            model=self.model,
            version=voice.version,
            sha256=voice.sha256,
            track=voice.track,
            fallback=voice.fallback,
            generation=self.generation,
            request_time=message.timestamp()[1],
            prediction_time=now_ms,
            features=msgspec.Raw((message.value() if self.include_features else None) or b"null"),
            headers=header_texts(headers) if headers else {},
        )
        return Output(row, self.app_messages, key, encode_prediction(prediction), None, None)

    def _dead_letter(self, row: int, message: Message, failure: Failure) -> Output:
        reason, text = failure
        value = message.value()
        size = len(value) if value is not None else 0
        truncated = size > self.max_dead_letter_bytes
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018  # as above
        headers = headers_of(message)
        letter = DeadLetter(
            reason=reason,
            message=text,
            source_topic=topic,
            source_partition=partition,
            source_offset=offset,
            model=self.model,
            version=self.stable.version,
            request_id=request_id_of(headers, topic, partition, offset),
            truncated=truncated,
            original_size_bytes=size if truncated else None,
        )
        return Output(
            row,
            self.dead_letters,
            message.key(),
            value[: self.max_dead_letter_bytes] if value is not None and truncated else value,
            [*(headers or ()), *dead_letter_headers(letter)],
            reason,
        )
