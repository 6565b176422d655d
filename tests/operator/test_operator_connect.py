"""The way to the API server."""

from pathlib import Path

import pytest
from kubernetes.config import ConfigException

from rollcast_operator.kube import connect


def test_without_any_way_nothing_is_printed_into_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the log by machine would stumble over a line that is not of its shape."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigException):
        connect()
    assert capfd.readouterr() == ("", "")
