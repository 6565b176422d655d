"""`python -m rollcast_cli.rolling FOLDER`: the controller of the local stack, a process of its own."""

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import structlog

from rollcast_cli.rolling.folder_shell import FolderShell
from rollcast_cli.rolling.model_store import NAMESPACE, ModelStore
from rollcast_common.artifacts import ArtifactStore, load_s3_params
from rollcast_common.config import load_yaml
from rollcast_common.errors import RollcastError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import load_kafka_params
from rollcast_common.logs import configure_logs
from rollcast_control.bridge_loop import Bridge
from rollcast_control.control_topics import ControlTopics
from rollcast_control.controller import Controller
from rollcast_control.manager import Clock, Manager
from rollcast_control.resolving import Resolver

_log = structlog.get_logger()

_LOOK_SECONDS = 0.1


def _run(folder: Path, model: str, installation: str, template: dict[str, Any]) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    kafka, s3 = load_kafka_params(None), load_s3_params(None)
    store = ModelStore(folder / "models")
    clock = Clock()

    def make(name: str) -> Controller:
        identity = ModelIdentity(*name.split("/"))
        shell = FolderShell(folder, store, identity)
        return Controller(identity, shell, topics, resolver, now=clock, wake=lambda: manager.wake(name))

    manager = Manager(make, threads=2)
    topics = ControlTopics(kafka, installation=installation, client_id="rollcast-controller", on_news=manager.wake)
    bridge = Bridge(
        kafka,
        installation=installation,
        bucket=s3.bucket,
        namespace=NAMESPACE,
        default_model=model,
        template_of=lambda _: template,
        create=store.apply,
    )
    with Resolver(ArtifactStore(s3)) as resolver, topics, manager, bridge:
        seen = -1
        while not stopping.wait(_LOOK_SECONDS):
            topics.check()
            bridge.check()
            if manager.failure is not None:
                raise manager.failure
            if (changed := store.changed_at()) != seen:
                seen = changed
                there = {str(ModelIdentity(installation, NAMESPACE, r["spec"]["model"])) for r in store.all()}
                # Also those of which nothing is left: their end has to be published.
                for identity in there.union(manager.models()):
                    manager.wake(identity)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rollcast_cli.rolling", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--installation", required=True)
    parser.add_argument("--model", required=True, help="of announcements that name none")
    parser.add_argument("--template", type=Path, help="YAML: serving and rollout of announced models")
    options = parser.parse_args()
    configure_logs("controller", fmt="json")
    try:
        template = load_yaml(options.template) if options.template else {}
        _run(options.folder, options.model, options.installation, template)
    except RollcastError as error:
        _log.error("controller stopped", problem=str(error), kind=type(error).__name__)  # one line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
