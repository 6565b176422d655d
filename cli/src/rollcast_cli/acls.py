"""The command `rollcast acls`: which rights on Kafka whom to give."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType  # where their types are
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType  # the same
from rich.console import Console
from rich.table import Table

from rollcast_cli.acl_formats import Grant, as_json, kafka_acls, parse_principals, strimzi
from rollcast_cli.console import one_line_errors, print_json
from rollcast_common.config import environment_overrides
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import (
    ABOUT_ROLES,
    ErrorWatch,
    KafkaParams,
    Role,
    Scope,
    TopicNames,
    load_kafka_params,
    make_admin,
    problem_from,
    reach_broker,
    rights,
)
from rollcast_common.kafka.params import ENVIRONMENT

__all__ = ["bindings", "give", "register"]

_FORMATS = ("kafka-acls", "strimzi", "table", "json")
_CREATE_SECONDS = 30.0


def register(app: typer.Typer) -> None:
    app.command()(acls)


def acls(
    role: Annotated[
        list[str] | None, typer.Option(help=f"Only these, repeatable; default: all. One of {', '.join(Role)}.")
    ] = None,
    principal: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=PRINCIPAL", help="Who it is, repeatable; default: ROLE=User:rollcast-ROLE."),
    ] = None,
    output: Annotated[str, typer.Option("--format", help=f"One of {', '.join(_FORMATS)}.")] = "kafka-acls",
    installation: Annotated[
        str, typer.Option(envvar="ROLLCAST_INSTALLATION", help="As the operator and the slots are told.")
    ] = "rollcast",
    namespace: Annotated[
        str | None, typer.Option(help="Predictors of the models in this namespace only; default: of all.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Predictors of this model only; needs --namespace.")] = None,
    client_groups: Annotated[
        str | None,
        typer.Option(help="What clients' consumer groups begin with; default: rollcast-client.INSTALLATION."),
    ] = None,
    cluster: Annotated[str, typer.Option(help="For --format strimzi: the name of the Kafka resource.")] = "my-cluster",
    command_config: Annotated[
        str, typer.Option(help="For --format kafka-acls: how kafka-acls.sh logs in.")
    ] = "admin.properties",
    apply: Annotated[
        bool, typer.Option("--apply", help="Give the rights, as the user of kafka_config.yaml, who must be allowed to.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --apply: do not ask.")] = False,
    kafka_config: Annotated[
        Path | None,
        typer.Option(
            envvar="ROLLCAST_KAFKA_CONFIG", help="kafka_config.yaml: topics' names and prefix, and the servers."
        ),
    ] = None,
) -> None:
    """Print the least rights on Kafka that each part of Rollcast needs; --apply gives them.

    Of each topic, group and transactional id: who may do what with it, and nothing more. Kafka lets who may read or
    write describe, too. No broker is asked unless --apply is given. Names come from kafka_config.yaml or the
    environment (ROLLCAST_TOPIC_PREFIX, ROLLCAST_TOPIC_REQUESTS, ...), else they are the default ones.

    \b
    Look at them, then make them:
      rollcast acls --format table
      rollcast acls > acls.sh && sh acls.sh
      rollcast acls --format strimzi --cluster my-cluster | kubectl apply -n kafka -f -
      rollcast acls --apply --kafka-config admin.yaml

    \b
    A user for the slots of one model, known by a certificate:
      rollcast acls --role predictor --namespace shop --model wine-price \\
        --principal predictor=User:CN=wine-price
    """
    with one_line_errors():
        if output not in _FORMATS:
            raise ConfigError(f"--format was {output!r}, may be {', '.join(_FORMATS)}")
        kafka = _kafka(kafka_config)
        topics = kafka.topics if kafka else _topics_of_the_environment()
        scope = Scope(topics, installation, namespace, model, client_groups)
        principals = parse_principals(principal or ())
        grants = [Grant(each, principals[each], rights(each, scope)) for each in _roles(role)]
        if apply:
            _show(grants, "table", kafka, cluster, command_config)
            _apply(grants, kafka, yes=yes)
        else:
            _show(grants, output, kafka, cluster, command_config)


def bindings(grants: Iterable[Grant]) -> list[AclBinding]:
    """As the admin API wants them."""
    return [
        AclBinding(
            ResourceType[right.resource.name],
            right.name,
            ResourcePatternType[right.pattern.name],
            grant.principal,
            "*",
            AclOperation[operation.name],
            AclPermissionType.ALLOW,
        )
        for grant in grants
        for right in grant.rights
        for operation in right.operations
    ]


def give(admin: AdminClient, wanted: Sequence[AclBinding], servers: str) -> None:
    """What is given already stays as it is. Raises KafkaProblem."""
    for future in admin.create_acls(list(wanted), request_timeout=_CREATE_SECONDS).values():
        try:
            future.result()
        except KafkaException as error:
            raise problem_from(error.args[0], "giving rights (needs Alter on the cluster)", servers) from None


def _roles(given: Sequence[str] | None) -> list[Role]:
    for name in given or ():
        if name not in list(Role):
            raise ConfigError(f"--role was {name!r}, may be {', '.join(Role)}")
    return [role for role in Role if not given or role in given]


def _kafka(kafka_config: Path | None) -> KafkaParams | None:
    if kafka_config is not None or "ROLLCAST_KAFKA_SERVERS" in os.environ:
        return load_kafka_params(kafka_config)
    return None


def _topics_of_the_environment() -> TopicNames:
    values = environment_overrides(ENVIRONMENT, os.environ).get("topics", {})
    return TopicNames.from_mapping(values, source="environment")


def _show(grants: Sequence[Grant], output: str, kafka: KafkaParams | None, cluster: str, command_config: str) -> None:
    if output == "json":
        print_json(as_json(grants))
    elif output == "strimzi":
        sys.stdout.write(strimzi(grants, cluster=cluster))
    elif output == "table":
        for grant in grants:
            Console(highlight=False).print(_table(grant))
    else:
        servers = kafka.broker.servers if kafka else None
        sys.stdout.write(kafka_acls(grants, servers=servers, command_config=command_config))


def _table(grant: Grant) -> Table:
    table = Table(
        title=f"{grant.role}: {grant.principal}",
        title_justify="left",
        caption=ABOUT_ROLES[grant.role],
        caption_justify="left",
    )
    for name in ("on", "name", "may", "because it"):
        table.add_column(name, overflow="fold")
    for row in as_json([grant]):
        name = f"{row['name']}*" if row["pattern"] == "prefixed" else row["name"]
        table.add_row(row["resource"], name, ", ".join(row["operations"]), row["why"])
    return table


def _apply(grants: Sequence[Grant], kafka: KafkaParams | None, *, yes: bool) -> None:
    if kafka is None:
        raise ConfigError("--apply needs a Kafka: name one with --kafka-config or ROLLCAST_KAFKA_SERVERS")
    servers = kafka.broker.servers
    reach_broker(kafka, client_id="rollcast-acls")
    if not yes and not typer.confirm(f"Give these rights at {servers}?"):
        raise ConfigError("nothing was changed")
    admin = make_admin(kafka, ErrorWatch(servers), client_id="rollcast-acls")
    wanted = bindings(grants)
    give(admin, wanted, servers)
    sys.stdout.write(f"{len(wanted)} rights given at {servers}\n")
