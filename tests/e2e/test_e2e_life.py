"""The life of an installation, in order: each test goes on where the one before ended, under traffic all the time."""

import json
import time

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from tests.e2e.cluster import names_of
from tests.e2e.images import IMAGES
from tests.e2e.installation import MODEL, NOTIFIER, OPERATOR, SLOTS, Installation, is_ready
from tests.e2e.notifications import KEY
from tests.e2e.parts import Parts
from tests.e2e.play import Play, report
from tests.e2e.probe import Probe
from tests.e2e.prometheus import prometheus
from tests.env.kubernetes import KubectlFailed
from tests.env.missing import missing

BURST = 40_000


def test_the_first_model_answers(installed: Installation, play: Play) -> None:
    installed.cluster.wait(lambda: play.reader.seen >= 500, "500 answers")
    play.check()
    assert len(installed.slots()) == 2


def test_a_canary_goes_live(installed: Installation, play: Play) -> None:
    installed.serve(play, 3.0, "v2")
    installed.wait_for_phase("v1", "Superseded")


def test_a_slot_is_deleted(installed: Installation, play: Play) -> None:
    slot = installed.slots()[0]["metadata"]
    with play.fault("slot deleted", slot["name"]):
        installed.cluster.kubectl("delete", "pod", slot["name"], "--wait=false")
        installed.wait_until_ready(SLOTS, 2, not_these=[slot["uid"]])


def test_a_bad_model_is_rolled_back(installed: Installation, play: Play) -> None:
    """It wants a feature that no request has. In the canary its rows are answered by the model before it."""
    bad = LinearRegression().fit(pd.DataFrame({"z": [1.0, 2.0]}), [1.0, 2.0])
    installed.apply_by_hand(bad, "bad", {"shadow": {"forSeconds": 0}})
    status = installed.wait_for_phase("bad", "RolledBack")["status"]
    assert "error" in str(status["lastFailure"]).lower()
    installed.wait_for_phase("v2", "Live")
    play.check()


def test_the_operator_is_deleted_during_a_rollout(installed: Installation, play: Play) -> None:
    (operator,) = installed.cluster.pods(OPERATOR)
    began = time.monotonic()
    made = installed.train(4.0, "v3")
    play.knows("v3", made["spec"]["artifact"]["sha256"], 4.0, since=began)
    installed.wait_for_phase("v3", "Canary")
    with play.fault("operator deleted", operator["metadata"]["name"]):
        installed.cluster.kubectl("delete", "pod", operator["metadata"]["name"], "--wait=false")
        installed.wait_until_ready(OPERATOR, 1, not_these=[operator["metadata"]["uid"]])
    installed.wait_for_phase("v3", "Live")


def test_every_slot_is_evicted_in_turn(installed: Installation, play: Play) -> None:
    slots = installed.slots()
    for slot, other in zip(slots, reversed(slots), strict=True):
        with play.fault("slot evicted", slot["metadata"]["name"]):
            installed.cluster.evict(slot["metadata"]["name"])
            with pytest.raises(KubectlFailed, match="disruption budget"):
                installed.cluster.evict(other["metadata"]["name"])
            installed.wait_until_ready(SLOTS, len(slots), not_these=[slot["metadata"]["uid"]])


@pytest.mark.notifier
def test_the_notifier_is_deleted(installed: Installation, play: Play) -> None:
    (notifier,) = installed.cluster.pods(NOTIFIER)
    with play.fault("notifier deleted", notifier["metadata"]["name"]):
        installed.cluster.kubectl("delete", "pod", notifier["metadata"]["name"], "--wait=false")
        installed.wait_until_ready(NOTIFIER, 1, not_these=[notifier["metadata"]["uid"]])
    play.check()


@pytest.mark.two_nodes
def test_a_node_is_drained(installed: Installation, play: Play) -> None:
    cluster = installed.cluster
    slot = installed.slots()[0]
    node = slot["spec"]["nodeName"]
    with play.fault("node drained", node):
        cluster.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "180s", seconds=200
        )
        try:
            installed.wait_until_ready(SLOTS, 2, not_these=[slot["metadata"]["uid"]])
            installed.wait_until_ready(OPERATOR, 1)
            assert node not in {pod["spec"]["nodeName"] for pod in installed.slots()}
        finally:
            cluster.kubectl("uncordon", node)
    play.check()


def test_an_upgrade_replaces_every_slot(installed: Installation, play: Play) -> None:
    before = [slot["metadata"]["uid"] for slot in installed.slots()]
    with play.fault("chart upgraded", "all"):
        installed.upgrade({"predictor": {"env": {"ROLLCAST_BATCH_ROWS": "1500"}}})
        installed.wait_until_ready(SLOTS, 2, not_these=before)
    play.check()


def test_network_policies_let_nothing_through_that_is_not_named(installed: Installation, play: Play) -> None:
    if not installed.around.policies:
        missing("the cluster does not enforce NetworkPolicies (E2E_NETWORK_POLICIES=0)")
    cluster = installed.cluster
    probe = Probe(cluster)
    probe.start()
    slot = installed.slots()[0]
    (operator,) = cluster.pods(OPERATOR)
    api, api_port = cluster.api_server()
    forbidden = [
        (slot["status"]["podIP"], 9108, probe.name),
        (operator["status"]["podIP"], 9109, probe.name),
        (api, api_port, slot["metadata"]["name"]),
    ]
    # What was blocked before would show nothing.
    for host, port, source in forbidden:
        assert probe.reaches(host, port, source=source), f"{source} does not reach {host}:{port} without policies"
    installed.upgrade({"networkPolicy": {"enabled": True, "apiServer": {"cidrs": [f"{api}/32"], "ports": [api_port]}}})
    cluster.wait(
        lambda: not any(probe.reaches(host, port, source=source) for host, port, source in forbidden),
        "nothing that is forbidden is reached any more",
    )
    # All that has to pass does: a slot that starts anew, a training, a rollout.
    with play.fault("slot deleted behind policies", slot["metadata"]["name"]):
        cluster.kubectl("delete", "pod", slot["metadata"]["name"], "--wait=false")
        installed.wait_until_ready(SLOTS, 2, not_these=[slot["metadata"]["uid"]])
    installed.serve(play, 5.0, "v4")
    probe.stop()


def test_helm_test_passes(installed: Installation, play: Play) -> None:
    installed.test()
    play.check()


def test_every_line_of_every_log_is_json(installed: Installation, play: Play) -> None:
    """Whoever collects them reads them by machine."""
    cluster = installed.cluster
    pods = [pod for part in (OPERATOR, SLOTS, NOTIFIER) for pod in cluster.pods(part)]
    for name in names_of(pods):
        for line in cluster.kubectl("logs", name).splitlines():
            assert json.loads(line)["event"], f"{name}: {line}"
    play.check()


@pytest.mark.full
def test_prometheus_reads_and_judges_every_part(installed: Installation, play: Play) -> None:
    """Its rules have expressions that a Prometheus takes, and it is let in through the policies."""
    cluster = installed.cluster
    targets = f'up{{namespace="{cluster.namespace}"}} == 1'
    wanted = {pod["metadata"]["name"] for pod in [*installed.slots(), *cluster.pods(OPERATOR)]}
    cluster.wait(
        lambda: (
            wanted <= {found["metric"].get("pod") for found in prometheus(cluster, "query", query=targets)["result"]}
        ),
        f"Prometheus reads {', '.join(sorted(wanted))}",
    )
    groups = {group["name"] for rules in cluster.items("prometheusrules") for group in rules["spec"]["groups"]}

    def loaded() -> bool:
        found = [group for group in prometheus(cluster, "rules")["groups"] if group["name"] in groups]
        return {group["name"] for group in found} == groups and all(
            rule["health"] == "ok" for group in found for rule in group["rules"]
        )

    cluster.wait(loaded, f"rules {', '.join(sorted(groups))} are evaluated", seconds=180)
    play.check()


@pytest.mark.full
def test_lag_brings_a_slot_more_and_its_end_takes_it_away(installed: Installation, play: Play) -> None:
    cluster = installed.cluster
    (live,) = [found for found in cluster.items("modelversions") if found["status"]["phase"] == "Live"]
    before = [slot["metadata"]["uid"] for slot in installed.slots()]
    # A transaction for each row: so that a burst takes slots minutes.
    installed.upgrade({"predictor": {"env": {"ROLLCAST_BATCH_ROWS": "1"}}})
    installed.wait_until_ready(SLOTS, 2, not_these=before)
    scaling = {"replicas": None, "autoscaling": {"min": 2, "max": 3, "lagThreshold": 200}}
    patch = json.dumps({"spec": {"serving": scaling}})
    cluster.kubectl("patch", "modelversion", live["metadata"]["name"], "--type", "merge", "--patch", patch)
    cluster.wait(lambda: is_ready(cluster.get("scaledobject", f"rollcast-{MODEL}")), "KEDA scales")

    def wanted() -> int:
        replicas: int = cluster.get("statefulset", f"rollcast-{MODEL}")["spec"]["replicas"]
        return replicas

    with play.fault("scaled up", "all"):
        play.client.ask(BURST)
        cluster.wait(lambda: wanted() == 3, "three slots are wanted", seconds=300)
        installed.wait_until_ready(SLOTS, 3)
    # What is left is done in seconds then. HPA looks back five minutes, and takes one slot.
    with play.fault("scaled down", "all"):
        installed.upgrade({"predictor": {"env": {"ROLLCAST_BATCH_ROWS": "2000"}}})
        cluster.wait(lambda: wanted() == 2, "two slots are wanted", seconds=900)
        installed.wait_until_ready(SLOTS, 2)
    play.check()


def test_nothing_was_lost_or_doubled(play: Play, parts: Parts) -> None:
    verdict, felt = play.end()
    parts.notes += report(verdict, felt)
    assert verdict.kept, verdict.violations
    assert verdict.requests > 1000


@pytest.mark.notifier
def test_everybody_was_told(installed: Installation, play: Play) -> None:
    """Of each prediction that a subscription names, whatever became of pods meanwhile."""
    predicted = play.predicted(KEY)
    assert predicted

    def told() -> bool:
        found = play.receipts()
        wrong = {receipt.state for receipt in found} - {"queued", "sent"}
        assert not wrong, wrong
        sent = {receipt.request_id for receipt in found if receipt.state == "sent"}
        assert sent <= predicted
        return sent == predicted

    installed.cluster.wait(told, f"a receipt of each of {len(predicted)} notifications")


def test_uninstalling_leaves_what_must_not_be_lost(installed: Installation) -> None:
    cluster = installed.cluster
    installed.remove_own()
    installed.uninstall()
    cluster.wait(lambda: not cluster.items("pods"), "no pod is left")
    outboxes = ["persistentvolumeclaim/outbox-rollcast-notifier-0"] if "rollcast-notifier" in IMAGES else []
    assert cluster.everything() == outboxes
    assert cluster.get("crd", "modelversions.rollcast.dev")
