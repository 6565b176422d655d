"""A version as a slot needs it: these files, and no others."""

from dataclasses import dataclass, replace

from rollcast_common.artifacts import ArtifactRef, parse_uri
from rollcast_common.contracts import ArtifactFormat, ServedVersion

__all__ = ["Pinned", "pinned"]


@dataclass(frozen=True, slots=True)
class Pinned:
    model: str
    version: str
    artifact: ArtifactRef
    format: ArtifactFormat
    card: ArtifactRef | None = None
    signature: ArtifactRef | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.version}"

    @property
    def sha256(self) -> str:
        assert self.artifact.sha256 is not None  # noqa: S101  # an assignment always says it
        return self.artifact.sha256


def pinned(model: str, served: ServedVersion, *, bucket: str) -> Pinned:
    """Raises ConfigError when a uri is none. A bare key lies in `bucket`."""
    place = parse_uri(served.uri, bucket)
    return Pinned(
        model=model,
        version=served.version,
        artifact=ArtifactRef(place.bucket, place.key, served.sha256, served.size_bytes, served.version_id),
        format=served.format,
        card=_beside(served.card_uri, served.card_sha256, bucket),
        signature=_beside(served.signature_uri, served.signature_sha256, bucket),
    )


def _beside(uri: str | None, sha256: str | None, bucket: str) -> ArtifactRef | None:
    return replace(parse_uri(uri, bucket), sha256=sha256) if uri else None
