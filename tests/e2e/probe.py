"""A pod that tries to open connections, as a neighbour whom nobody has let in would."""

from tests.e2e.cluster import Cluster
from tests.e2e.images import TAG
from tests.env.kubernetes import KubectlFailed

__all__ = ["Probe"]

_PATIENCE_SECONDS = 4
_CONNECT = (
    "import socket, sys\n"
    "try:\n"
    f"    socket.create_connection((sys.argv[1], int(sys.argv[2])), {_PATIENCE_SECONDS}).close()\n"
    "except OSError:\n"
    "    sys.exit('blocked')\n"
)


class Probe:
    """A pod of no part of Rollcast. `reaches` asks it, or another pod that has Python."""

    name = "probe"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def start(self) -> None:
        self._cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": self.name, "labels": {"app": self.name}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 0,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": self.name,
                            "image": f"rollcast-operator:{TAG}",
                            "imagePullPolicy": "Never",
                            "command": ["sleep", "infinity"],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                },
            }
        )
        self._cluster.kubectl("wait", "--for", "condition=Ready", "--timeout", "60s", f"pod/{self.name}")

    def stop(self) -> None:
        self._cluster.kubectl("delete", "pod", self.name, "--ignore-not-found")

    def reaches(self, host: str, port: int, *, source: str | None = None) -> bool:
        try:
            self._cluster.kubectl("exec", source or self.name, "--", "python", "-c", _CONNECT, host, str(port))
        except KubectlFailed as error:
            # Anything else is no answer to the question.
            if "blocked" in error.said:
                return False
            raise
        return True
