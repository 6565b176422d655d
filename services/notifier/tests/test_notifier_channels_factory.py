"""From `channels:` of notifications.yaml to channels; what cannot be used is named, all of it."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.env.mesibo import SDK_PATH

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import Channel
from rollcast_notifier.channels.factory import make_channels
from rollcast_notifier.channels.log import LogChannel
from rollcast_notifier.rules.document import NotificationsDocument


def _made(tmp_path: Path, channels: dict[str, Any]) -> list[Channel]:
    document = NotificationsDocument.from_mapping({"channels": channels}, source="notifications.yaml")
    return make_channels(document.channels, console=LogChannel, folder=tmp_path)


@pytest.fixture(autouse=True)
def _sdk_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.fspath(SDK_PATH))


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("sesame\n", encoding="utf-8")
    return str(file)


def test_every_type_becomes_a_channel_of_its_name(tmp_path: Path, token: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", encoding="utf-8")
    made = _made(
        tmp_path,
        {
            "mesibo": {"type": "mesibo-backend", "token_file": token, "from": "rollcast"},
            "chat": {"type": "mesibo-sdk", "token_file": token, "app_id": "com.example.app"},
            "hook": {"type": "webhook", "url": "https://example.com/hook", "secret_file": str(secret)},
            "web": {"type": "console"},
            "log": {"type": "log", "redact": True},
        },
    )
    assert {channel.name: type(channel).__name__ for channel in made} == {
        "mesibo": "MesiboBackendChannel",
        "chat": "MesiboSdkChannel",
        "hook": "WebhookChannel",
        "web": "LogChannel",
        "log": "LogChannel",
    }
    for channel in made:
        channel.stop()


def test_every_channel_that_cannot_be_used_is_named_with_its_file(tmp_path: Path, token: str) -> None:
    channels = {
        "mesibo": {"type": "mesibo-backend", "token_file": str(tmp_path / "away"), "from": "rollcast"},
        "plain": {"type": "mesibo-backend", "token_file": token, "from": "rollcast", "url": "http://example.com/"},
        "hook": {"type": "webhook", "url": "https://example.com/hook", "secret_file": token},
        "log": {"type": "log"},
    }
    with pytest.raises(ConfigError) as caught:
        _made(tmp_path, channels)
    said = str(caught.value).split("; ")
    assert said[0] == f"channel mesibo: token_file {tmp_path / 'away'}: no such file"
    assert said[1].startswith("channel plain: url was http://example.com…, may be an https:// address")
    assert any(part.startswith("channel hook: secret_file: each line may be whsec_") for part in said)
    assert "sesame" not in str(caught.value)


def test_an_empty_secret_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"channel chat: token_file .*: is empty"):
        _made(tmp_path, {"chat": {"type": "mesibo-sdk", "token_file": str(tmp_path / "token"), "app_id": "a"}})
