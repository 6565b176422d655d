"""From notifications.yaml's `channels:` to channels."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import Channel
from rollcast_notifier.channels.log import LogChannel
from rollcast_notifier.channels.mesibo_api import MesiboApi
from rollcast_notifier.channels.mesibo_backend import MesiboBackendChannel
from rollcast_notifier.channels.mesibo_sdk import MesiboSdkChannel
from rollcast_notifier.channels.secret_file import SecretFile
from rollcast_notifier.channels.webhook import WebhookChannel
from rollcast_notifier.rules import document

__all__ = ["make_channels"]


def make_channels(
    settings: Mapping[str, document.ChannelSettings],
    *,
    console: Callable[[str], Channel],
    folder: Path,
) -> list[Channel]:
    """`console` makes the web console's channel of that name; `folder` is where others may keep what must last.

    Raises ConfigError that names every channel that cannot be used, and why.
    """
    channels: list[Channel] = []
    problems: list[str] = []
    for name, wanted in settings.items():
        try:
            channels.append(_made(name, wanted, console, folder))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    return channels


def _made(name: str, wanted: document.ChannelSettings, console: Callable[[str], Channel], folder: Path) -> Channel:
    match wanted:
        case document.ConsoleChannel():
            return console(name)
        case document.LogChannel():
            return LogChannel(name, redact=wanted.redact)
        case document.WebhookChannel():
            file = wanted.secret_file
            secret = None if file is None else SecretFile(file, channel=name, setting="secret_file")
            return WebhookChannel(name, wanted.url, secret, answer_seconds=wanted.timeout_seconds)
        case document.MesiboBackendChannel():
            api = MesiboApi(
                wanted.url,
                SecretFile(wanted.token_file, channel=name, setting="token_file"),
                what=f"channel {name}: url",
                answer_seconds=wanted.timeout_seconds,
            )
            return MesiboBackendChannel(name, api, sender=wanted.from_)
        case document.MesiboSdkChannel():
            return MesiboSdkChannel(
                name,
                SecretFile(wanted.token_file, channel=name, setting="token_file"),
                app_id=wanted.app_id,
                database=wanted.database,
                folder=folder / name,
            )
