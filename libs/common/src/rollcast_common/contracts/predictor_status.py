"""What a slot does: topic `predictor_status`, key = `<model identity>/<ordinal>`, compacted.

Its own plain producer writes it, several times a second while a candidate is there and at least once a second
else. All counts are cumulative since the instance began to count for `rollout`, and are made after the commit.
"""

import math
from typing import Literal

import msgspec

from rollcast_common.contracts.assignment import Label
from rollcast_common.contracts.versioning import decode_contract

__all__ = [
    "COST_BINS",
    "PREDICTOR_STATUS_SCHEMA",
    "Comparison",
    "LoadState",
    "PredictorStatus",
    "TrackCounts",
    "VersionReport",
    "cost_bin",
    "cost_ratio",
    "decode_predictor_status",
    "encode_predictor_status",
]

PREDICTOR_STATUS_SCHEMA = "1.0"

_OCTAVES = 3
_BINS_AN_OCTAVE = 8
COST_BINS = 2 * _OCTAVES * _BINS_AN_OCTAVE + 2

LoadState = Literal["loading", "ready", "refused", "failed"]
"""`refused`: will never be served. `failed`: cannot be served now, is tried again."""


def cost_bin(ratio: float) -> int:
    """The bin of a ratio candidate / stable: an eighth of an octave wide, from 1/8 to 8; the outer two are open."""
    steps = math.ceil(math.log2(ratio) * _BINS_AN_OCTAVE) if ratio > 0 else -math.inf
    return int(min(max(steps + _OCTAVES * _BINS_AN_OCTAVE, 0), COST_BINS - 1))


def cost_ratio(index: int) -> float:
    """The middle (in logarithms) of a bin; of an open one, its edge."""
    if index <= 0:
        return float(2.0**-_OCTAVES)
    if index >= COST_BINS - 1:
        return float(2.0**_OCTAVES)
    return float(2.0 ** ((index - 0.5) / _BINS_AN_OCTAVE - _OCTAVES))


class VersionReport(msgspec.Struct, kw_only=True, frozen=True):
    """How a slot stands to a version that it is assigned. `reason` is a word for machines, `message` a line."""

    version: str
    sha256: str
    state: LoadState
    reason: str | None = None
    message: str | None = None


class TrackCounts(msgspec.Struct, kw_only=True):
    """`rows` were scored for this track's outputs; of these `errors` failed. A row that cannot be decoded, or that
    both versions fail, counts for neither. `fallbacks` are candidate rows that stable answered: its errors, and rows
    that came while it could not be asked. `predictions` are outputs on this track. `bins` counts predictions, in
    shadow the candidate's own, in the assignment's bins; empty until there are bins.
    """

    rows: int = 0
    errors: int = 0
    fallbacks: int = 0
    predictions: int = 0
    timeouts: int = 0
    deaths: int = 0
    bins: list[int] = []


class Comparison(msgspec.Struct, kw_only=True):
    """Rows that both versions scored: in shadow, and every 20th canary batch.

    `cost_bins[i]` batches had a ratio of scoring times candidate / stable in bin i (`cost_bin`). `skipped` rows were
    to be compared, and the candidate was not done with others.
    """

    rows: int = 0
    errors: int = 0
    """Rows that the candidate failed and stable did not."""

    disagreements: int = 0
    skipped: int = 0
    cost_bins: list[int] = msgspec.field(default_factory=lambda: [0] * COST_BINS)


class PredictorStatus(msgspec.Struct, kw_only=True):
    """`instance` is new with every start of a process: counts begin at 0 again. `time` is in milliseconds since the
    epoch, of the slot's own clock. `generation` is the assignment's whose routing is in effect.
    """

    schema: str = PREDICTOR_STATUS_SCHEMA
    slot: str
    ordinal: int
    instance: str
    time: int
    generation: int
    partitions: int = 0
    stable: VersionReport | None = None
    candidate: VersionReport | None = None
    serving: str | None = None
    """The sha256 of the version that answers on track stable; it may not be the assigned one yet."""

    rollout: int = 0
    stable_counts: TrackCounts = msgspec.field(default_factory=TrackCounts)
    candidate_counts: TrackCounts = msgspec.field(default_factory=TrackCounts)
    comparison: Comparison = msgspec.field(default_factory=Comparison)
    samples: list[Label] = []
    """Predictions of stable, the first ones since samples are collected."""

    last_error: str | None = None


_decoder = msgspec.json.Decoder(PredictorStatus)
_encoder = msgspec.json.Encoder()

encode_predictor_status = _encoder.encode


def decode_predictor_status(data: bytes) -> PredictorStatus:
    """Raises ContractError when `data` is no status of a known major."""
    return decode_contract("PredictorStatus", _decoder, data, major=1)
