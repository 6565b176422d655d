"""Which ModelVersion is desired."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.record import Record

__all__ = ["Conflict", "conflict_of", "desired_version"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """It wants other topics than those that are live."""

    message: str


def conflict_of(version: ModelVersion, record: Record) -> Conflict | None:
    live = record.topics
    if live is None:
        return None
    differences = [
        f"{field} is {wanted!r}, the live version's is {found!r}"
        for field, wanted, found in (
            ("inputTopic", version.serving.input_topic, live.input),
            ("outputTopic", version.serving.output_topic, live.output),
        )
        if wanted != found
    ]
    if not differences:
        return None
    return Conflict("; ".join(differences) + "; a model keeps its topics: use them, or another model name")


def desired_version(
    versions: Mapping[str, ModelVersion] | Iterable[ModelVersion], record: Record
) -> ModelVersion | None:
    """The highest sequence that has not failed, is not under deletion and has no conflict.

    What is stable stays desired in a conflict of its own making: it serves on the topics that it went live with.
    """
    several = versions.values() if isinstance(versions, Mapping) else versions
    eligible = [
        version
        for version in several
        if not version.deleting
        and (entry := record.entries.get(version.uid)) is not None
        and entry.failure is None
        and (record.stable == version.uid or conflict_of(version, record) is None)
    ]
    return max(eligible, key=lambda version: record.entries[version.uid].sequence, default=None)
