"""Which slots run, and how: as the version wants them that is rolled out or serves."""

from dataclasses import replace as with_fields

from msgspec.structs import replace

from rollcast_rollout.answer import Workload
from rollcast_rollout.model_version import ModelVersion, Serving
from rollcast_rollout.record import Record
from rollcast_rollout.view import View

__all__ = ["with_serving", "workload", "workload_of_statuses"]


def with_serving(view: View, record: Record, target: ModelVersion | None) -> Record:
    """Remembers how slots are to run. What is live may outlive its ModelVersion, and is served as before.

    A version that is still verified changes nothing: only the one that rolls out may need another image. With nothing
    stable there is nothing to disturb, and slots take longest to start.
    """
    if record.ending_since is not None:
        return record
    rollout = record.rollout
    rolling = view.wanted(rollout.uid) if rollout is not None else None
    source = rolling or view.wanted(record.stable) or (target if record.assignment is None else None)
    if source is None:
        return record
    serving = _on_live_topics(source.serving, record)
    return record if serving == record.serving else replace(record, serving=serving)


def _on_live_topics(serving: Serving, record: Record) -> Serving:
    if record.topics is None:
        return serving
    return with_fields(serving, input_topic=record.topics.input, output_topic=record.topics.output)


def workload(view: View, record: Record) -> Workload | None:
    if record.ending_since is not None or record.serving is None:
        return None
    model = next((version.model for version in view.versions.values()), record.model)
    serving = record.serving
    return Workload(model, serving, None if serving.autoscaling is not None else serving.replicas)


def workload_of_statuses(view: View) -> Workload | None:
    """Without a record: what runs goes on as the version wants it that is live by its own status, or the newest."""
    wanted = [version for version in view.versions.values() if not version.deleting]
    best = max(wanted, key=lambda each: (each.status.get("phase") == "Live", each.created, each.name), default=None)
    if best is None:
        return None
    return Workload(best.model, best.serving, None if best.serving.autoscaling is not None else best.serving.replicas)
