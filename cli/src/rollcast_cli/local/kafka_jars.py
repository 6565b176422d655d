"""A real Apache Kafka on this machine: one KRaft broker from Maven's jars. No tarball, no ZooKeeper, no container."""

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from rollcast_cli.local.ports import accepts, check_free, free_ports
from rollcast_cli.local.processes import Child, ChildDied, NotInTime, start, wait_until
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams, create_topics, make_admin
from rollcast_common.kafka.clients import ErrorWatch
from rollcast_common.kafka.topics import TopicSpec

__all__ = [
    "KAFKA_VERSION",
    "Availability",
    "JarsUnavailable",
    "KafkaBroker",
    "Progress",
    "available",
    "cache_folder",
    "fetch_jars",
]

KAFKA_VERSION = "4.3.1"

Progress = Callable[[str], None]

_FILES = files("rollcast_cli.local") / "kafka_files"
_OLDEST_JAVA = 17
_DOWNLOAD_SECONDS = 600.0
_START_SECONDS = 120.0
# Writing the class archive takes a few seconds more than closing the logs.
_STOP_SECONDS = 30.0
_JVM_ENDED_BY_SIGTERM = 128 + signal.SIGTERM


class JarsUnavailable(RollcastError):
    """Maven could not bring Kafka's jars; the text is one clause that says why."""


@dataclass(frozen=True, slots=True)
class Availability:
    works: bool
    why_not: str = ""
    """One clause, empty when it works."""


def available() -> Availability:
    """Whether Java (17 or later) works here, and Maven, unless the jars are here already. Starts both to see."""
    java = _tool("java", "JAVA_HOME")
    answer = _run([java, "-version"])
    if answer is None:
        return Availability(works=False, why_not=_no_tool("Java", java, "JAVA_HOME"))
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version.group(1)) < _OLDEST_JAVA:
        found = version.group(1) if version else "of an unknown version"
        return Availability(works=False, why_not=f"Java here is {found}, Kafka needs {_OLDEST_JAVA} or later")
    if not _is_complete(_jars_folder()) and _run(["mvn", "-version"]) is None:
        return Availability(works=False, why_not="there is no working Maven (mvn) here")
    return Availability(works=True)


def cache_folder() -> Path:
    """Where downloads are kept: `rollcast` in XDG_CACHE_HOME or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollcast"


def fetch_jars(progress: Progress = lambda _: None) -> Path:
    """The folder of Kafka's jars; downloaded (44 MB) the first time, then used without a network.

    Processes that ask at the same time wait for one download. Raises JarsUnavailable.
    """
    folder = _jars_folder()
    if _is_complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if _is_complete(folder):
                return folder
            progress(f"downloading Apache Kafka {KAFKA_VERSION} with Maven (44 MB, once; 10 to 60 s)")
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                new = Path(temporary) / "new"
                _download(new)
                if folder.exists():  # of another pom.xml
                    folder.rename(Path(temporary) / "old")
                new.rename(folder)
    except OSError as error:
        raise JarsUnavailable(f"the cache folder {folder.parent} refuses: {error.strerror or error}") from None
    return folder


class KafkaBroker:
    """One broker, its own controller, PLAINTEXT on 127.0.0.1. What it holds survives stop, kill and start.

    `folder` keeps its data, configuration and log; `ports` (client's, controller's) are free ones by default and stay
    the same as long as the object lives. `extra_properties` go over ours in server.properties.
    """

    kind: Literal["kafka"] = "kafka"
    guarantee: Literal["exactly_once"] = "exactly_once"

    def __init__(
        self,
        folder: Path,
        jars: Path,
        *,
        ports: tuple[int, int] | None = None,
        extra_properties: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._extra_properties = dict(extra_properties or {})
        self._jars = jars
        self._java = _Java(jars)
        self.port, self._controller_port = ports or free_ports(2)
        self._child: Child | None = None
        self._new_archive: Path | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """Raises RollcastError before the first start."""
        if self._child is None:
            raise RollcastError("the broker was not started")
        return self._child

    def start(self) -> None:
        """Format the folder where that was not done, start, and wait until the port is open.

        Raises ConfigError when another process has the folder or the port, ChildDied with the end of the log, NotInTime
        after 120 s.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._sole_use() as lock:
            check_free(self.port)
            self._configure()
            if not (self.folder / "data" / "meta.properties").exists():
                self._format()
            self._new_archive = None if self._java.has_archive else self.folder / "classes.jsa"
            self._child = start(
                [*self._java.command(writing=self._new_archive), "kafka.Kafka", "server.properties"],
                role="Kafka",
                log=self.folder / "kafka.log",
                cwd=self.folder,
                inherited=[lock],
            )
        try:
            wait_until(
                lambda: accepts(self.port),
                what="Kafka is up",
                timeout_seconds=_START_SECONDS,
                children=[self._child],
            )
        except BaseException:
            self._child.kill()
            raise

    def create_topics(self, specs: list[TopicSpec]) -> None:
        """Create what is missing. Raises KafkaProblem."""
        params = KafkaParams(broker=KafkaBrokerParams(servers=self.servers))
        admin = make_admin(params, ErrorWatch(self.servers), client_id="rollcast-local")
        create_topics(admin, specs, replication=1, servers=self.servers)

    def stop(self) -> None:
        """SIGTERM; SIGKILL after 30 s."""
        if self._child is not None:
            self._child.stop(grace_seconds=_STOP_SECONDS)
            if self._new_archive is not None:
                # A JVM that was killed may have written half of it.
                if self._child.returncode == _JVM_ENDED_BY_SIGTERM:
                    self._java.keep_archive(self._new_archive)
                self._new_archive.unlink(missing_ok=True)
                self._new_archive = None

    def kill(self) -> None:
        """SIGKILL: what a test does to a broker."""
        self.child.kill()

    @contextlib.contextmanager
    def _sole_use(self) -> Iterator[int]:
        """A lock that the broker inherits and so holds exactly as long as it lives, whoever started it.

        Kafka has one too, but looks at it only after its controller has opened the metadata log, to the other's harm.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"{self.folder}: another broker runs on this folder; stop it first") from None
            yield descriptor
        finally:
            os.close(descriptor)

    def _configure(self) -> None:
        text = _FILES.joinpath("server.properties").read_text(encoding="utf-8")
        for mark, port in {"@PORT@": self.port, "@CONTROLLER_PORT@": self._controller_port}.items():
            text = text.replace(mark, str(port))
        # Of a property that comes twice, Java takes the last one.
        text += "".join(f"{name}={value}\n" for name, value in self._extra_properties.items())
        (self.folder / "server.properties").write_text(text, encoding="utf-8")
        logging = _FILES.joinpath("log4j2.properties").read_text(encoding="utf-8")
        (self.folder / "log4j2.properties").write_text(logging, encoding="utf-8")

    def _format(self) -> None:
        command = [
            *self._java.command(),
            "kafka.tools.StorageTool",
            "format",
            *("--cluster-id", _random_uuid()),
            *("--config", "server.properties"),
        ]
        try:
            result = subprocess.run(  # noqa: S603  # Kafka's own tool
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_START_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise NotInTime(f"Kafka: formatting {self.folder}: not within {_START_SECONDS:g} s") from None
        if result.returncode:
            raise ChildDied(f"Kafka: formatting {self.folder} failed:\n{(result.stdout + result.stderr)[-2000:]}")


class _Java:
    """The command line of a JVM with Kafka's jars, and its archive of loaded classes (AppCDS).

    With the archive a broker is up in about half the time. The JVM writes it when it ends, so the first broker that is
    stopped in peace makes it for all that follow.
    """

    def __init__(self, jars: Path) -> None:
        self._java = _tool("java", "JAVA_HOME")
        # An archive fits one JVM, and one class path in one order: no wildcard.
        self._class_path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
        version = _run([self._java, "-version"]) or ""
        self._archive = jars / f"classes-{hashlib.sha256(version.encode()).hexdigest()[:12]}.jsa"

    def command(self, *, writing: Path | None = None) -> list[str]:
        if writing is not None:
            archive = [f"-XX:ArchiveClassesAtExit={writing}"]
        elif self._archive.exists():
            archive = [f"-XX:SharedArchiveFile={self._archive}"]
        else:
            archive = []
        return [
            self._java,
            "-Xshare:auto",  # an archive that does not fit is left aside
            *archive,
            "-Xms128m",
            "-Xmx512m",
            # The second compiler would work longer than most local brokers live, on the cores that the stack needs.
            "-XX:TieredStopAtLevel=1",
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp",
            self._class_path,
        ]

    @property
    def has_archive(self) -> bool:
        return self._archive.exists()

    def keep_archive(self, written: Path) -> None:
        """Copy it into the cache, whole or not at all. A cache that refuses costs a second at each start, no more."""
        temporary = self._archive.with_suffix(f".{secrets.token_hex(4)}.part")
        with contextlib.suppress(OSError):
            try:
                shutil.copyfile(written, temporary)
                temporary.replace(self._archive)
            finally:
                temporary.unlink(missing_ok=True)


def _jars_folder() -> Path:
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def _is_complete(folder: Path) -> bool:
    """The pom lies beside the jars that it brought: another pom (of another release of ours) means other jars."""
    try:
        return (folder / "pom.xml").read_bytes() == _FILES.joinpath("pom.xml").read_bytes()
    except OSError:
        return False


def _download(folder: Path) -> None:
    folder.mkdir()
    (folder / "pom.xml").write_bytes(_FILES.joinpath("pom.xml").read_bytes())
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."]
    try:
        result = subprocess.run(  # noqa: S603  # a fixed command line
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DOWNLOAD_SECONDS,
        )
    except FileNotFoundError:
        raise JarsUnavailable("there is no Maven (mvn) here") from None
    except subprocess.TimeoutExpired:
        raise JarsUnavailable(f"Maven did not finish within {_DOWNLOAD_SECONDS:g} s") from None
    if result.returncode:
        raise JarsUnavailable(f"Maven could not download Kafka: {_maven_complaint(result.stdout + result.stderr)}")


def _maven_complaint(output: str) -> str:
    """The sentence behind the first [ERROR] that says what is wrong; Maven says much more."""
    found = re.search(r"\[ERROR\]\s+(\S.*)", re.sub(r"\x1b\[[0-9;]*m", "", output))
    text = found.group(1) if found else output.strip() or "it said nothing"
    text = text.partition("-> [Help")[0].strip()
    longest = 300
    return text if len(text) <= longest else f"{text[:longest]}…"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a process that is killed
        yield


def _tool(name: str, home: str) -> str:
    return str(Path(os.environ[home]) / "bin" / name) if os.environ.get(home) else shutil.which(name) or name


def _no_tool(what: str, path: str, home: str) -> str:
    if os.environ.get(home):
        return f"{home} is set, but {path} does not work"
    return f"there is no working {what} here"


def _run(command: list[str]) -> str | None:
    """What it printed; None when it does not work."""
    try:
        result = subprocess.run(  # noqa: S603  # java or mvn, to ask for the version
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout + result.stderr if result.returncode == 0 else None


def _random_uuid() -> str:
    """As Kafka's random-uuid: base64url of 16 bytes, and no leading dash that would look like an option."""
    while (text := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return text
