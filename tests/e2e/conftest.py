"""One installation for all of these tests, which work on it in turn; they run where E2E=1 says so (`make e2e`)."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.e2e import images
from tests.e2e.cluster import Cluster
from tests.e2e.installation import SLOTS, Installation
from tests.e2e.parts import Parts
from tests.e2e.play import Play
from tests.e2e.readiness import Readiness
from tests.e2e.surroundings import Surroundings, Unfit, surroundings
from tests.env.kubernetes import KubectlFailed
from tests.env.missing import missing

from rollcast_cli.local.s3 import make_bucket
from rollcast_common.kafka import ErrorWatch, TopicNames, make_admin

# They need a cluster and a quarter of an hour, so who runs all tests does not run them by the way.
collect_ignore_glob = [] if os.environ.get("E2E") == "1" else ["test_*.py"]

NAMESPACE = "rollcast-e2e"
_parts = Parts()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: needs KEDA and Prometheus in the cluster (make e2e-full)")
    config.addinivalue_line("markers", "notifier: needs the notifier's image")
    config.addinivalue_line("markers", "two_nodes: drains a node, so it needs another one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the cluster is not made for is left out, and said."""
    left_out = [item for item in items if not _fits(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        _parts.notes += [f"left out, for want of what the cluster would need: {item.name}" for item in left_out]
        items[:] = [item for item in items if item not in left_out]


def _fits(item: pytest.Item) -> bool:
    if item.get_closest_marker("full"):
        return os.environ.get("E2E_FULL") == "1"
    if item.get_closest_marker("notifier"):
        return "rollcast-notifier" in images.IMAGES
    if item.get_closest_marker("two_nodes"):
        try:
            return len(Cluster(NAMESPACE).nodes()) > 1
        except (KubectlFailed, OSError):
            return False
    return True


@pytest.fixture(scope="session")
def around() -> Surroundings:
    try:
        return surroundings()
    except Unfit as error:
        missing(f"the tests on a cluster cannot run: {error}")


@pytest.fixture(scope="session")
def parts() -> Parts:
    return _parts


@pytest.fixture(scope="session")
def loaded_images(around: Surroundings, parts: Parts) -> None:
    if os.environ.get("E2E_IMAGES") != "loaded":
        with parts.part("images built"):
            images.build()
        with parts.part("images loaded"):
            images.load(around.load_image)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, around: Surroundings) -> Iterator[Cluster]:  # noqa: ARG001  # it has to be there
    """A namespace of ours. After a test that failed it stays, and what was in it is in E2E_KEEP, too."""
    cluster = Cluster(NAMESPACE)
    cluster.make({"pod-security.kubernetes.io/enforce": "restricted"})
    yield cluster
    if not request.session.testsfailed:
        cluster.remove()
    elif keep := os.environ.get("E2E_KEEP"):
        cluster.keep(Path(keep))


@pytest.fixture(scope="session")
def installed(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    around: Surroundings,
    loaded_images: None,  # noqa: ARG001  # they have to be there
    parts: Parts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """Pods run, and nothing is served yet."""
    installation = Installation(cluster, around, uuid4().hex[:6], tmp_path_factory.mktemp("installation"))
    make_bucket(around.s3(installation.bucket))
    with parts.part("installed"):
        installation.install()
    yield installation
    if not request.session.testsfailed:
        topics = TopicNames(prefix=installation.prefix).all_full()
        admin = make_admin(around.kafka, ErrorWatch(around.kafka_outside), client_id="e2e-admin")
        for deleted in admin.delete_topics(topics, request_timeout=30).values():
            deleted.result()


@pytest.fixture(scope="session")
def play(
    installed: Installation, around: Surroundings, parts: Parts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Play]:
    """The first model is live, and a client asks on and on."""
    names = TopicNames(prefix=installed.prefix)
    ready = Readiness(NAMESPACE, SLOTS)
    play = Play(around.kafka, names, installed.identity, tmp_path_factory.mktemp("history"), ready=ready)
    try:
        with parts.part("first model trained and live"):
            installed.serve(play, 2.0, "v1")
            installed.wait_until_ready(SLOTS, 2)
        play.start()
        yield play
    finally:
        play.give_up()


@pytest.fixture(autouse=True)
def timed(request: pytest.FixtureRequest, parts: Parts) -> Iterator[None]:
    with parts.part(request.node.name.removeprefix("test_").replace("_", " ")):
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, seconds in _parts.took:
        terminalreporter.write_line(f"{seconds:6.1f} s  {name}")
    for note in _parts.notes:
        terminalreporter.write_line(note)
