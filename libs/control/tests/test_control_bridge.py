"""What an announcement becomes."""

import pytest

from rollcast_common.contracts import ModelTrained
from rollcast_common.errors import ConfigError
from rollcast_control.bridge import BRIDGE_LABEL, model_version_for, name_for
from rollcast_rollout.validation import validate


@pytest.mark.parametrize(
    ("model", "version", "name"),
    [
        ("wine-price", "2022-08-19", "wine-price-2022-08-19"),
        ("wine-price", "2026-11-21T154539Z", "wine-price-2026-11-21t154539z"),
        ("wine", "v1.2", "wine-v1.2"),
        ("wine", "Año_2", "wine-a-o-2"),
        ("wine", "..", "wine"),
        ("wine", "a..b", "wine-a.b"),
        ("wine", "1-.-2", "wine-1.2"),
        ("w", "x" * 300, "w-" + "x" * 251),
    ],
)
def test_names_are_what_the_api_server_takes(model: str, version: str, name: str) -> None:
    assert name_for(model, version) == name


def test_a_model_version_of_an_announcement() -> None:
    event = ModelTrained(model="wine", version="v1", uri="models/v1.skops", format="skops", sha256="ab" * 32)
    made = model_version_for(
        event, bucket="mine", namespace="default", template={"serving": {"replicas": 3}, "rollout": {"steps": []}}
    )
    assert made["metadata"] == {"name": "wine-v1", "namespace": "default", "labels": {BRIDGE_LABEL: "true"}}
    assert made["spec"] == {
        "model": "wine",
        "version": "v1",
        "artifact": {"uri": "s3://mine/models/v1.skops", "format": "skops", "sha256": "ab" * 32},
        "serving": {"replicas": 3},
        "rollout": {"steps": []},
    }
    assert validate(made) == []


def test_without_a_digest_the_bytes_are_pinned_later() -> None:
    event = ModelTrained(model="wine", version="v1", uri="s3://b/v1.skops", format="skops")
    made = model_version_for(event, bucket="mine", namespace="default", template={})
    assert made["spec"]["artifact"] == {"uri": "s3://b/v1.skops", "format": "skops"}


def test_a_uri_that_is_none_is_refused() -> None:
    event = ModelTrained(model="wine", version="v1", uri="http://b/v1.skops", format="skops")
    with pytest.raises(ConfigError, match="artifact uri was"):
        model_version_for(event, bucket="mine", namespace="default", template={})
