"""The errors of Rollcast. What a user can cause is one of these, and its text is one clear line.

RollcastError
├── ConfigError            a setting or argument is wrong: its name, what it was, what it may be
├── ContractError          a message on a topic is not what its contract says
├── DataError              a data set cannot be used
├── KafkaProblem           the broker, or the way to it
│   ├── KafkaUnavailable       not reachable now; trying again may help
│   ├── KafkaDenied            wrong credentials, no permission, TLS mismatch; trying again will not help
│   └── TopicMissing           a topic that must exist does not
├── ArtifactError          a model file cannot be used: an operator or a trainer must act
│   ├── ArtifactNotFound
│   ├── ArtifactExists         put-once: the key already holds other bytes
│   ├── DigestMismatch
│   ├── UntrustedArtifact      a format or a type that is not allowed here
│   ├── VersionMismatch        made with another scikit-learn minor
│   ├── GoldenRowsMismatch     the loaded model does not say what its card promises
│   └── UnusableModel          it loads, but cannot predict a row
├── StoreProblem           S3, or the way to it
│   ├── StoreUnavailable       not reachable now; trying again may help
│   └── StoreDenied            wrong credentials or no permission
└── CacheProblem           the local disk refuses (full, read-only)
"""

__all__ = [
    "ArtifactError",
    "ArtifactExists",
    "ArtifactNotFound",
    "CacheProblem",
    "ConfigError",
    "ContractError",
    "DataError",
    "DigestMismatch",
    "GoldenRowsMismatch",
    "KafkaDenied",
    "KafkaProblem",
    "KafkaUnavailable",
    "RollcastError",
    "StoreDenied",
    "StoreProblem",
    "StoreUnavailable",
    "TopicMissing",
    "UntrustedArtifact",
    "UnusableModel",
    "VersionMismatch",
]


_MOST_CHARACTERS = 2000


class RollcastError(Exception):
    """The root. `retryable` says whether the same call may succeed later without anyone acting."""

    retryable = False


class _Quoting(RollcastError):
    """Its text may quote a file or a message of somebody else's making, and is one bounded line all the same."""

    def __str__(self) -> str:
        text = super().__str__()
        if not text.isprintable():
            text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 2]} …"


class ConfigError(RollcastError):
    pass


class ContractError(_Quoting):
    pass


class DataError(RollcastError):
    pass


class KafkaProblem(RollcastError):
    pass


class KafkaUnavailable(KafkaProblem):
    retryable = True


class KafkaDenied(KafkaProblem):
    pass


class TopicMissing(KafkaProblem):
    pass


class ArtifactError(_Quoting):
    pass


class ArtifactNotFound(ArtifactError):
    pass


class ArtifactExists(ArtifactError):
    pass


class DigestMismatch(ArtifactError):
    def __init__(self, what: str, expected: str, actual: str, *, why: str | None = None) -> None:
        super().__init__(
            f"{what}: sha256 is {actual}, expected {expected}: {why}"
            if why
            else f"{what}: sha256 is {actual}, expected {expected}: the bytes are not the announced ones; "
            "upload the model again under a new version"
        )


class UntrustedArtifact(ArtifactError):
    pass


class VersionMismatch(ArtifactError):
    pass


class GoldenRowsMismatch(ArtifactError):
    pass


class UnusableModel(ArtifactError):
    pass


class StoreProblem(RollcastError):
    pass


class StoreUnavailable(StoreProblem):
    retryable = True


class StoreDenied(StoreProblem):
    pass


class CacheProblem(RollcastError):
    pass
