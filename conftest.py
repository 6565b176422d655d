"""What every test may use: the servers of tests/env as fixtures, and the real wine data set where it is."""

import os
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
# Tests are imported without changing sys.path (import mode importlib), their shared environment needs a name.
sys.path.insert(0, str(_ROOT))

pytest_plugins = ["tests.env.fixtures"]


def _find_wines() -> Path | None:
    """The variable WINES; without it, the data set beside the repository. A wrong WINES is not replaced in silence."""
    named = os.environ.get("WINES")
    path = Path(named) if named else _ROOT.parent / "shared" / "data" / "wines_SPA.csv"
    return path.absolute() if path.is_file() else None


def pytest_configure() -> None:
    if wines := _find_wines():
        os.environ["WINES"] = str(wines)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the data set its tests are deselected, not skipped one by one."""
    if _find_wines() is not None:
        return
    needing = [item for item in items if item.get_closest_marker("wines")]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Said by whoever reports: the tests may have been collected in other processes.
    if _find_wines() is None:
        terminalreporter.write_line("deselected: the tests marked wines; they need WINES=path/to/wines_SPA.csv")
