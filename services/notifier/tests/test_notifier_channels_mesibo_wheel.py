"""mesibo's real SDK without mesibo's servers: that it loads where our image has it, and calls what we listen to.

Nothing here can sign in: what needs a server is tested with the stand-in, which is held against the real one below.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.env.mesibo import SDK_PATH
from tests.env.mesibo_wheel import install_wheel, under_permissions
from tests.env.notifications import a_notification

from rollcast_notifier.channels import mesibo_status
from rollcast_notifier.channels.channel import Unavailable
from rollcast_notifier.channels.mesibo_sdk import MesiboSdkChannel
from rollcast_notifier.channels.secret_file import SecretFile

# No real one: it is not of the form that the SDK expects, which it finds out by itself.
TOKEN = "sesame" * 8


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """As in an image whose root filesystem is read-only: nobody imported it before, and nobody can write."""
    folder = install_wheel(tmp_path / "site-packages")
    package = folder / "mesibo"
    package.chmod(0o555)
    yield folder
    package.chmod(0o755)


def _python(code: str, *arguments: object, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under_permissions(), sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


_IMPORT = """
import sys, pathlib
from rollcast_notifier.channels.mesibo_import import import_mesibo
sdk = import_mesibo(pathlib.Path(sys.argv[1]))
api = sdk.getInstance()
print("imported", sdk.__file__)
"""


def test_it_is_imported_under_a_read_only_root_filesystem(read_only: Path, tmp_path: Path) -> None:
    plain = _python("import mesibo", path=read_only)
    assert plain.returncode != 0, "the SDK needs no writable folder any more: mesibo_import.py can go"
    ours = _python(_IMPORT, tmp_path / "scratch", path=read_only)
    assert f"imported {tmp_path / 'scratch' / 'mesibo'}" in ours.stdout, ours.stdout + ours.stderr
    assert not list((read_only / "mesibo").glob("_mesibo.*"))
    again = _python(_IMPORT, tmp_path / "scratch", path=read_only)
    assert "imported" in again.stdout, "what the last process left is in the way"
    copied = sum(file.stat().st_size for file in (tmp_path / "scratch").rglob("*") if file.is_file())
    assert copied < 5_000_000, "all platforms' libraries were copied"


def test_an_image_that_imported_it_once_needs_no_copy(read_only: Path, tmp_path: Path) -> None:
    package = read_only / "mesibo"
    package.chmod(0o755)
    assert _python("import mesibo", path=read_only).returncode == 0
    package.chmod(0o555)
    ours = _python(_IMPORT, tmp_path / "scratch", path=read_only)
    assert f"imported {package}" in ours.stdout, ours.stdout + ours.stderr
    assert not (tmp_path / "scratch").exists()


def test_what_we_send_ourselves_is_no_inbound_message(wheel: Path, tmp_path: Path) -> None:
    """The SDK calls onMessage for it, at once; and its own printing is not in our lines."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "rollcast_notifier.channels.mesibo_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
    ) as process:
        lines = [
            {"token": TOKEN, "app_id": "com.example.app", "database": "mesibo"},
            {"send": 1, "to": "ann@example.com", "text": "Château", "expiry": 60, "receipts": ["delivered", "read"]},
            {"send": 9, "to": "ann", "text": "half a character: \ud800", "expiry": None, "receipts": []},
            {"send": 2, "group": 102529, "text": "hello", "expiry": None, "receipts": []},
        ]
        out, err = process.communicate("".join(json.dumps(line) + "\n" for line in lines).encode(), timeout=180)
    assert process.returncode == 0, err.decode()
    said: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    answers = [line for line in said if "sent" in line]
    assert [line["sent"] for line in answers] == [1, 9, 2]
    assert all(re.fullmatch(r"-?\d+", line["mid"]) for line in answers if "error" not in line)
    assert [line["sent"] for line in answers if "error" in line] == [9]
    assert not any("message" in line for line in said)


_ECHO = """
import sys, mesibo
from rollcast_notifier.channels.mesibo_process import _text_of
class Listener(mesibo.MesiboListener):
    def Mesibo_onMessage(self, message):
        print("HEARD", ascii(_text_of(message)), message.isIncoming(), message.isRealtimeMessage(), flush=True)
        return 0
api, listener = mesibo.getInstance(), Listener()
api.addListener(listener)
api.setAccessToken("sesame")
api.setAppName("com.example.app")
api.setDatabase("mesibo", 0)
api.start()
def send(**what):
    message = api.newMessage("ann@example.com")
    for name, value in what.items():
        setattr(message, name, value)
    message.send()
send(message="Ch\\u00e2teau")
send(message="rich", title="with a title")
"""


def test_a_text_is_found_where_the_sdk_puts_it(wheel: Path) -> None:
    """In `data`; in `message` it is None, unless the message is a rich one."""
    done = _python(_ECHO, path=wheel)
    heard = [line for line in done.stdout.splitlines() if line.startswith("HEARD ")]
    assert heard == ["HEARD 'Ch\\xe2teau' 0 1", "HEARD 'rich' 0 1"], done.stdout + done.stderr


_FAULTY = """
import sys, mesibo
from rollcast_notifier.channels.mesibo_process import _callback
def boom(listener, message):
    raise RuntimeError("boom")
class Listener(mesibo.MesiboListener):
    Mesibo_onMessage = _callback(boom) if sys.argv[1] == "guarded" else boom
api, listener = mesibo.getInstance(), Listener()
api.addListener(listener)
api.setAccessToken("sesame")
api.setAppName("com.example.app")
api.setDatabase("mesibo", 0)
api.start()
message = api.newMessage("ann@example.com")
message.message = "hello"
message.send()
print("ALIVE", flush=True)
"""


def test_a_callback_that_fails_does_not_end_the_process(wheel: Path) -> None:
    """Left alone, the SDK would call std::terminate."""
    assert "ALIVE" not in _python(_FAULTY, "unguarded", path=wheel).stdout, "it needs no guard any more"
    done = _python(_FAULTY, "guarded", path=wheel)
    assert "ALIVE" in done.stdout, done.stderr
    assert "boom" in done.stderr


def test_offline_it_is_a_problem_in_words_and_nothing_is_handed_over(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nobody:
        def receipt(self, *_: object) -> None:
            raise AssertionError

        def message(self, *_: object) -> None:
            raise AssertionError

    monkeypatch.setenv("PYTHONPATH", str(wheel))
    monkeypatch.syspath_prepend(str(wheel))
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    token = SecretFile(tmp_path / "token", channel="chat", setting="token_file")
    channel = MesiboSdkChannel(
        "chat", token, app_id="com.example.app", database="mesibo", folder=tmp_path / "chat", patience_seconds=1.0
    )
    channel.start(Nobody())
    until = time.monotonic() + 90
    while "user token" not in str(channel.problem):
        assert time.monotonic() < until, channel.problem
        time.sleep(0.05)
    with pytest.raises(Unavailable, match="user token") as caught:
        channel.send(a_notification("chat:ann"))
    assert TOKEN not in str(caught.value)
    channel.stop()


_NAMES = """
import json, mesibo
def public(thing): return [name for name in dir(thing) if not name.startswith("_")]
print("NAMES " + json.dumps({
    "module": {name: value for name in public(mesibo) if isinstance(value := getattr(mesibo, name), int)},
    **{kind: public(getattr(mesibo, kind)) for kind in ("Mesibo", "MesiboMessage", "MesiboListener")},
    "callable": public(mesibo),
}))
"""


def _names(path: Path) -> dict[str, Any]:
    done = _python(_NAMES, path=path)
    line = next((line for line in done.stdout.splitlines() if line.startswith("NAMES ")), None)
    assert line is not None, done.stdout + done.stderr
    names: dict[str, Any] = json.loads(line.removeprefix("NAMES "))
    return names


def test_the_stand_in_has_no_name_and_no_number_that_the_real_one_has_not(wheel: Path) -> None:
    real, stand_in = _names(wheel), _names(SDK_PATH)
    for name, value in stand_in["module"].items():
        assert real["module"].get(name) == value, name
    for kind in ("Mesibo", "MesiboMessage", "MesiboListener"):
        assert set(stand_in[kind]) <= set(real[kind])
    assert "getInstance" in real["callable"]


def test_every_status_of_the_sdk_means_something(wheel: Path) -> None:
    numbers = _names(wheel)["module"]
    for name, value in numbers.items():
        if name.startswith("MESIBO_MSGSTATUS_") and value >= 0x80:
            receipt = mesibo_status.receipt_of(value)
            assert receipt is not None
            assert receipt[1] == name.removeprefix("MESIBO_MSGSTATUS_")
        elif name.startswith("MESIBO_STATUS_") and value not in (-1, mesibo_status.ONLINE):
            assert str(mesibo_status.connection_problem(value)).startswith(name.removeprefix("MESIBO_STATUS_"))
    assert numbers["MESIBO_ADDRESSSTRING_MAXLENGTH"] == 63
    assert numbers["MESIBO_RESULT_RATELIMIT"] == mesibo_status.RATELIMIT
    assert numbers["MESIBO_RESULT_BADREQ"] == mesibo_status.BADREQ
