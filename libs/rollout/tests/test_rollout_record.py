"""The record: small enough, readable by the next release, and untouched while nothing happens."""

from hashlib import sha256

import pytest

from rollcast_common.contracts import ServedVersion
from rollcast_common.errors import ContractError
from rollcast_rollout.artifact_identity import fingerprint_of
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import Observed, Pinned
from rollcast_rollout.plan import plan
from rollcast_rollout.record import Entry, Failure, Record, decode_record, encode_record
from rollcast_rollout.simulation import Behaviour, World, serve


def _version(number: int, **changes: object) -> ModelVersion:
    resource = {
        "metadata": {
            "uid": f"{number:08d}-1b4e-4c5a-9d1f-5b6f3b1e7a10",
            "name": f"wine-price-2022-08-19-{number}",
            "creationTimestamp": "2022-08-19T10:00:00Z",
            **changes,
        },
        "spec": {
            "model": "wine-price",
            "version": f"2022-08-19-{number}",
            "artifact": {"uri": f"s3://wines-models/models/wine-price/2022-08-19-{number}.skops"},
        },
    }
    return ModelVersion.from_resource(resource)


def _pin(version: ModelVersion) -> Pinned:
    digest = sha256(version.version.encode()).hexdigest()
    uri = version.artifact.uri
    return Pinned(
        ServedVersion(
            version=version.version,
            uri=uri,
            format="skops",
            sha256=digest,
            size_bytes=1_742_113,
            version_id="3/L4kqtJlcpXroDTDmJ",
            card_uri=uri + ".card.json",
            card_sha256=digest,
            signature_uri=uri + ".sig",
            signature_sha256=digest,
        )
    )


def _run(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.pass_time(1)
        world.settle()


def test_a_thousand_versions_fit() -> None:
    """All of them pinned once, all of them failed for long reasons, and 100 names of others remembered."""
    versions = [_version(number) for number in range(1_100)]
    entries = {
        version.uid: Entry(
            sequence=number + 1,
            fingerprint=fingerprint_of(version),
            verified=True,
            pin=_pin(version).served,
            failure=Failure(reason="ErrorRatioExceeded", message="m" * 300, time=1_660_903_200.5, rolled_back=True),
        )
        for number, version in enumerate(versions[:1_000])
    }
    pinned = {version.version: _pin(version).served.sha256 for version in versions}
    before = Record(model="wine-price", entries=entries, versions=pinned, next_sequence=1_001)
    made = plan(versions[:1_000], Observed(record=before), 1_660_903_300.0)
    assert made.record is not None
    assert len(made.record.entries) == len(made.record.versions) == 1_000
    assert len(encode_record(made.record)) < 500_000
    assert made.record.entries[versions[999].uid].pin is not None


def test_names_of_versions_are_remembered_after_their_resources_are_gone() -> None:
    world = World()
    first, second = _version(1), _version(2)
    for version in (first, second):
        world.create(version, _pin(version))
        _run(world, 5)
    world.delete(second.uid)
    _run(world, 2)
    again = ModelVersion.from_resource(
        {
            "metadata": {"uid": "new", "name": "new", "creationTimestamp": "2022-08-20T10:00:00Z"},
            "spec": {"model": "wine-price", "version": second.version, "artifact": {"uri": "s3://other/bytes.skops"}},
        }
    )
    served = ServedVersion(version=second.version, uri="s3://other/bytes.skops", format="skops", sha256="0" * 64)
    world.create(again, Pinned(served))
    _run(world, 2)
    assert world.resources["new"].status["lastFailure"]["reason"] == "VersionReused"


def test_an_idle_model_costs_no_write_however_much_it_serves() -> None:
    world = World()
    version = _version(1)
    world.create(version, _pin(version))
    _run(world, 5)
    writes, status = world.writes, dict(world.resources[version.uid].status)
    for _ in range(50):
        world.pass_time(1)
        serve(world, 100)
        world.report()
        world.settle()
    assert world.writes == writes
    assert world.resources[version.uid].status == status


def test_a_rollout_writes_by_steps_not_by_samples() -> None:
    world = World()
    for version in (_version(1), _version(2)):
        world.create(version, _pin(version))
        _run(world, 5)
    writes = world.writes
    for _ in range(300):
        world.pass_time(1)
        serve(world, 60, {"": Behaviour()})
        world.report()
        world.settle()
    assert world.resources[_version(2).uid].status["phase"] == "Live"
    assert world.writes - writes < 60


def test_another_major_is_refused() -> None:
    data = encode_record(Record(model="wine-price"))
    assert decode_record(data) == Record(model="wine-price")
    with pytest.raises(ContractError, match=r"schema 2\.0 is not known here"):
        decode_record(data.replace(b'"schema":"1.0"', b'"schema":"2.0"'))


def test_the_record_survives_its_own_encoding_in_the_middle_of_a_rollout() -> None:
    world = World()
    for version in (_version(1), _version(2)):
        world.create(version, _pin(version))
        _run(world, 5)
    serve(world, 600)
    assert world.record is not None
    assert encode_record(decode_record(world.record)) == world.record


def test_nothing_is_decided_while_nobody_knows_what_is_assigned() -> None:
    version = _version(1)
    made = plan([version], Observed(published=7), 0.0)
    assert made.record is None
    assert made.publish is None
    assert made.workload is not None, "what runs must not be taken down"
    away = plan([version], Observed(kafka_problem="no broker answers"), 0.0)
    assert (away.record, away.publish) == (None, None)
    assert away.workload is not None
