"""What the guide says can be done: its values are rendered and checked, its commands name what is there."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.chart.conftest import Render
from tests.chart.rendered import DEV, ROOT

_GUIDE = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
_VALUES = re.findall(r"^### (.+?)$|^```yaml chart_values\n(.*?)^```$", _GUIDE, re.MULTILINE | re.DOTALL)
_FOREIGN = {"CustomResourceDefinition", "PodMonitor", "PrometheusRule", "TriggerAuthentication"}


def _blocks() -> list[tuple[str, str]]:
    """Each block of values, by the heading that it stands under."""
    found, heading = [], ""
    for title, text in _VALUES:
        heading = title or heading
        if text:
            found.append((heading, text))
    return found


@pytest.mark.parametrize(("heading", "text"), _blocks(), ids=[heading for heading, _ in _blocks()])
def test_the_values_of_the_guide_render(render: Render, tmp_path: Path, heading: str, text: str) -> None:
    file = tmp_path / "my-values.yaml"
    file.write_text(text, encoding="utf-8")
    objects = render(file, namespace="rollcast", apis=("monitoring.coreos.com/v1/PodMonitor",))
    assert len(objects) > 10, heading
    for found in objects:
        if found["kind"] not in _FOREIGN:
            kubernetes_validate.validate(found, "1.28", strict=True)


def test_the_guide_has_values_for_every_part() -> None:
    assert len(_blocks()) >= 14


def test_what_the_guide_names_on_kind_is_there(render: Render) -> None:
    there = {(o["kind"].lower(), o["metadata"]["name"]) for o in render(DEV)}
    images = {container["image"] for container in _containers(render(DEV))}
    section = _GUIDE.split("## Try it on kind")[1].split("\n## ")[0]
    for kind, name in re.findall(r"\b(deployment|statefulset|cronjob)/([a-z0-9-]+)", section):
        assert (kind, name) in there
    loaded = set(re.findall(r"rollcast-[a-z]+:[0-9.]+", section))
    assert {image for image in images if image.startswith("rollcast-")} <= loaded
    for path in re.findall(r"(?:charts|examples)/[\w./-]+\w", section):
        assert (ROOT / path).exists(), path


def test_the_example_of_a_model_lies_in_the_bucket_of_the_trial() -> None:
    bucket = yaml.safe_load(DEV.read_text(encoding="utf-8"))["s3"]["bucket"]
    for example in ROOT.glob("examples/*/modelversion.yaml"):
        spec = yaml.safe_load(example.read_text(encoding="utf-8"))["spec"]
        assert spec["model"] == example.parent.name
        assert spec["artifact"]["uri"] == f"s3://{bucket}/models/{spec['model']}/{spec['version']}.skops"


def _containers(objects: list[dict]) -> list[dict]:  # type: ignore[type-arg]  # JSON
    text = str([found.get("spec", {}) for found in objects])
    return [{"image": image} for image in re.findall(r"'image': '([^']+)'", text)]
