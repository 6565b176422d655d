"""Every pod runs with as little as it can, whatever the values say."""

from pathlib import Path

import pytest
from tests.chart.conftest import Render
from tests.chart.rendered import CI, FILES, containers, of_kind, pods

_KNOW_THE_API = {"operator", "retire"}


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_containers_cannot_gain_rights_or_write_to_their_image(render: Render, values: Path) -> None:
    for owner, pod in pods(render(values)):
        name = owner["metadata"]["name"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys(), name
        assert not [volume for volume in pod["spec"].get("volumes", ()) if "hostPath" in volume], name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_containers_say_what_they_need_and_how_they_are(render: Render, values: Path) -> None:
    for owner, pod in pods(render(values)):
        for container in containers(pod):
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, owner["metadata"]["name"]
            assert "memory" in container["resources"]["limits"], owner["metadata"]["name"]
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")
            if owner["kind"] in ("Deployment", "StatefulSet"):
                assert {"livenessProbe", "readinessProbe"} <= container.keys(), owner["metadata"]["name"]


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_only_who_talks_to_the_api_server_has_a_token(render: Render, values: Path) -> None:
    objects = render(values)
    for _, pod in pods(objects):
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        assert pod["spec"]["automountServiceAccountToken"] is (component in _KNOW_THE_API)
    assert {found["automountServiceAccountToken"] for found in of_kind(objects, "ServiceAccount")} <= {False}


@pytest.mark.parametrize("values", FILES, ids=lambda path: path.stem)
def test_a_service_or_a_budget_selects_the_pods_that_it_means(render: Render, values: Path) -> None:
    """No selector of the release matches a pod of another component, or none."""
    objects = render(values)
    found = list(pods(objects))
    for service in of_kind(objects, "Service"):
        matched = _matched(service["spec"]["selector"], found)
        assert len(matched) == 1, service["metadata"]["name"]
        ports = {port["name"] for container in containers(matched[0]) for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert len(_matched(budget["spec"]["selector"]["matchLabels"], found)) == 1
    for owner, pod in found:
        if owner["kind"] in ("Deployment", "StatefulSet"):
            selector = owner["spec"]["selector"]["matchLabels"]
            assert _matched(selector, found) == [pod]


def _matched(selector: dict[str, str], found: list[tuple[dict, dict]]) -> list[dict]:  # type: ignore[type-arg]  # JSON
    return [pod for _, pod in found if selector.items() <= pod["metadata"]["labels"].items()]


def test_with_network_policies_every_pod_has_its_own(render: Render) -> None:
    for values in FILES:
        objects = render(values, settings={"networkPolicy.enabled": True})
        policies = of_kind(objects, "NetworkPolicy")
        deny = next(p for p in policies if p["metadata"]["name"].endswith("-default-deny"))
        assert deny["spec"].keys() == {"podSelector", "policyTypes"}
        assert set(deny["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for owner, pod in pods(objects):
            labels = pod["metadata"]["labels"].items()
            matching = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= labels]
            assert deny in matching, owner["metadata"]["name"]
            assert len(matching) == 2, owner["metadata"]["name"]


def test_a_policy_opens_exactly_what_is_named(render: Render) -> None:
    objects = render(CI / "network-policies-values.yaml")
    policies = {
        (p["metadata"]["namespace"], p["metadata"]["name"]): p["spec"] for p in of_kind(objects, "NetworkPolicy")
    }
    proxy = ("192.0.2.7/32", 3128)
    kafka, s3, dns, api = ("kafka", 9092), ("s3", 7070), ("kube-system", 53), ("10.245.0.1/32", 6443)
    wanted = {
        ("ml", "rollcast-default-deny"): set(),
        ("ml", "rollcast-operator"): {dns, proxy, kafka, s3, api},
        ("ml", "rollcast-topics"): {dns, proxy, kafka},
        ("ml", "rollcast-retire"): {dns, proxy, api},
        ("ml", "rollcast-trainer"): {dns, proxy, kafka, s3},
        ("ml", "rollcast-notifier"): {dns, proxy, kafka, s3, ("0.0.0.0/0", 443)},
        ("ml", "rollcast-test"): {dns, proxy, ("own pods", 9109), ("own pods", 9110)},
        ("wines", "rollcast-predictor"): {dns, proxy, kafka, s3},
        ("beers", "rollcast-predictor"): {dns, proxy, kafka, s3},
    }
    assert {name: _openings(spec, "egress", "to") for name, spec in policies.items()} == wanted
    metrics = {"ml/rollcast-operator": 9109, "ml/rollcast-notifier": 9110, "wines/rollcast-predictor": 9108}
    for name, port in metrics.items():
        namespace, _, policy = name.partition("/")
        assert ("monitoring", port) in _openings(policies[namespace, policy], "ingress", "from")
    assert ("ingress-nginx", 8080) in _openings(policies["ml", "rollcast-notifier"], "ingress", "from")
    assert not {name for name, spec in policies.items() if set(spec["policyTypes"]) - {"Ingress", "Egress"}}


def _openings(spec: dict, direction: str, peers: str) -> set[tuple[str, int]]:  # type: ignore[type-arg]  # JSON
    found = set()
    for rule in spec.get(direction, ()):
        assert rule.get(peers), f"a rule without peers opens everything: {rule}"
        for peer in rule[peers]:
            if "ipBlock" in peer:
                who = peer["ipBlock"]["cidr"]
            elif "namespaceSelector" in peer:
                who = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            else:
                who = "own pods"
            found |= {(who, port["port"]) for port in rule["ports"]}
    return found


def test_no_secret_is_in_a_config_map_or_a_variable(render: Render) -> None:
    for values in ("sasl-inline", "mtls-inline"):
        for found in render(CI / f"{values}-values.yaml"):
            if found["kind"] != "Secret":
                assert "not-a-real" not in str(found), found["metadata"]["name"]
