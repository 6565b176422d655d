"""Channel `mesibo-sdk` with a stand-in for the SDK on the embedded mesibo: receipts, people's words, and outages."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.env.mesibo import SDK_PATH, Mesibo, mesibo
from tests.env.notifications import a_notification

from rollcast_common.contracts import ReceiptState
from rollcast_common.errors import ConfigError
from rollcast_notifier.channels import mesibo_sdk
from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, Unavailable
from rollcast_notifier.channels.mesibo_sdk import MesiboSdkChannel
from rollcast_notifier.channels.mesibo_status import connection_problem, receipt_of
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.notification import Inbound, Receiver

ANN = "chat:ann@example.com"
_SECONDS = 90.0
"""A process that starts late is begun anew, after pauses that double."""


class Heard:
    """What the channel told; `until` waits for it."""

    def __init__(self) -> None:
        self.receipts: list[tuple[str, ReceiptState, str | None]] = []
        self.inbound: list[Inbound] = []
        self._changed = threading.Condition()
        self.go_on = threading.Event()
        self.stumbles = 0

    def receipt(self, channel: str, external_id: str, state: ReceiptState, reason: str | None = None) -> None:
        assert channel == "chat"
        with self._changed:
            self.receipts.append((external_id, state, reason))
            self._changed.notify_all()

    def message(self, inbound: Inbound) -> None:
        with self._changed:
            self.inbound.append(inbound)
            self._changed.notify_all()
        if inbound.text == "think":
            assert self.go_on.wait(_SECONDS)
        if self.stumbles > 0:
            self.stumbles -= 1
            raise RuntimeError("the service stumbles")

    def until(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, _SECONDS), (self.receipts, self.inbound)


def _until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    until = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < until, what()
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesibo]:
    with mesibo(tmp_path) as server:
        monkeypatch.setenv("ROLLCAST_EMBEDDED_MESIBO", server.origin)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SDK_PATH), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.syspath_prepend(str(SDK_PATH))
        yield server


@pytest.fixture
def heard() -> Heard:
    return Heard()


MakeChannel = Callable[..., MesiboSdkChannel]


@pytest.fixture
def make_channel(server: Mesibo, tmp_path: Path) -> Iterator[MakeChannel]:
    made: list[MesiboSdkChannel] = []

    def make(token_file: Path | None = None, patience_seconds: float = 60.0) -> MesiboSdkChannel:
        file = token_file or server.token_file_of("rollcast")
        made.append(
            MesiboSdkChannel(
                "chat",
                SecretFile(file, channel="chat", setting="token_file"),
                app_id="com.example.app",
                database="mesibo",
                folder=tmp_path / f"folder-of-{file.name}",
                patience_seconds=patience_seconds,
            )
        )
        return made[-1]

    yield make
    for channel in made:
        channel.stop()


def _online(channel: MesiboSdkChannel, heard: Heard) -> MesiboSdkChannel:
    channel.start(heard)
    _until(lambda: channel.problem is None, lambda: channel.problem)
    return channel


def test_a_message_is_sent_delivered_and_read(server: Mesibo, make_channel: MakeChannel, heard: Heard) -> None:
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    sent = channel.send(a_notification(ANN, wants=frozenset({"delivered", "read"}), text="Château: 9 €"))
    assert sent.external_id is not None
    heard.until(lambda: (sent.external_id, "sent", None) in heard.receipts)
    assert (sent.external_id, "delivered", None) not in heard.receipts, "nobody has looked yet"
    message = ann.wait_for("Château: 9 €")
    heard.until(lambda: (sent.external_id, "delivered", None) in heard.receipts)
    ann.read(message["mid"])
    heard.until(lambda: (sent.external_id, "read", None) in heard.receipts)


def test_a_group_is_reached(server: Mesibo, make_channel: MakeChannel, heard: Heard) -> None:
    channel = _online(make_channel(), heard)
    ann = server.person("ann")
    group = server.backend(
        {"op": "groupadd", "token": "the-app-token", "group": {"name": "g", "members": {"m": "ann,rollcast"}}}
    )["group"]["gid"]
    channel.send(a_notification(f"chat:group:{group}"))
    assert ann.wait_for("Vega")["gid"] == group


def test_what_a_person_writes_comes_in_once_and_nothing_else_does(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    """The SDK shows what we send ourselves, and after a restart what its database holds, as messages, too."""
    first = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    first.send(a_notification(ANN))
    mid = ann.send("rating=4.7 winery='Vega Sicilia'", to="rollcast")
    heard.until(lambda: len(heard.inbound) == 1)
    assert heard.inbound[0].sender == Receiver("chat", "ann@example.com")
    assert heard.inbound[0].id == f"ann@example.com/{mid}"
    assert heard.inbound[0].text == "rating=4.7 winery='Vega Sicilia'"
    first.stop()
    _online(make_channel(), heard)
    ann.send("and now?", to="rollcast")
    heard.until(lambda: len(heard.inbound) == 2)
    assert [inbound.text for inbound in heard.inbound] == ["rating=4.7 winery='Vega Sicilia'", "and now?"]


def test_what_was_written_while_nobody_listened_comes_in_later(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    token_file = server.token_file_of("rollcast")
    server.person("ann").send("are you there?", to="rollcast")
    _online(make_channel(token_file), heard)
    heard.until(lambda: [inbound.text for inbound in heard.inbound] == ["are you there?"])


def test_a_service_that_stumbles_over_a_message_gets_it_again(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    _online(make_channel(), heard)
    heard.stumbles = 1
    server.person("ann").send("are you there?", to="rollcast")
    heard.until(lambda: [inbound.text for inbound in heard.inbound] == ["are you there?"] * 2)


def test_a_message_that_the_service_cannot_take_is_not_in_the_way_for_ever(
    server: Mesibo, make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesibo_sdk, "_NEWS_PAUSES_SECONDS", (0.0, 0.0))
    _online(make_channel(), heard)
    heard.stumbles = 3
    ann = server.person("ann")
    ann.send("poison", to="rollcast")
    ann.send("go on", to="rollcast")
    heard.until(lambda: [inbound.text for inbound in heard.inbound] == ["poison"] * 3 + ["go on"])


def test_while_the_service_thinks_about_a_message_others_are_sent(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    """A question is recorded on Kafka, which may be slow; a send whose answer is not read would count as unknown."""
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    ann.send("think", to="rollcast")
    heard.until(lambda: len(heard.inbound) == 1)
    try:
        channel.send(a_notification(ANN))
    finally:
        heard.go_on.set()


def test_a_message_to_nobody_fails_by_name(make_channel: MakeChannel, heard: Heard) -> None:
    channel = _online(make_channel(), heard)
    sent = channel.send(a_notification("chat:nobody"))
    heard.until(lambda: (sent.external_id, "failed", "INVALIDDEST") in heard.receipts)


def test_a_message_that_was_fetched_too_late_is_expired(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    sent = channel.send(a_notification(ANN, expires=int(time.time() * 1000) + 1000))
    heard.until(lambda: (sent.external_id, "expired", "EXPIRED") in heard.receipts)
    assert ann.look() == []


def test_nothing_is_handed_over_while_mesibo_is_away(server: Mesibo, make_channel: MakeChannel, heard: Heard) -> None:
    """What waits, waits in the outbox."""
    file = server.token_file_of("rollcast")
    server.__exit__()
    channel = make_channel(file)
    channel.start(heard)
    _until(lambda: "AUTHFAIL" in str(channel.problem), lambda: channel.problem)
    with pytest.raises(Unavailable, match="mesibo rejected the user token, or there is no way to mesibo"):
        channel.send(a_notification(ANN))
    channel.stop()
    server._thread = threading.Thread()  # the fixture ends it once more
    server._thread.start()


def test_a_wrong_token_is_read_again_from_its_file(
    server: Mesibo, make_channel: MakeChannel, heard: Heard, tmp_path: Path
) -> None:
    file = tmp_path / "wrong"
    file.write_text("last year's", encoding="utf-8")
    channel = make_channel(file, patience_seconds=3.0)
    channel.start(heard)
    _until(lambda: "AUTHFAIL" in str(channel.problem), lambda: channel.problem)
    file.write_text(server.token_of("rollcast"), encoding="utf-8")
    _until(lambda: channel.problem is None, lambda: channel.problem)


def test_its_process_may_die(
    server: Mesibo, make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native code does: the service, and every other channel, live on."""
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    assert channel._child is not None
    # It is started again when we have seen what we want to see.
    monkeypatch.setattr(channel._stopping, "wait", lambda _seconds: heard.go_on.wait(_SECONDS))
    try:
        os.kill(channel._child.pid, signal.SIGSEGV)
        _until(lambda: "died of signal 11" in str(channel.problem), lambda: channel.problem)
        with pytest.raises(Unavailable):
            channel.send(a_notification(ANN))
    finally:
        heard.go_on.set()
    _until(lambda: channel.problem is None, lambda: channel.problem)
    channel.send(a_notification(ANN))
    ann.wait_for("Vega")


def test_what_it_cannot_send_is_refused_and_costs_the_others_nothing(
    server: Mesibo, make_channel: MakeChannel, heard: Heard
) -> None:
    """Half a character: JSON has it, the wire has not."""
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    child = channel._child
    with pytest.raises(Refused, match="it cannot send this: UnicodeEncodeError"):
        channel.send(a_notification(ANN, text="\ud800"))
    channel.send(a_notification(ANN, text="medicine"))
    ann.wait_for("medicine")
    assert channel._child is child


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc to look into")
def test_the_sdk_sees_no_credentials_of_ours(
    make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLCAST_KAFKA_PASSWORD", "sesame")
    channel = _online(make_channel(), heard)
    assert channel._child is not None
    assert b"sesame" not in Path(f"/proc/{channel._child.pid}/environ").read_bytes()


def test_two_users_of_our_own_are_two_processes(server: Mesibo, make_channel: MakeChannel, heard: Heard) -> None:
    """The SDK is one a process; a second channel would get the first one's."""
    first, second = _online(make_channel(), heard), _online(make_channel(server.token_file_of("cellar")), heard)
    ann = server.person("ann@example.com")
    first.send(a_notification(ANN, text="one"))
    assert ann.wait_for("one")["sender"] == "rollcast"
    second.send(a_notification(ANN, text="two"))
    assert ann.wait_for("two")["sender"] == "cellar"


def test_after_the_stop_nothing_is_sent_and_nothing_is_left(
    make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesibo_sdk, "_STOP_SECONDS", _SECONDS)  # it is not killed for being slow
    channel = _online(make_channel(), heard)
    child = channel._child
    channel.stop()
    assert child is not None
    assert child.returncode == 0
    with pytest.raises(Unavailable, match="stopped"):
        channel.send(a_notification(ANN))


@pytest.mark.parametrize("to", ["chat:ann,bob", f"chat:{'a' * 64}", "chat:group:friends"])
def test_a_receiver_that_mesibo_cannot_have_is_refused_here(make_channel: MakeChannel, to: str) -> None:
    with pytest.raises(Refused, match="receiver was"):
        make_channel().send(a_notification(to))


def test_without_the_sdk_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "token").write_text("t", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"channel chat: type mesibo-sdk needs .*rollcast-notifier\[mesibo\]"):
        MesiboSdkChannel(
            "chat",
            SecretFile(tmp_path / "token", channel="chat", setting="token_file"),
            app_id="a",
            database="d",
            folder=tmp_path / "chat",
        )


@pytest.mark.parametrize(
    ("status", "receipt"),
    [
        (0, None),
        (1, ("sent", None)),
        (2, ("delivered", None)),
        (3, ("read", None)),
        (0x12, None),
        (0x80, ("failed", "FAIL")),
        (0x81, ("failed", "USEROFFLINE")),
        (0x82, ("failed", "INBOXFULL")),
        (0x83, ("failed", "INVALIDDEST")),
        (0x84, ("expired", "EXPIRED")),
        (0x88, ("failed", "BLOCKED")),
        (0x90, ("failed", "GROUPPAUSED")),
        (0x91, ("failed", "NOTMEMBER")),
        (0x99, ("failed", "status 153")),
    ],
)
def test_what_a_message_status_tells(status: int, receipt: tuple[str, str | None] | None) -> None:
    assert receipt_of(status) == receipt


@pytest.mark.parametrize("status", [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21, 22, 99])
def test_every_connection_status_but_online_is_a_problem_with_words(status: int) -> None:
    assert connection_problem(1) is None
    assert connection_problem(status)


def test_status_4_names_both_its_causes() -> None:
    problem = connection_problem(4)
    assert "rejected the user token" in str(problem)
    assert "no way to mesibo" in str(problem)


def test_a_process_that_hangs_with_a_text_that_it_does_not_take_is_ended_too(
    server: Mesibo, make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    hanging = channel._child
    assert hanging is not None
    os.kill(hanging.pid, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr(mesibo_sdk, "_ANSWER_SECONDS", 0.5)
        with pytest.raises(Unavailable, match="its process ended; it is started again"):
            channel.send(a_notification(ANN, text="long " * 100_000))
    _until(lambda: channel.problem is None and channel._child is not hanging, lambda: channel.problem)
    channel.send(a_notification(ANN, text="two"))
    ann.wait_for("two")


def test_a_process_that_hangs_is_ended_and_begun_anew(
    server: Mesibo, make_channel: MakeChannel, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = _online(make_channel(), heard)
    ann = server.person("ann@example.com")
    hanging = channel._child
    assert hanging is not None
    os.kill(hanging.pid, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr(mesibo_sdk, "_ANSWER_SECONDS", 0.5)
        impatient.setattr(mesibo_sdk, "_STOP_SECONDS", 0.5)
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.5 s"):
            channel.send(a_notification(ANN, text="one"))
    _until(lambda: channel.problem is None and channel._child is not hanging, lambda: channel.problem)
    assert hanging.returncode == -signal.SIGKILL
    channel.send(a_notification(ANN, text="two"))
    ann.wait_for("two")
