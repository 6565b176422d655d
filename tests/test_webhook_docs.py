"""docs/how-to/webhooks.md: the lines that it gives to receivers accept what the channel sends, and nothing else."""

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.env.http_receiver import HttpReceiver, Received
from tests.env.notifications import a_notification

from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.channels.webhook import WebhookChannel, body_of
from rollcast_notifier.rules.document import load_notifications

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "how-to" / "webhooks.md").read_text(encoding="utf-8")
SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
OTHER = f"whsec_{base64.b64encode(b'o' * 32).decode()}"

Verified = Callable[[dict[str, str], bytes, str], bool]


def _block(tag: str, page: str = PAGE) -> str:
    found = re.search(rf"^```{tag}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None, tag
    return found[1]


@pytest.fixture(scope="module")
def verified() -> Verified:
    names: dict[str, Any] = {}
    exec(_block("python"), names)  # noqa: S102  # the page's own lines are what is tested
    function: Verified = names["verified"]
    return function


def _received(tmp_path: Path, secret: str, when: float) -> Received:
    (tmp_path / "secret").write_text(secret, encoding="utf-8")
    file = SecretFile(tmp_path / "secret", channel="hook", setting="secret_file")
    with HttpReceiver() as receiver:
        channel = WebhookChannel("hook", receiver.url, file, now=lambda: when)
        channel.send(a_notification(text="Château: 9 €"))
        channel.stop()
    return receiver.received[0]


def test_what_the_channel_sends_is_accepted(verified: Verified, tmp_path: Path) -> None:
    received = _received(tmp_path, SECRET, time.time())
    assert verified(received.headers, received.body, SECRET)


def test_while_a_secret_is_replaced_both_are_accepted(verified: Verified, tmp_path: Path) -> None:
    received = _received(tmp_path, f"{OTHER}\n{SECRET}\n", time.time())
    assert verified(received.headers, received.body, SECRET)
    assert verified(received.headers, received.body, OTHER)


def test_anything_else_is_not(verified: Verified, tmp_path: Path) -> None:
    received = _received(tmp_path, SECRET, time.time())
    assert not verified(received.headers, received.body, OTHER)
    assert not verified(received.headers, received.body + b" ", SECRET)
    assert not verified({**received.headers, "webhook-id": "another"}, received.body, SECRET)
    old = _received(tmp_path, SECRET, time.time() - 3600)
    assert not verified(old.headers, old.body, SECRET)


def test_the_body_has_the_fields_that_the_page_shows() -> None:
    shown = json.loads(_block("json"))
    sent = json.loads(body_of(a_notification()))
    assert {**sent, "data": None} == {**shown, "data": None}
    differing = {"id", "reference"}
    assert {name: value for name, value in sent["data"].items() if name not in differing} == {
        name: value for name, value in shown["data"].items() if name not in differing
    }
    assert sent["data"].keys() == shown["data"].keys()


@pytest.mark.parametrize("page", ["mesibo.md", "webhooks.md"])
def test_every_example_of_notifications_is_accepted(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml notifications\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "notifications.yaml").write_text(block, encoding="utf-8")
        load_notifications(tmp_path / "notifications.yaml")
