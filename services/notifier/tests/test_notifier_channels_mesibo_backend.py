"""Channel `mesibo-backend` against a server that speaks the documented API, and misbehaves as told."""

import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.env.http_receiver import HttpReceiver, answering
from tests.env.mesibo import APP_TOKEN, Faults, Mesibo, mesibo
from tests.env.notifications import a_notification

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, SendFailed, Sent, Throttled, Unavailable
from rollcast_notifier.channels.mesibo_api import AppUnusable, MesiboApi
from rollcast_notifier.channels.mesibo_backend import MesiboBackendChannel, message_of
from rollcast_notifier.channels.secret_file import SecretFile

ANN = "mesibo:ann@example.com"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mesibo]:
    with mesibo(tmp_path) as server:
        server.token_of("rollcast")
        yield server


def _channel(url: str, token_file: Path, *, answer_seconds: float = 30.0) -> MesiboBackendChannel:
    token = SecretFile(token_file, channel="mesibo", setting="token_file")
    api = MesiboApi(url, token, what="channel mesibo: url", answer_seconds=answer_seconds)
    return MesiboBackendChannel("mesibo", api, sender="rollcast")


@pytest.fixture
def channel(server: Mesibo) -> Iterator[MesiboBackendChannel]:
    channel = _channel(server.url, server.app_token_file)
    yield channel
    channel.stop()


def test_a_message_reaches_its_person(server: Mesibo, channel: MesiboBackendChannel) -> None:
    ann = server.person("ann@example.com")
    sent = channel.send(a_notification(ANN, text="Château: 9 €"))
    [message] = ann.look()
    assert (message["sender"], message["text"]) == ("rollcast", "Château: 9 €")
    assert sent == Sent(str(message["mid"]))
    assert channel.problem is None


def test_a_message_to_a_group_reaches_its_members(server: Mesibo, channel: MesiboBackendChannel) -> None:
    ann, bob = server.person("ann"), server.person("bob")
    added = server.backend({"op": "groupadd", "token": APP_TOKEN, "group": {"name": "g", "members": {"m": "ann,bob"}}})
    channel.send(a_notification(f"mesibo:group:{added['group']['gid']}"))
    assert [len(person.look()) for person in (ann, bob)] == [1, 1]


@pytest.mark.parametrize(
    ("to", "expires", "fields"),
    [
        (ANN, None, {"to": "ann@example.com"}),
        ("mesibo:group:7", None, {"gid": 7}),
        (ANN, 1_661_000_090_400, {"to": "ann@example.com", "expiry": 90}),
        (ANN, 1_661_000_000_100, {"to": "ann@example.com", "expiry": 1}),
        (ANN, 1_660_999_999_000, {"to": "ann@example.com", "expiry": 1}),
    ],
)
def test_what_is_asked_of_mesibo(to: str, expires: int | None, fields: dict[str, object]) -> None:
    message = message_of(a_notification(to, expires=expires), "rollcast", 1_661_000_000.0)
    assert message == {"from": "rollcast", "message": "Vega Sicilia: about 877.5", **fields}


@pytest.mark.parametrize("to", ["mesibo:ann,bob", f"mesibo:{'a' * 64}", "mesibo:group:friends", "mesibo:group:-1"])
def test_a_receiver_that_mesibo_cannot_have_is_refused_here(
    server: Mesibo, channel: MesiboBackendChannel, to: str
) -> None:
    """`ann,bob` would be two people there."""
    with pytest.raises(Refused, match="receiver was"):
        channel.send(a_notification(to))
    assert server.requests == 0


@pytest.mark.parametrize(
    ("faults", "raised", "says"),
    [
        (Faults(error="INVALIDDEST"), "ApiRefused", "message: INVALIDDEST"),
        (Faults(error="TOKENBREACH"), "AppUnusable", "more than five IP addresses"),
        (Faults(error="BADOP"), "AppUnusable", "is the channel's url a backend API"),
        (Faults(error="INVALIDTOKEN"), "AppUnusable", "is the app token the one in the mesibo console"),
        (Faults(status=401), "AppUnusable", "is the app token the one in the mesibo console"),
        (Faults(status=404), "AppUnusable", "is the channel's url a backend API"),
        (Faults(status=301), "AppUnusable", "is the channel's url a backend API"),
        (Faults(status=429), "Throttled", "answered 429"),
        (Faults(status=503), "Throttled", "answered 503"),
        (Faults(status=500), "OutcomeUnknown", "nobody knows"),
        (Faults(status=502), "OutcomeUnknown", "nobody knows"),
        (Faults(garbage=True), "OutcomeUnknown", "not with a JSON object"),
        (Faults(drop_answer=True), "OutcomeUnknown", "the connection broke"),
    ],
    ids=str,
)
def test_what_a_failure_means(
    server: Mesibo, channel: MesiboBackendChannel, faults: Faults, raised: str, says: str
) -> None:
    server.faults = faults
    with pytest.raises(SendFailed, match=says) as caught:
        channel.send(a_notification(ANN))
    assert type(caught.value).__name__ == raised
    assert (channel.problem is None) == isinstance(caught.value, Refused)
    server.faults = Faults()
    channel.send(a_notification(ANN))
    assert channel.problem is None


def test_an_answer_that_does_not_come_leaves_it_open(server: Mesibo) -> None:
    impatient = _channel(server.url, server.app_token_file, answer_seconds=0.5)
    server.faults = Faults(delay_seconds=60.0)
    with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.5 s"):
        impatient.send(a_notification(ANN))
    assert "no answer" in str(impatient.problem)
    impatient._api._exchange._client.timeout = httpx.Timeout(30.0)
    server.faults = Faults()
    impatient.send(a_notification(ANN))
    assert impatient.problem is None
    impatient.stop()


def test_a_disabled_app_is_not_asked_again_soon(server: Mesibo, channel: MesiboBackendChannel) -> None:
    server.faults = Faults(error="TOKENBREACH")
    with pytest.raises(AppUnusable) as caught:
        channel.send(a_notification(ANN))
    assert caught.value.retry_after_seconds == 300


def test_it_says_when_to_come_again(server: Mesibo, channel: MesiboBackendChannel) -> None:
    server.faults = Faults(status=429, retry_after="17")
    with pytest.raises(Throttled) as caught:
        channel.send(a_notification(ANN))
    assert caught.value.retry_after_seconds == 17


def test_nobody_there_is_certainly_not_sent(tmp_path: Path) -> None:
    with mesibo(tmp_path) as gone:
        url, file = gone.url, gone.app_token_file
    channel = _channel(url, file)
    with pytest.raises(Unavailable, match="not reachable"):
        channel.send(a_notification(ANN))
    channel.stop()


def test_a_token_is_replaced_without_a_restart(server: Mesibo, channel: MesiboBackendChannel) -> None:
    server.app_token_file.write_text("last year's", encoding="utf-8")
    with pytest.raises(AppUnusable, match="BADTOKEN"):
        channel.send(a_notification(ANN))
    server.app_token_file.write_text(APP_TOKEN, encoding="utf-8")
    channel.send(a_notification(ANN))


@pytest.mark.parametrize("said", [f"no such app: {APP_TOKEN}", "x" * 5000, "a\nb\x1b[31m", None, {"a": 1}])
def test_the_token_is_in_no_error_and_an_error_is_one_short_line(
    tmp_path: Path, said: object, caplog: pytest.LogCaptureFixture
) -> None:
    import json

    file = tmp_path / "token"
    file.write_text(APP_TOKEN, encoding="utf-8")
    with HttpReceiver() as receiver, caplog.at_level(logging.DEBUG, logger="httpx"):
        receiver.behaviour = answering(200, json.dumps({"op": "message", "result": False, "error": said}).encode())
        channel = _channel(receiver.url, file)
        with pytest.raises(Refused) as caught:
            channel.send(a_notification(ANN))
        channel.stop()
        assert json.loads(receiver.received[0].body)["token"] == APP_TOKEN
    assert APP_TOKEN not in str(caught.value) + caplog.text
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_the_token_goes_only_over_https(server: Mesibo) -> None:
    with pytest.raises(ConfigError, match=r"channel mesibo: url was http://mesibo\.example\.com…, may be an https://"):
        _channel("http://mesibo.example.com/backend/", server.app_token_file)
