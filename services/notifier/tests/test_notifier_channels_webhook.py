"""Channel `webhook`: what is posted, how it is signed, and what every answer means."""

import base64
import json
import logging
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.env.http_receiver import HttpReceiver, answering, self_signed
from tests.env.notifications import a_notification

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import OutcomeUnknown, Refused, SendFailed, Sent, Throttled, Unavailable
from rollcast_notifier.channels.exchange import retry_after_seconds
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.channels.webhook import WebhookChannel, keys_in, signatures

KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 24).decode()


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as receiver:
        yield receiver


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"whsec_{KEY}\n", encoding="utf-8")
    return file


@pytest.fixture
def channel(receiver: HttpReceiver, secret: Path) -> Iterator[WebhookChannel]:
    channel = WebhookChannel(
        "hook",
        receiver.url,
        SecretFile(secret, channel="hook", setting="secret_file"),
        answer_seconds=30.0,
        now=lambda: 1614265330.7,
    )
    yield channel
    channel.stop()


def test_the_signature_is_the_one_that_the_standard_s_own_example_has() -> None:
    """Of the reference implementations: a library of any language accepts what we send."""
    keys = keys_in("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = signatures(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_notification_is_posted_whole_and_signed(channel: WebhookChannel, receiver: HttpReceiver) -> None:
    notification = a_notification(text="Château: 9 €", expires=1_661_000_060_000)
    assert channel.send(notification) == Sent()
    [received] = receiver.received
    assert received.headers["content-type"] == "application/json"
    assert received.headers["idempotency-key"] == received.headers["webhook-id"] == notification.id
    assert received.headers["webhook-timestamp"] == "1614265330"
    assert received.headers["webhook-signature"] == signatures(keys_in(KEY), notification.id, 1614265330, received.body)
    assert json.loads(received.body) == {
        "type": "rollcast.notification",
        "timestamp": "2022-08-20T12:53:20.000Z",
        "data": {
            "id": notification.id,
            "reference": json.loads(received.body)["data"]["reference"],
            "subscription": "dear-wines",
            "receiver": "sales",
            "text": "Château: 9 €",
            "prediction_id": "local/default/wine-price:r-1",
            "request_id": "r-1",
            "key": "7",
            "model": "wine-price",
            "version": "2022-08-19",
            "prediction": 877.5,
            "expires": "2022-08-20T12:54:20.000Z",
        },
    }


def test_while_a_secret_is_replaced_both_sign_and_nobody_restarts(
    channel: WebhookChannel, receiver: HttpReceiver, secret: Path
) -> None:
    channel.send(a_notification())
    secret.write_text(f"whsec_{OTHER_KEY}\nwhsec_{KEY}\n", encoding="utf-8")
    channel.send(a_notification())
    before, after = (received.headers["webhook-signature"].split() for received in receiver.received)
    assert len(before) == 1
    assert after == [
        *signatures(keys_in(OTHER_KEY), a_notification().id, 1614265330, receiver.received[1].body).split(),
        *before,
    ]


def test_without_a_secret_nothing_is_signed(receiver: HttpReceiver) -> None:
    channel = WebhookChannel("hook", receiver.url, None)
    channel.send(a_notification())
    channel.stop()
    assert "webhook-signature" not in receiver.received[0].headers
    assert receiver.received[0].headers["webhook-id"] == a_notification().id


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (302, Unavailable),
        (400, Refused),
        (401, Refused),
        (404, Refused),
        (408, Unavailable),
        (410, Refused),
        (425, Unavailable),
        (429, Throttled),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, Throttled),
        (504, OutcomeUnknown),
    ],
)
def test_what_an_answer_means(
    channel: WebhookChannel, receiver: HttpReceiver, status: int, raised: type[SendFailed]
) -> None:
    receiver.behaviour = answering(status, Location="http://127.0.0.1:1/elsewhere")
    with pytest.raises(SendFailed, match=str(status)) as caught:
        channel.send(a_notification())
    assert type(caught.value) is raised
    assert len(receiver.received) == 1, "a redirect was followed"
    assert (channel.problem is None) == (raised is Refused)
    receiver.behaviour = answering(200, b"thanks")
    channel.send(a_notification())
    assert channel.problem is None


@pytest.mark.parametrize("status", [429, 503])
def test_it_says_when_to_come_again(channel: WebhookChannel, receiver: HttpReceiver, status: int) -> None:
    receiver.behaviour = answering(status, Retry_After="17")
    with pytest.raises(Throttled) as caught:
        channel.send(a_notification())
    assert caught.value.retry_after_seconds == 17


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (formatdate(1_661_000_090, usegmt=True), 90.0),
        (formatdate(1_660_000_000, usegmt=True), 0.0),
        ("99999999999999999999", 3600.0),
        ("-3", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, 1_661_000_000.0) == seconds


def test_nobody_there_is_certainly_not_sent(channel: WebhookChannel, receiver: HttpReceiver) -> None:
    receiver.__exit__()
    with pytest.raises(Unavailable, match="not reachable"):
        channel.send(a_notification())
    assert channel.problem is not None
    receiver._thread = threading.Thread()  # the fixture ends it once more
    receiver._thread.start()


def test_a_connection_that_breaks_after_the_request_leaves_it_open(
    channel: WebhookChannel, receiver: HttpReceiver
) -> None:
    receiver.behaviour = lambda _handler: None
    with pytest.raises(OutcomeUnknown, match="the connection broke"):
        channel.send(a_notification())


def test_an_answer_that_does_not_come_leaves_it_open(receiver: HttpReceiver) -> None:
    done = threading.Event()
    receiver.behaviour = lambda _handler: (done.wait(60), None)[1]
    impatient = WebhookChannel("hook", receiver.url, None, answer_seconds=0.5)
    try:
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.5 s"):
            impatient.send(a_notification())
    finally:
        done.set()
        impatient.stop()


def test_an_answer_without_end_is_not_read_to_its_end(channel: WebhookChannel, receiver: HttpReceiver) -> None:
    """A receiver that streams for ever would hold the channel."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    receiver.behaviour = endless
    assert channel.send(a_notification()) == Sent()


def test_a_body_that_breaks_off_takes_the_yes_not_back(channel: WebhookChannel, receiver: HttpReceiver) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x")

    receiver.behaviour = broken
    assert channel.send(a_notification()) == Sent()


def test_the_way_is_not_in_errors_or_logs(
    channel: WebhookChannel, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The address of a webhook is often a secret itself."""
    with caplog.at_level(logging.INFO):
        channel.send(a_notification())
        for behaviour in (answering(500), answering(404), lambda _handler: None):
            receiver.behaviour = behaviour
            with pytest.raises(SendFailed) as caught:
                channel.send(a_notification())
            assert "sesame" not in str(caught.value)
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("url", ["http://example.com/hook", "ftp://example.com", "https://", "http://10.0.0.1/x"])
def test_what_would_go_over_the_wire_in_the_clear_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"channel hook: url was .*, may be an https:// address"):
        WebhookChannel("hook", url, None)


@pytest.mark.parametrize("url", ["https://[::1/", "https://example.com:99999/", "https://x\x00y/"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="channel hook: url is no address"):
        WebhookChannel("hook", url, None)


def test_a_name_that_nobody_can_have_is_not_reachable() -> None:
    channel = WebhookChannel("hook", f"https://{'a' * 64}.example/", None)
    with pytest.raises(Unavailable, match="not reachable"):
        channel.send(a_notification())
    channel.stop()


def test_after_the_stop_nothing_is_sent(channel: WebhookChannel, receiver: HttpReceiver) -> None:
    channel.stop()
    with pytest.raises(Unavailable, match="stopped"):
        channel.send(a_notification())
    assert receiver.received == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    with HttpReceiver(certificate=self_signed(tmp_path)) as receiver:
        channel = WebhookChannel("hook", receiver.url, None)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            channel.send(a_notification())
        channel.stop()
    assert receiver.received == []


def test_a_private_authority_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with HttpReceiver(certificate=certificate) as receiver:
        channel = WebhookChannel("hook", receiver.url, None)
        assert channel.send(a_notification()) == Sent()
        channel.stop()


@given(st.one_of(st.text(), st.integers().map(str), st.datetimes().map(str)))
def test_whatever_retry_after_says_the_pause_is_bounded(value: str) -> None:
    seconds = retry_after_seconds(value, 1_661_000_000.0)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize("text", ["hello", "whsec_", f"whsec_{base64.b64encode(b'short').decode()}", "whsec_ü"])
def test_a_secret_that_cannot_sign_is_refused_without_repeating_it(secret: Path, text: str) -> None:
    secret.write_text(text, encoding="utf-8")
    file = SecretFile(secret, channel="hook", setting="secret_file")
    with pytest.raises(ConfigError, match="each line may be whsec_ and 24 to 64 random bytes") as caught:
        WebhookChannel("hook", "https://example.com/hook", file)
    assert text.removeprefix("whsec_") not in str(caught.value) or text == "whsec_"


def test_a_secret_file_that_is_away_names_itself_and_its_channel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"channel hook: secret_file .*/nowhere: no such file"):
        SecretFile(tmp_path / "nowhere", channel="hook", setting="secret_file")


def test_a_secret_file_that_goes_away_later_costs_no_notification(
    channel: WebhookChannel, receiver: HttpReceiver, secret: Path
) -> None:
    secret.unlink()
    with pytest.raises(Unavailable, match="no such file"):
        channel.send(a_notification())
    assert receiver.received == []
