"""Channel `log`: one line a notification, and what a redacted one leaves out."""

from structlog.testing import capture_logs
from tests.env.notifications import a_notification

from rollcast_notifier.channels.channel import Sent
from rollcast_notifier.channels.log import LogChannel


def test_a_notification_is_one_line() -> None:
    with capture_logs() as lines:
        assert LogChannel("log").send(a_notification("log:ann")) == Sent()
    [line] = lines
    assert line["event"] == "notification"
    assert line["receiver"] == "log:ann"
    assert line["text"] == "Vega Sicilia: about 877.5"
    assert line["prediction_id"] == "local/default/wine-price:r-1"


def test_a_redacted_line_says_neither_what_nor_to_whom() -> None:
    with capture_logs() as lines:
        LogChannel("log", redact=True).send(a_notification("log:zoe"))
    [line] = lines
    assert line["request_id"] == "r-1"
    assert not {"receiver", "text"} & set(line)
    assert "zoe" not in str(line)
    assert "Vega" not in str(line)
