"""The notifier of the local stack: what it is told, where its web console is, who may enter."""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcast_cli.local.mesibo import APP_ID, SDK_FOLDER, MesiboServer
from rollcast_cli.local.ports import free_ports
from rollcast_cli.local.processes import Child, start
from rollcast_cli.local.state import ConsoleAccess

__all__ = ["ADDRESS", "SERVICE_ADDRESS", "USER", "Notifier", "start_notifier"]

USER = "ann"
"""Who may enter the web console."""

ADDRESS = "ann@example.com"
"""The same person on the embedded mesibo."""

SERVICE_ADDRESS = "rollcast"
"""Whom people write to there."""


@dataclass(frozen=True, slots=True)
class Notifier:
    child: Child
    access: ConsoleAccess
    metrics_port: int


def start_notifier(
    folder: Path, mesibo: MesiboServer, *, notifications: Path | None, environ: Mapping[str, str], log: Path
) -> Notifier:
    """`notifications` is a person's own file; without it a small one that tells Ann about candidates."""
    if notifications is None:
        token_file = folder / "mesibo-user-token"
        token_file.write_text(mesibo.sign_up(SERVICE_ADDRESS), encoding="utf-8")
        notifications = folder / "notifications.yaml"
        # JSON is YAML, too.
        notifications.write_text(json.dumps(_document(token_file), indent=2), encoding="utf-8")
    token = secrets.token_urlsafe(16)
    users = folder / "console-users.yaml"
    digest = hashlib.sha256(token.encode()).hexdigest()
    users.write_text(json.dumps({"users": {USER: {"token_sha256": digest}}}), encoding="utf-8")
    console_port, metrics_port = free_ports(2)
    path = os.environ.get("PYTHONPATH")
    child = start(
        [
            sys.executable,
            "-m",
            "rollcast_notifier",
            "run",
            "--notifications",
            str(notifications),
            "--outbox",
            str(folder / "outbox.db"),
            "--console-port",
            str(console_port),
            "--console-users",
            str(users),
            "--metrics-port",
            str(metrics_port),
        ],
        role="notifier",
        log=log,
        environ={
            **environ,
            "PYTHONPATH": f"{SDK_FOLDER}{os.pathsep}{path}" if path else str(SDK_FOLDER),
            "ROLLCAST_EMBEDDED_MESIBO": mesibo.origin,
        },
    )
    return Notifier(child, ConsoleAccess(url=f"http://127.0.0.1:{console_port}", user=USER, token=token), metrics_port)


def _document(token_file: Path) -> dict[str, Any]:
    return {
        "channels": {
            "mesibo": {"type": "mesibo-sdk", "token_file": str(token_file), "app_id": APP_ID},
            "console": {"type": "console"},
        },
        "subscriptions": [
            {
                "name": "candidate",
                "when": "track = 'candidate'",
                "to": [f"mesibo:{ADDRESS}", f"console:{USER}"],
                "template": "{{ version }} is being tried: it says {{ prediction }} for {{ key }} (#{{ reference }})",
                "expires_seconds": 600,
                "receipts": ["delivered", "read"],
                "rate_limit": {"per_minute": 6},
            }
        ],
        "inbound": {"allow": ["mesibo:*", "console:*"]},
    }
