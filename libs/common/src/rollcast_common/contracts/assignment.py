"""What a model's slots are to serve: topic `assignments`, key = model identity, compacted.

An empty value (a tombstone) ends the model: its slots stop serving.
"""

import math
import re
from itertools import pairwise

import msgspec

from rollcast_common.contracts.model_trained import ArtifactFormat
from rollcast_common.contracts.versioning import decode_contract
from rollcast_common.errors import ContractError

__all__ = [
    "ASSIGNMENT_SCHEMA",
    "Assignment",
    "Label",
    "PredictionBins",
    "ServedVersion",
    "decode_assignment",
    "encode_assignment",
    "salt_of",
]

ASSIGNMENT_SCHEMA = "1.0"

Label = str | int | float | bool

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SALT = re.compile(r"[0-9a-f]{16}")


def salt_of(sha256: str) -> str:
    """The salt of a candidate's canary: the first 8 bytes of its digest, as 16 hexadecimal digits."""
    return sha256[:16]


class ServedVersion(msgspec.Struct, kw_only=True, frozen=True):
    """One version, pinned: these bytes and no others. `uri` is `s3://bucket/key`."""

    version: str
    uri: str
    format: ArtifactFormat
    sha256: str
    size_bytes: int | None = None
    version_id: str | None = None
    card_uri: str | None = None
    card_sha256: str | None = None
    signature_uri: str | None = None
    signature_sha256: str | None = None


class PredictionBins(msgspec.Struct, kw_only=True, frozen=True):
    """How predictions are counted, so that what two versions say can be compared.

    Numbers: bin i holds what is above `edges[i-1]` and at most `edges[i]`; there is one bin more than edges.
    Classes: bin i holds `classes[i]`; the last bin, of all other classes, has none.
    """

    edges: tuple[float, ...] = ()
    classes: tuple[Label, ...] = ()

    @property
    def count(self) -> int:
        return len(self.edges or self.classes) + 1


class Assignment(msgspec.Struct, kw_only=True, frozen=True):
    """Slots follow the highest generation that they have seen and never go back to a lower one.

    `weight` is the percentage of keys that the candidate answers. With `shadow` it scores every row besides,
    and none of its results is an output. `rollout` is the generation with which the candidate's rollout began:
    slots count from there. With `collect_samples` they report predictions of stable, of which bins are made.
    """

    schema: str = ASSIGNMENT_SCHEMA
    model: str
    generation: int
    stable: ServedVersion
    candidate: ServedVersion | None = None
    weight: float = 0.0
    salt: str | None = None
    shadow: bool = False
    rollout: int = 0
    bins: PredictionBins | None = None
    collect_samples: bool = False

    @property
    def seed(self) -> int:
        """The salt as the hash function wants it, an unsigned 64-bit number."""
        return int(self.salt, 16) if self.salt is not None else 0


_decoder = msgspec.json.Decoder(Assignment)
_encoder = msgspec.json.Encoder()


def encode_assignment(assignment: Assignment) -> bytes:
    return _encoder.encode(assignment)


def decode_assignment(data: bytes) -> Assignment:
    """Raises ContractError when `data` is no assignment of a known major, or one that cannot be followed."""
    assignment = decode_contract("Assignment", _decoder, data, major=1)
    for problem in _problems(assignment):
        raise ContractError(f"Assignment: {problem}")
    return assignment


def _problems(assignment: Assignment) -> list[str]:
    problems: list[str] = []
    if assignment.generation < 1:
        problems.append(f"generation was {assignment.generation}, may be 1 or more")
    if not 0 <= assignment.weight <= 100:  # noqa: PLR2004  # a percentage
        problems.append(f"weight was {assignment.weight}, may be 0 to 100")
    if assignment.candidate is None and (assignment.weight or assignment.shadow):
        problems.append("weight and shadow are a candidate's, and there is none")
    if assignment.salt is not None and not _SALT.fullmatch(assignment.salt):
        problems.append(f"salt was {assignment.salt[:80]!r}, may be 16 hexadecimal digits in lower case")
    if assignment.weight and assignment.salt is None:
        problems.append("a weight needs a salt")
    problems += _digest_problems("stable", assignment.stable) + _digest_problems("candidate", assignment.candidate)
    if assignment.bins is not None:
        problems += _bin_problems(assignment.bins)
    return problems


def _digest_problems(track: str, version: ServedVersion | None) -> list[str]:
    digests = {name: getattr(version, name, None) for name in ("sha256", "card_sha256", "signature_sha256")}
    return [
        f"{track}.{name} was {digest[:80]!r}, may be 64 hexadecimal digits in lower case"
        for name, digest in digests.items()
        if digest is not None and not _DIGEST.fullmatch(digest)
    ]


def _bin_problems(bins: PredictionBins) -> list[str]:
    if bool(bins.edges) == bool(bins.classes):
        return ["bins have either edges or classes"]
    if not all(math.isfinite(edge) for edge in bins.edges) or any(a >= b for a, b in pairwise(bins.edges)):
        return ["bins.edges may be finite numbers in ascending order"]
    return []
