"""Which broker is taken and what a person is told; with stand-ins for Java and Maven that do as the test says."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rollcast_cli.local import kafka_jars
from rollcast_cli.local.brokers import choose_broker
from rollcast_cli.local.kafka_jars import JarsUnavailable, available, fetch_jars
from rollcast_cli.local.processes import NotInTime
from rollcast_common.errors import ConfigError


@dataclass
class Machine:
    """A machine that has only the programs that a test gives it."""

    folder: Path
    said: list[str] = field(default_factory=list)

    def has(self, name: str, script: str) -> None:
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        program.chmod(0o755)

    def has_java(self, version: str = "17.0.15") -> None:
        self.has("java", f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")

    def has_maven(self, download: str = "touch kafka.jar") -> None:
        self.has("mvn", f'case "$1" in -version) echo Apache Maven;; *) {download};; esac')

    @property
    def downloads(self) -> int:
        runs = self.folder / "cache" / "runs"
        return len(runs.read_text().splitlines()) if runs.exists() else 0

    @property
    def jars(self) -> Path:
        return self.folder / "cache" / "rollcast" / f"kafka-{kafka_jars.KAFKA_VERSION}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    machine = Machine(tmp_path)
    machine.has_maven('echo run >> "$XDG_CACHE_HOME/runs"; touch kafka.jar')
    machine.has_java()
    return machine


def test_auto_takes_kafka_where_it_can_be_had(machine: Machine) -> None:
    choice = choose_broker("auto", progress=machine.said.append)
    assert choice.kind == "kafka"
    assert choice.reason == "broker: Apache Kafka 4.3.1, because Java and Maven work here; exactly once"
    assert len(machine.said) == 1
    assert "downloading Apache Kafka 4.3.1" in machine.said[0]
    assert (machine.jars / "kafka.jar").exists()


def no_java(machine: Machine) -> None:
    (machine.folder / "bin" / "java").unlink()


def old_java(machine: Machine) -> None:
    machine.has_java("11.0.2")


def ancient_java(machine: Machine) -> None:
    machine.has_java("1.8.0_402")


def no_maven(machine: Machine) -> None:
    (machine.folder / "bin" / "mvn").unlink()


def broken_maven(machine: Machine) -> None:
    machine.has("mvn", "exit 1")


def no_network(machine: Machine) -> None:
    said = "[\\033[1;31mERROR\\033[m] Could not transfer artifact: unknown host -> [Help 1]\\n[ERROR] more\\n"
    machine.has_maven(f"printf '{said}'; exit 1")


def full_disk(machine: Machine) -> None:
    (machine.folder / "cache").write_text("a file where the folder would be")


PROBLEMS = [
    pytest.param(no_java, "there is no working Java here", id="no Java"),
    pytest.param(old_java, "Java here is 11, Kafka needs 17 or later", id="Java 11"),
    pytest.param(ancient_java, "Java here is 1, Kafka needs 17 or later", id="Java 8"),
    pytest.param(no_maven, "there is no working Maven (mvn) here", id="no Maven"),
    pytest.param(broken_maven, "there is no working Maven (mvn) here", id="Maven does not start"),
    pytest.param(no_network, "Maven could not download Kafka: Could not transfer artifact: unknown host", id="offline"),
    pytest.param(full_disk, "refuses: Not a directory", id="no cache folder"),
]


@pytest.mark.parametrize(("problem", "clause"), PROBLEMS)
def test_auto_falls_back_and_says_why(machine: Machine, problem: object, clause: str) -> None:
    assert callable(problem)
    problem(machine)
    choice = choose_broker("auto")
    assert choice.kind == "embedded"
    assert clause in choice.reason
    assert "at least once" in choice.reason
    assert "\n" not in choice.reason


@pytest.mark.parametrize(("problem", "clause"), PROBLEMS)
def test_kafka_that_was_asked_for_is_not_replaced(machine: Machine, problem: object, clause: str) -> None:
    assert callable(problem)
    problem(machine)
    with pytest.raises(ConfigError, match=re.escape(clause)) as caught:
        choose_broker("kafka")
    assert "install Java 17" in str(caught.value)
    assert "BROKER=embedded" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_embedded_that_was_asked_for_needs_nothing(machine: Machine) -> None:
    no_java(machine)
    no_maven(machine)
    assert choose_broker("embedded").kind == "embedded"
    assert machine.downloads == 0


def test_another_word_is_refused_with_what_it_may_be() -> None:
    with pytest.raises(ConfigError, match="BROKER was 'rabbit', may be auto, kafka or embedded"):
        choose_broker("rabbit")


def test_jars_that_are_here_need_neither_maven_nor_a_network(machine: Machine) -> None:
    fetch_jars()
    no_maven(machine)
    choice = choose_broker("kafka", progress=machine.said.append)
    assert choice.kind == "kafka"
    assert machine.said == []
    assert machine.downloads == 1


def test_a_download_that_fails_leaves_nothing_that_looks_complete(machine: Machine) -> None:
    no_network(machine)
    with pytest.raises(JarsUnavailable):
        fetch_jars()
    assert [path.name for path in machine.jars.parent.iterdir()] == [f"{machine.jars.name}.lock"]


def test_jars_of_another_pom_are_replaced(machine: Machine) -> None:
    machine.jars.mkdir(parents=True)
    (machine.jars / "pom.xml").write_text("<project/>")
    (machine.jars / "old.jar").touch()
    fetch_jars()
    assert sorted(path.name for path in machine.jars.iterdir()) == ["kafka.jar", "pom.xml"]


def test_processes_that_ask_together_download_once(machine: Machine) -> None:
    machine.has_maven('sleep 0.5; echo run >> "$XDG_CACHE_HOME/runs"; touch kafka.jar')
    code = "from rollcast_cli.local.kafka_jars import fetch_jars; print(sorted(p.name for p in fetch_jars().iterdir()))"
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [racer.communicate(timeout=300)[0].strip() for racer in racers]
    assert answers == ["['kafka.jar', 'pom.xml']"] * 3
    assert machine.downloads == 1


def test_formatting_that_does_not_end_is_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = kafka_jars.KafkaBroker(machine.folder / "data", fetch_jars())
    machine.has("java", "exec sleep 600")
    monkeypatch.setattr(kafka_jars, "_START_SECONDS", 0.5)
    with pytest.raises(NotInTime, match=r"^Kafka: formatting .*data: not within 0\.5 s$"):
        broker.start()


def test_java_home_goes_before_the_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    old_java(machine)
    home = Machine(machine.folder / "jdk")
    home.folder.mkdir()
    home.has_java("21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home.folder))
    assert available().works
    (home.folder / "bin" / "java").unlink()
    assert available().why_not == f"JAVA_HOME is set, but {home.folder}/bin/java does not work"
