"""The command `rollcast-operator`."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import structlog
import typer
from kubernetes.config import ConfigException

from rollcast_common.artifacts import load_s3_params
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.kafka import (
    ErrorWatch,
    create_topics,
    load_kafka_params,
    make_admin,
    reach_broker,
    topic_specs,
)
from rollcast_common.logs import configure_logs
from rollcast_common.service import service_run
from rollcast_operator.app import run_operator
from rollcast_operator.kube import connect
from rollcast_operator.retiring import SlotSetting, retire
from rollcast_operator.settings import OperatorSettings, load_operator_config

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Rolls models out on Kubernetes: `kubectl apply` a ModelVersion, and predictions move to it, key by key.",
)


@app.command()
def run(
    installation: Annotated[
        str, typer.Option(envvar="ROLLCAST_INSTALLATION", help="Name of this installation, on Kafka, too.")
    ] = "rollcast",
    watch_namespace: Annotated[
        list[str] | None,
        typer.Option(envvar="ROLLCAST_WATCH_NAMESPACES", help="Whose ModelVersions are looked after; repeatable."),
    ] = None,
    cluster_wide: Annotated[
        bool,
        typer.Option("--cluster-wide", envvar="ROLLCAST_CLUSTER_WIDE", help="All namespaces; needs the ClusterRole."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="ROLLCAST_OPERATOR_CONFIG", help="operator_config.yaml: what predictor pods get, and the bridge."
        ),
    ] = None,
    predictor_image: Annotated[
        str | None, typer.Option(envvar="ROLLCAST_PREDICTOR_IMAGE", help="Goes over slots.image of the file.")
    ] = None,
    kafka_config: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_KAFKA_CONFIG", help="kafka_config.yaml; ROLLCAST_KAFKA_… variables override it."),
    ] = None,
    s3_config: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_S3_CONFIG", help="s3_config.yaml; ROLLCAST_S3_… variables override it."),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            envvar="ROLLCAST_ALLOW_PICKLE",
            help="DANGER: a pickle runs any code when it is loaded.",
        ),
    ] = False,
    threads: Annotated[
        int, typer.Option(envvar="ROLLCAST_THREADS", help="How many models are reconciled at the same time.")
    ] = 4,
    metrics_host: Annotated[str, typer.Option(envvar="ROLLCAST_METRICS_HOST")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(envvar="ROLLCAST_METRICS_PORT", help="/metrics, /healthz, /readyz; 0 takes a free port.")
    ] = 9109,
    log_format: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_FORMAT", help="json or console.")] = "json",
    log_level: Annotated[str, typer.Option(envvar="ROLLCAST_LOG_LEVEL")] = "info",
) -> None:
    """Look after the ModelVersions of some namespaces until SIGTERM or Ctrl-C.

    Of each model it runs a StatefulSet of predictors, and tells them over topic `assignments` what to serve. Killed at
    any moment, it goes on from what it wrote. One of them runs per installation (strategy Recreate). Example:

    \b
        kubectl apply --server-side -f modelversion-crd.yaml
        ROLLCAST_KAFKA_SERVERS=kafka:9092 ROLLCAST_S3_BUCKET=models \\
          rollcast-operator run --watch-namespace models --predictor-image registry/rollcast-predictor:0.1.0
        kubectl apply -f modelversion.yaml && kubectl get mv --watch

    The API server is found as kubectl finds it: in a pod by its ServiceAccount, else through KUBECONFIG.
    """
    with service_run("operator", log_format, retry_code=1) as (fmt, stopping):
        parts = load_operator_config(config, image=predictor_image)
        settings = OperatorSettings.from_mapping(
            {
                "installation": installation,
                "namespaces": tuple(watch_namespace or ()),
                "cluster_wide": cluster_wide,
                "slots": parts.slots,
                "bridge": parts.bridge,
                "allow_pickle": allow_pickle,
                "threads": threads,
                "metrics_host": metrics_host,
                "metrics_port": metrics_port,
            },
            source="command line and environment",
        )
        configure_logs("operator", fmt=fmt, level=log_level)
        # kopf says each try of a request; what ends its watching is said by who starts it again.
        for noisy in ("kopf", "aiohttp", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        run_operator(settings, load_kafka_params(kafka_config), load_s3_params(s3_config), stopping)


@app.command("topics")
def make_topics(
    kafka_config: Annotated[
        Path | None,
        typer.Option(envvar="ROLLCAST_KAFKA_CONFIG", help="kafka_config.yaml; ROLLCAST_KAFKA_… variables override it."),
    ] = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of every topic whose order is by key.")] = 6,
    replication: Annotated[int, typer.Option(min=-1, help="Replicas; -1: the broker's default.")] = -1,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long to look for Kafka before giving up.")] = 120.0,
) -> None:
    """Create what is missing of Rollcast's topics; what is there is left as it is.

    What `rollcast topics create` does, in an image that a cluster has anyway.
    """
    with _told_as_log():
        kafka = load_kafka_params(kafka_config)
        name = "rollcast-topics"
        reach_broker(kafka, client_id=name, timeout_seconds=timeout_seconds)
        servers = kafka.broker.servers
        admin = make_admin(kafka, ErrorWatch(servers), client_id=name)
        specs = topic_specs(kafka.topics, partitions=partitions)
        for topic, created in create_topics(admin, specs, replication=replication, servers=servers).items():
            structlog.get_logger().info("topic created" if created else "topic exists", topic=topic)


@app.command("retire")
def make_retire(
    deployment: Annotated[str | None, typer.Option(help="The operator's Deployment, to be stopped first.")] = None,
    namespace: Annotated[str, typer.Option(help="Where that Deployment is.")] = "default",
    watch_namespace: Annotated[
        list[str] | None,
        typer.Option(envvar="ROLLCAST_WATCH_NAMESPACES", help="Whose ModelVersions are released; repeatable."),
    ] = None,
    cluster_wide: Annotated[
        bool, typer.Option("--cluster-wide", envvar="ROLLCAST_CLUSTER_WIDE", help="Those of all namespaces.")
    ] = False,
    slot_setting: Annotated[
        list[str] | None,
        typer.Option(
            help="NAMESPACE/configmaps/NAME (or secrets, networkpolicies, triggerauthentications): deleted where there "
            "is neither a slot nor a ModelVersion; repeatable."
        ),
    ] = None,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long all of it may take.")] = 120.0,
) -> None:
    """Stop the operator and take its finalizers off, so that ModelVersions can be deleted without it.

    Predictors go on with what they serve, and an operator that is installed later goes on, too.
    """
    with _told_as_log():
        if cluster_wide == bool(watch_namespace):
            raise ConfigError("name the namespaces to release (--watch-namespace, repeatable), or --cluster-wide")
        try:
            kube = connect()
        except ConfigException as error:
            raise ConfigError(f"no way to the API server: {error}; run in a pod, or set KUBECONFIG") from None
        released = retire(
            kube,
            namespaces=watch_namespace or (),
            deployment=(namespace, deployment) if deployment else None,
            slot_settings=[SlotSetting.parse(text) for text in slot_setting or ()],
            timeout_seconds=timeout_seconds,
        )
        structlog.get_logger().info("the operator is retired", released=released)


@contextlib.contextmanager
def _told_as_log() -> Iterator[None]:
    """What a user can cause ends in one line and exit code 1."""
    configure_logs("operator", fmt="json")
    try:
        yield
    except RollcastError as error:
        structlog.get_logger().error("not done", problem=str(error), kind=type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    app()
