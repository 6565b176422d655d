"""A value does what it says, and a wrong one is refused in words that name it."""

from typing import Any

import pytest
import yaml
from tests.chart.conftest import Render
from tests.chart.rendered import CI, DEV, named, of_kind, pods
from tests.env.helm import HelmFailed

Json = dict[str, Any]

_LEAST = CI / "minimal-values.yaml"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nonsense": 1}, "'nonsense' not allowed"),
        ({"kafka.server": "k:1"}, "'server' not allowed"),
        ({"operator.replicas": 2}, "'replicas' not allowed"),
        ({"kafka.servers": "kafka"}, "/kafka/servers"),
        ({"kafka.securityProtocol": "TLS"}, "/kafka/securityProtocol"),
        ({"kafka.topics.names": {"request": "orders"}}, "request"),
        ({"s3.endpointUrl": "s3.example.com"}, "/s3/endpointUrl"),
        ({"models.namespaces": ["Wines"]}, "/models/namespaces/0"),
        ({"models.namespaces": ["a", "a"]}, "/models/namespaces"),
        ({"podSecurity.runAsUser": 0}, "/podSecurity/runAsUser"),
        ({"networkPolicy.apiServer.cidrs": ["10.0.0.1"]}, "/networkPolicy/apiServer/cidrs/0"),
        ({"trainers": {"m": {}}}, "missing property 'config'"),
        ({"trainers": {"m": {"config": {"model": "m", "task": "regression"}, "sched": "x"}}}, "'sched' not allowed"),
        ({"notifier.console.users": {"ann": {"token_sha256": "secret"}}}, "token_sha256"),
        ({"monitoring.podMonitors": "yes"}, "/monitoring/podMonitors"),
        ({"bridge.template": {"rollouts": {}}}, "'rollouts' not allowed"),
    ],
)
def test_the_schema_refuses(render: Render, settings: Json, said: str) -> None:
    with pytest.raises(HelmFailed, match=said):
        render(_LEAST, settings=settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kafka.securityProtocol": "SASL_SSL"}, "kafka.saslMechanism is missing"),
        (
            {"kafka.securityProtocol": "SASL_SSL", "kafka.saslMechanism": "SCRAM-SHA-512"},
            "kafka.secret.name is missing",
        ),
        (
            {"kafka.securityProtocol": "SASL_SSL", "kafka.saslMechanism": "PLAIN", "kafka.password": "p"},
            "kafka.username is missing",
        ),
        ({"kafka.username": "u"}, "which would not send them"),
        ({"kafka.ca.pem": "x"}, "which would not use them"),
        ({"kafka.secret.name": "a", "kafka.password": "b"}, "give one of them"),
        ({"kafka.securityProtocol": "SSL", "kafka.clientCertificate": "c"}, "kafka.clientKey is missing"),
        ({"s3.secret.name": "a", "s3.accessKeyId": "b", "s3.secretAccessKey": "c"}, "give one of them"),
        ({"s3.accessKeyId": "b"}, "belong together"),
        ({"notifier.console.enabled": True}, "needs notifier.console.usersSecret"),
        ({"notifier.console.ingress.enabled": True}, "needs notifier.console.enabled"),
        ({"dev.s3.enabled": True}, "s3.accessKeyId and s3.secretAccessKey are missing"),
    ],
)
def test_what_contradicts_itself_is_refused(render: Render, settings: Json, said: str) -> None:
    with pytest.raises(HelmFailed, match=said):
        render(_LEAST, settings=settings)


def test_images_have_one_registry_and_one_tag(render: Render) -> None:
    objects = render(_LEAST, settings={"image.registry": "registry.example.com/ml/", "image.tag": "7"})
    images = {container["image"] for _, pod in pods(objects) for container in pod["spec"]["containers"]}
    assert images == {f"registry.example.com/ml/rollcast-{name}:7" for name in ("operator", "notifier")}
    assert _operator_config(objects)["slots"]["image"] == "registry.example.com/ml/rollcast-predictor:7"
    default = _operator_config(render(_LEAST))["slots"]["image"]
    assert default == "rollcast-predictor:0.1.0"


def test_without_namespaces_models_are_in_that_of_the_release(render: Render) -> None:
    arguments = _arguments(render(_LEAST, namespace="shop"))
    assert "--watch-namespace=shop" in arguments
    assert "--installation=rollcast" in arguments
    assert _operator_config(render(_LEAST, namespace="shop"))["bridge"]["namespace"] == "shop"


def test_model_namespaces_get_the_settings_and_keep_them(render: Render) -> None:
    objects = render(
        _LEAST, settings={"models.namespaces": ["wines"], "s3.accessKeyId": "a", "s3.secretAccessKey": "b"}
    )
    assert "--watch-namespace=wines" in _arguments(objects)
    for kind, name in (("ConfigMap", "rollcast-kafka"), ("ConfigMap", "rollcast-s3"), ("Secret", "rollcast-s3")):
        kept = named(objects, kind, name, "wines")
        assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert "annotations" not in named(objects, kind, name, "ml")["metadata"]
    slots = _operator_config(objects)["slots"]
    assert (slots["kafka_config_map"], slots["s3_config_map"]) == ("rollcast-kafka", "rollcast-s3")
    assert slots["env_from_secrets"] == ["rollcast-s3"]


def test_cluster_wide_is_said_to_the_operator(render: Render) -> None:
    objects = render(CI / "cluster-wide-values.yaml")
    assert "--cluster-wide" in _arguments(objects)
    assert not [argument for argument in _arguments(objects) if argument.startswith("--watch-namespace")]


@pytest.mark.parametrize(
    ("setting", "api", "kind"),
    [
        ("monitoring.podMonitors", "monitoring.coreos.com/v1/PodMonitor", "PodMonitor"),
        ("monitoring.rules", "monitoring.coreos.com/v1/PrometheusRule", "PrometheusRule"),
        ("keda.authentication", "keda.sh/v1alpha1/TriggerAuthentication", "TriggerAuthentication"),
    ],
)
def test_what_others_bring_is_used_where_it_is(render: Render, setting: str, api: str, kind: str) -> None:
    values = CI / "mtls-values.yaml"
    auto, on, off = {setting: "auto"}, {setting: True}, {setting: False}
    rules = sorted((_LEAST.parents[1] / "rules").glob("*.yaml"))
    wanted = {"PodMonitor": 3, "PrometheusRule": len(rules), "TriggerAuthentication": 1}[kind]
    assert len(of_kind(render(values, settings=auto), kind)) == 0
    assert len(of_kind(render(values, settings=auto, apis=(api,)), kind)) == wanted
    assert len(of_kind(render(values, settings=on), kind)) == wanted
    assert len(of_kind(render(values, settings=off, apis=(api,)), kind)) == 0


def test_keda_gets_the_credentials_that_the_parts_have(render: Render) -> None:
    objects = render(CI / "sasl-scram-values.yaml")
    for namespace in ("wines", "beers"):
        spec = named(objects, "TriggerAuthentication", "rollcast-kafka", namespace)["spec"]
        assert _parameters(spec["secretTargetRef"]) == {
            "password": ("rollcast-user", "password"),
            "ca": ("shop-cluster-ca-cert", "ca.crt"),
        }
        assert _parameters(spec["configMapTargetRef"]) == {"username": ("rollcast-kafka", "username")}
        assert named(objects, "ConfigMap", "rollcast-kafka", namespace)["data"]["username"] == "rollcast"
    slots = _operator_config(objects)["slots"]
    assert slots["keda_authentication"] == "rollcast-kafka"
    assert slots["keda_trigger"] == {"tls": "enable", "sasl": "scram_sha512", "activationLagThreshold": "10"}
    mutual = named(render(CI / "mtls-values.yaml"), "TriggerAuthentication", "rollcast-kafka")["spec"]
    assert _parameters(mutual["secretTargetRef"]) == {
        "cert": ("rollcast-user", "user.crt"),
        "key": ("rollcast-user", "user.key"),
        "ca": ("shop-cluster-ca-cert", "ca.crt"),
    }


def _parameters(references: list[Json]) -> dict[str, tuple[str, str]]:
    return {reference["parameter"]: (reference["name"], reference["key"]) for reference in references}


def test_a_trainer_is_a_cron_job_that_waits_to_be_started(render: Render) -> None:
    objects = render(CI / "trainers-values.yaml")
    by_hand = named(objects, "CronJob", "rollcast-trainer-breast-cancer")["spec"]
    assert by_hand["suspend"] is True
    assert by_hand["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][-2:] == [
        "--version=v1",
        "--seed=7",
    ]
    nightly = named(objects, "CronJob", "rollcast-trainer-wine-price")["spec"]
    assert (nightly["suspend"], nightly["schedule"], nightly["timeZone"]) == (False, "30 2 * * 1-5", "Europe/Madrid")
    pod = nightly["jobTemplate"]["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert arguments[0] == "fit"
    assert {"--data=/data/wines_SPA.csv", "--signing-key=/etc/rollcast/signing-key/signing.pem"} <= set(arguments)
    assert {"name": "data", "configMap": {"name": "wines"}} in pod["volumes"]
    config = named(objects, "ConfigMap", "rollcast-trainer-wine-price")["data"]["train.yaml"]
    assert yaml.safe_load(config)["missing_values"] == ["", "N.V."]
    # A whole number stays one, however large: scikit-learn takes no other.
    assert yaml.safe_load(config)["estimator"]["params"] == {"learning_rate": 0.05, "max_iter": 1500000}
    assert nightly["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 1_000_000


def test_the_key_that_models_are_verified_with_reaches_the_slots(render: Render) -> None:
    slots = _operator_config(render(CI / "trainers-values.yaml"))["slots"]
    assert slots["env"] == {
        "ROLLCAST_BATCH_INTERVAL_SECONDS": "0.02",
        "ROLLCAST_HOST_MEMORY_BYTES": "2000000000",
        "ROLLCAST_STANDBY": "false",
        "ROLLCAST_VERIFY_KEY": "/etc/rollcast/verify-key/verify.pem",
    }
    assert slots["volumes"] == [{"name": "verify-key", "configMap": {"name": "signers"}}]
    assert slots["volume_mounts"] == [{"name": "verify-key", "mountPath": "/etc/rollcast/verify-key", "readOnly": True}]


def test_the_outbox_is_on_a_volume_that_stays(render: Render) -> None:
    spec = named(render(_LEAST), "StatefulSet", "rollcast-notifier")["spec"]
    assert spec["replicas"] == 1
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = spec["volumeClaimTemplates"]
    mounts = {m["name"]: m["mountPath"] for m in spec["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/rollcast"


def test_the_console_listens_to_others_only_with_users(render: Render) -> None:
    assert _variables(render(_LEAST))["ROLLCAST_CONSOLE_HOST"] == "127.0.0.1"
    assert [found for found in of_kind(render(_LEAST), "Service") if "console" in found["metadata"]["name"]] == []
    assert "ROLLCAST_CONSOLE_USERS" not in _variables(render(_LEAST))
    alone = render(_LEAST, settings={"notifier.console.usersSecret": "users"})
    assert _variables(alone)["ROLLCAST_CONSOLE_HOST"] == "127.0.0.1"
    assert _variables(alone)["ROLLCAST_CONSOLE_USERS"] == "/etc/rollcast/console/users.yaml"
    objects = render(CI / "console-values.yaml")
    assert _variables(objects, "rc-notifier")["ROLLCAST_CONSOLE_HOST"] == "0.0.0.0"  # noqa: S104  # of a pod
    assert _variables(objects, "rc-notifier")["ROLLCAST_CONSOLE_USERS"] == "/etc/rollcast/console/users.yaml"
    rule = named(objects, "Ingress", "rc-console")["spec"]["rules"][0]
    assert rule["host"] == "rollcast.example.com"
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "rc-console", "port": {"name": "console"}}


def test_without_a_notifier_nothing_of_it_is_left(render: Render) -> None:
    objects = render(_LEAST, settings={"notifier.enabled": False, "networkPolicy.enabled": True})
    assert [found["metadata"]["name"] for found in objects if "notifier" in found["metadata"]["name"]] == []
    assert "notifier" not in str(named(objects, "Pod", "rollcast-test")["spec"]["containers"][0]["args"][1:])


def test_pods_are_replaced_when_what_they_read_once_has_changed(render: Render) -> None:
    before = render(DEV)
    for change in ({"kafka.topics.prefix": "x-"}, {"s3.secretAccessKey": "another"}, {"s3.region": "eu-west-1"}):
        after = render(DEV, settings=change)
        for kind, name in (("Deployment", "rollcast-operator"), ("StatefulSet", "rollcast-notifier")):
            old, new = (named(o, kind, name)["spec"]["template"]["metadata"]["annotations"] for o in (before, after))
            assert old["rollcast.dev/config"] != new["rollcast.dev/config"], (change, name)
        slots = [_operator_config(o)["slots"]["pod_annotations"]["rollcast.dev/config"] for o in (before, after)]
        assert slots[0] != slots[1], change


def test_a_job_that_changes_gets_another_name(render: Render) -> None:
    def job(settings: Json) -> Json:
        (found,) = [o for o in of_kind(render(DEV, settings=settings), "Job") if "topics" in o["metadata"]["name"]]
        return found

    assert job({"kafka.topics.create.partitions": 4})["metadata"]["name"] != job({})["metadata"]["name"]
    assert job({"image.tag": "2"})["metadata"]["name"] != job({})["metadata"]["name"]
    assert job({"operator.threads": 8}) == job({})


def _operator_config(objects: list[Json]) -> Json:
    config: Json = yaml.safe_load(named(objects, "ConfigMap", "rollcast-operator")["data"]["operator_config.yaml"])
    return config


def _arguments(objects: list[Json]) -> list[str]:
    pod = named(objects, "Deployment", "rollcast-operator")["spec"]["template"]["spec"]
    arguments: list[str] = pod["containers"][0]["args"]
    return arguments


def _variables(objects: list[Json], name: str = "rollcast-notifier") -> dict[str, str]:
    pod = named(objects, "StatefulSet", name)["spec"]["template"]["spec"]
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
