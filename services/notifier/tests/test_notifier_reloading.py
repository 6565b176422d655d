"""The rules follow their file, also where Kubernetes turns a link to another folder."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.env.predictions import a_prediction

from rollcast_common.errors import ConfigError
from rollcast_notifier.rules.reloading import LiveRules

DEADLINE_SECONDS = 30.0


def rules(*names: str, channel: str = "console") -> str:
    subscriptions = "\n".join(f"  - {{name: {name}, to: ['{channel}:ann']}}" for name in names)
    return f"channels: {{{channel}: {{type: {channel}}}}}\nsubscriptions:\n{subscriptions}\n"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def write(file: Path, text: str) -> None:
    """At once, as `kubectl` and careful editors do: whoever looks never finds half a file."""
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "notifications.yaml"
    path.write_text(rules("one"), encoding="utf-8")
    return path


@pytest.fixture
def live(file: Path) -> Iterator[LiveRules]:
    with LiveRules(file, look_every_seconds=0.02) as live:
        yield live


def test_a_changed_file_is_in_force_without_a_restart(file: Path) -> None:
    heard: list[object] = []
    with LiveRules(file, heard.append, look_every_seconds=0.02) as live:
        first = live.current
        write(file, rules("one", "two"))
        wait_for(lambda: live.current.count == 2)
        wait_for(lambda: heard == [live.current])
    assert live.current is not first
    assert len(live.current.select([a_prediction(1)], [1])) == 2


def test_a_wrong_file_is_refused_and_counted_and_the_old_rules_stay(file: Path, live: LiveRules) -> None:
    with capture_logs() as lines:
        write(file, rules("one", "one"))
        wait_for(lambda: len(lines) == 1)
    assert live.failures == 1
    assert live.current.count == 1
    assert "the name one stands here" in (live.problem or "")
    assert [line["log_level"] for line in lines] == ["error"]
    write(file, rules("one", "two", "three"))
    wait_for(lambda: live.current.count == 3)
    assert (live.failures, live.problem) == (1, None)


def test_a_file_that_goes_away_changes_nothing_until_it_is_back(file: Path, live: LiveRules) -> None:
    file.unlink()
    wait_for(lambda: live.problem is not None)
    assert "no such file" in (live.problem or "")
    assert live.current.count == 1
    write(file, rules("one", "two"))
    wait_for(lambda: live.current.count == 2)


def test_the_link_of_a_config_map_is_followed(tmp_path: Path) -> None:
    """As kubelet mounts it: notifications.yaml → ..data/notifications.yaml, ..data → a folder with a date; a change is
    a new folder and one rename of ..data.
    """
    for folder, names in (("..2026_1", ["one"]), ("..2026_2", ["one", "two"])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notifications.yaml").write_text(rules(*names), encoding="utf-8")
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "notifications.yaml").symlink_to("..data/notifications.yaml")
    with LiveRules(tmp_path / "notifications.yaml", look_every_seconds=0.02) as live:
        assert live.current.count == 1
        (tmp_path / "..data_tmp").symlink_to("..2026_2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        wait_for(lambda: live.current.count == 2)


def test_changed_channels_are_said_to_need_a_restart(file: Path, live: LiveRules) -> None:
    with capture_logs() as lines:
        write(file, rules("one", "two", channel="log"))
        wait_for(lambda: live.current.count == 2)
        wait_for(lambda: len(lines) == 2)
    assert "restart" in lines[0]["event"]


def test_without_rules_to_begin_with_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        LiveRules(tmp_path / "notifications.yaml")


def test_it_ends_and_leaves_no_thread(file: Path) -> None:
    before = set(threading.enumerate())  # some of them may end meanwhile
    with LiveRules(file):
        (thread,) = set(threading.enumerate()) - before
    assert not thread.is_alive()
    LiveRules(file).stop()
