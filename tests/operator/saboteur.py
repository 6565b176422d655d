"""The operator's command, killed from within: SIGKILL right after so many of its writes, to Kafka or the API server.

python -m tests.operator.saboteur run …    with SABOTEUR_WRITES=1 and SABOTEUR_LOG=path
"""

import os
import signal
from pathlib import Path
from typing import Any

from rollcast_control.control_topics import ControlTopics
from rollcast_operator.__main__ import app
from rollcast_operator.kube import Kube

_writes = int(os.environ["SABOTEUR_WRITES"])
_log = Path(os.environ["SABOTEUR_LOG"])


def _written(what: str) -> None:
    global _writes  # noqa: PLW0603  # of this process, which is about to end
    _writes -= 1
    if _writes == 0:
        with _log.open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def _sabotage() -> None:
    request, publish = Kube._request, ControlTopics.publish

    def sabotaged_request(self: Kube, method: str, path: str, **options: Any) -> Any:
        answer = request(self, method, path, **options)
        if method != "GET":
            _written(f"{options['verb']} {options['resource']}")
        return answer

    def sabotaged_publish(self: ControlTopics, *arguments: Any) -> None:
        publish(self, *arguments)
        _written("publish")

    Kube._request = sabotaged_request  # type: ignore[method-assign]  # that is what it is for
    ControlTopics.publish = sabotaged_publish  # type: ignore[assignment,method-assign]  # as above


if __name__ == "__main__":
    _sabotage()
    app()
