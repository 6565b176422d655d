"""One file, two judges: a real API server and `rollcast_rollout.validation` say the same about a ModelVersion.

`model_versions/good` and `bad` hold a file per case; a file with two documents creates the first and changes it into
the second. `unlike` holds what both refuse in words of their own, kubectl mostly before it asks the server.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.env.kubernetes import KubeApi, KubectlFailed

from rollcast_common.errors import ConfigError
from rollcast_rollout.schema import crd_text
from rollcast_rollout.validation import Violation, parse_model_versions, validate, with_defaults

FILES = Path(__file__).parent / "model_versions"
GOOD, BAD, UNLIKE = (sorted((FILES / folder).glob("*.yaml")) for folder in ("good", "bad", "unlike"))


def _name(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def namespace(kube_api: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> str:
    crd = tmp_path_factory.mktemp("crd") / "crd.yaml"
    crd.write_text(crd_text(), encoding="utf-8")
    kube_api.install_crd(crd)
    return kube_api.namespace()


def refusal(kube_api: KubeApi, namespace: str, path: Path) -> str:
    """What `kubectl apply` says of the file's last document."""
    with pytest.raises(KubectlFailed) as failed:
        kube_api.kubectl("apply", "--namespace", namespace, "--filename", str(path))
    return failed.value.said


def violations_of(said: str) -> set[tuple[str, str]]:
    """Path and message of each line, without the note that rules were left unasked and without examples in brackets."""
    unknown = re.findall(r'unknown field "([^"]+)"', said)
    if unknown:
        return {(path, f'unknown field "{path}"') for path in unknown}
    _, _, what = said.partition(" is invalid: ")
    found = re.findall(r"^(?:\* )?(\S+): (.*)$", what.strip(), re.MULTILINE)
    assert found, said
    return {(path, re.sub(r" \(e\.g\. .*\)$", "", message)) for path, message in found if path != "<nil>"}


def judged(path: Path) -> list[Violation]:
    """Of the file's last document, as a change of the one before it."""
    *before, last = parse_model_versions(path.read_text(encoding="utf-8"), path.name)
    assert not [violation for document in before for violation in validate(document)]
    return validate(last, before[-1] if before else None)


def stored(kube_api: KubeApi, namespace: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = kube_api.get("modelversion", name, "--namespace", namespace)["spec"]
    return spec


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 20
    assert len(GOOD) >= 10


@pytest.mark.parametrize("path", BAD, ids=_name)
def test_both_refuse_a_bad_file_with_the_same_words(kube_api: KubeApi, namespace: str, path: Path) -> None:
    said = violations_of(refusal(kube_api, namespace, path))
    assert {(violation.path, violation.message) for violation in judged(path)} == said


@pytest.mark.parametrize("path", UNLIKE, ids=_name)
def test_both_refuse_these_each_in_its_words(kube_api: KubeApi, namespace: str, path: Path) -> None:
    assert refusal(kube_api, namespace, path)
    if path.stem in {"a-list", "not-yaml", "nothing"}:
        with pytest.raises(ConfigError, match=rf"^{path.name}\b"):
            judged(path)
    else:
        assert judged(path)


@pytest.mark.parametrize("path", GOOD, ids=_name)
def test_both_accept_a_good_file_and_fill_in_the_same(kube_api: KubeApi, namespace: str, path: Path) -> None:
    assert judged(path) == []
    verb = "create"
    for document in parse_model_versions(path.read_text(encoding="utf-8"), path.name):
        name = document["metadata"]["name"]
        kube_api.kubectl(verb, "--namespace", namespace, "--filename", "-", stdin=json.dumps(document))
        verb = "replace"
        assert with_defaults(document)["spec"] == stored(kube_api, namespace, name)


def test_plain_apply_forgets_a_null_and_server_side_apply_keeps_it(
    kube_api: KubeApi, namespace: str, request: pytest.FixtureRequest
) -> None:
    """Hence the schema's word on it, and a number for every threshold that means never."""
    name = request.node.name.replace("_", "-")
    document = {
        "apiVersion": "rollcast.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": "wine-price",
            "version": "1",
            "artifact": {"uri": "s3://wines/1.skops"},
            "rollout": {"abort": {"costRatioAbove": None}},
        },
    }
    kube_api.apply(document)
    assert stored(kube_api, namespace, name)["rollout"]["abort"]["costRatioAbove"] == 2.0
    kube_api.kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", stdin=json.dumps(document))
    assert stored(kube_api, namespace, name)["rollout"]["abort"]["costRatioAbove"] is None
    assert with_defaults(document)["spec"]["rollout"]["abort"]["costRatioAbove"] is None


def test_kubectl_shows_and_explains(kube_api: KubeApi, namespace: str) -> None:
    head = kube_api.kubectl("get", "mv", "--namespace", namespace).splitlines()[0]
    assert head.split() == ["NAME", "MODEL", "VERSION", "PHASE", "WEIGHT", "READY", "REASON", "AGE"]
    assert kube_api.kubectl("get", "rollcast", "--namespace", namespace).splitlines()[0] == head
    assert "How predictions move to this version" in kube_api.kubectl("explain", "mv.spec.rollout")


def test_a_status_is_written_on_its_own_and_shown(kube_api: KubeApi, namespace: str) -> None:
    document = parse_model_versions((FILES / "good" / "least.yaml").read_text(encoding="utf-8"), "least.yaml")[0]
    document["metadata"] = {"name": "with-conditions", "namespace": namespace}
    kube_api.apply(document)
    ready = {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2022-08-19T12:00:00Z",
        "reason": "Live",
        "message": "serves all keys",
    }
    status = {
        "observedGeneration": 1,
        "sequence": 3,
        "phase": "Live",
        "conditions": [ready],
        "rollout": {"step": "Canary 2/3", "weight": 50, "since": "2022-08-19T12:00:00Z", "samples": 1234},
        "predictor": {"readySlots": 1, "slots": 2},
        "lastFailure": {"reason": "Aborted", "message": "m", "time": "2022-08-19T11:00:00Z", "version": "v"},
    }
    patch = json.dumps({"status": status})
    where = ("modelversion", "with-conditions", "--namespace", namespace)
    kube_api.kubectl("patch", *where, "--subresource", "status", "--type", "merge", "--patch", patch)
    assert kube_api.get(*where)["status"] == status
    row = kube_api.kubectl("get", *where, "--no-headers").split()
    assert row[:7] == ["with-conditions", "wine-price", "2022-08-19", "Live", "50", "True", "Live"]
