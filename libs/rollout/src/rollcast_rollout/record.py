"""What the brain remembers: written before it is acted upon, read by whoever comes next. To a shell it is opaque.

It lies in a ConfigMap (1 MiB) or a file. So it is kept below 500 kB with 1,000 ModelVersions: fingerprints instead of
artifacts, pins only of those that may be wanted next, long messages only of the latest failures.
"""

from typing import Literal

import msgspec

from rollcast_common.contracts import Assignment, PredictionBins, ServedVersion
from rollcast_common.contracts.versioning import decode_contract
from rollcast_rollout.model_version import Serving

__all__ = [
    "RECORD_SCHEMA",
    "Entry",
    "Failure",
    "Problem",
    "Record",
    "RolloutState",
    "SlotBase",
    "Stage",
    "Tally",
    "Topics",
    "decode_record",
    "encode_record",
]

RECORD_SCHEMA = "1.0"

Stage = Literal["loading", "shadow", "canary", "promoting"]
"""`loading`: the candidate is assigned, and no slot's rows count yet. `promoting`: it is stable by now, and not every
slot has said so."""


class Tally(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The counters of a candidate that verdicts are made of. `compared_*` and `cost_bins` are of rows and batches
    that both versions scored.
    """

    rows: int = 0
    errors: int = 0
    predictions: int = 0
    timeouts: int = 0
    deaths: int = 0
    compared_rows: int = 0
    compared_errors: int = 0
    disagreements: int = 0
    candidate_bins: tuple[int, ...] = ()
    stable_bins: tuple[int, ...] = ()
    cost_bins: tuple[int, ...] = ()


class SlotBase(msgspec.Struct, frozen=True):
    """A slot's counters when a step began."""

    instance: str
    tally: Tally


class Failure(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`time` is in seconds since the epoch. `rolled_back`: it had been serving, in shadow or more."""

    reason: str
    message: str
    time: float
    rolled_back: bool = False


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no pin yet. Asked again at `retry_at`, in seconds since the epoch."""

    reason: str
    message: str
    attempts: int
    retry_at: float


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One ModelVersion. `fingerprint` is of its artifact; `digest` begins the sha256 that it names, if it names one."""

    sequence: int
    fingerprint: str
    digest: str | None = None
    verified: bool = False
    """Its bytes were pinned once; the pin itself is forgotten when it gets old."""

    pin: ServedVersion | None = None
    bins: PredictionBins | None = None
    """Its card's."""

    problem: Problem | None = None
    failure: Failure | None = None
    handled: str | None = None
    """The action that was obeyed and whose annotation has not gone yet."""

    paused: bool = False
    """By hand."""


class Topics(msgspec.Struct, frozen=True):
    input: str
    output: str


class RolloutState(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`id` is the generation with which it began; slots count from there. Times are in seconds since the epoch."""

    uid: str
    """Empty when the ModelVersion that is being promoted has been edited meanwhile."""

    id: int
    stage: Stage
    started: float
    step: int = 0
    since: float
    """When the step, or the stage, began."""

    blocked_since: float | None = None
    """Since when nothing but slots that are not there or not ready is waited for."""

    base: dict[int, SlotBase] = {}
    """Counters at the beginning of the step, by ordinal."""

    fast: bool = False
    """A way back, or promoted by hand: no shadow and no steps, only the gate and the verdicts."""

    first: bool = False
    """There was no stable before it, so there is nothing to go back to."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    schema: str = RECORD_SCHEMA
    model: str
    assignment: Assignment | None = None
    """The last one written. None: the topic is to hold nothing of this model."""

    generation: int = 0
    """The highest one ever used; it only grows, also over tombstones."""

    next_sequence: int = 1
    entries: dict[str, Entry] = {}
    """By uid."""

    versions: dict[str, str] = {}
    """Names of versions and the sha256 that each was pinned to: a name means the same bytes for ever."""

    stable: str | None = None
    """The uid of the ModelVersion that is stable. None also when that one was deleted or edited and still serves."""

    topics: Topics | None = None
    """Those of what is live."""

    serving: Serving | None = None
    """The last one that the workload was planned with: what is live may outlive its ModelVersion."""

    rollout: RolloutState | None = None
    fast: str | None = None
    """uid of the version to which somebody rolls back, and which therefore takes the fast way."""

    ending_since: float | None = None
    """When it was first seen that no ModelVersion is left that is not under deletion."""

    outage_since: float | None = None
    """Since when Kafka cannot be asked, while a rollout waits for it."""


_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


def encode_record(record: Record) -> bytes:
    """JSON. The schema stands even where it is the default: whoever reads it goes by it."""
    return _encoder.encode({"schema": record.schema, **msgspec.to_builtins(record)})


def decode_record(data: bytes) -> Record:
    """Raises ContractError when `data` is no record of a known major."""
    return decode_contract("Record", _decoder, data, major=1)
