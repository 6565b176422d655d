"""`python -m bench.rollouts`: what a rollout costs the stream, and how fast a bad version is gone.

With the real controller, slots and Apache Kafka: the longest pause of the outputs around a swap to a large model, the
share of a candidate at each weight, and the time from the verdict against a candidate to its last output.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from bench.common import machine
from rollcast_cli.local.brokers import BrokerChoice
from rollcast_cli.local.processes import wait_until
from rollcast_cli.local.stack import LocalStack, StackOptions
from rollcast_cli.local.state import StateFolder
from rollcast_cli.results import ResultReader
from rollcast_common.artifacts import ArtifactStore
from rollcast_common.models.files import save_model
from rollcast_rollout.schema import API_VERSION, KIND

_MODEL = "bench"
_KINDS = [f"kind-{number}" for number in range(20)]
_KEYS = 2000
_PATIENCE_SECONDS = 300.0
_AT_ONCE: Mapping[str, Any] = {"shadow": {"forSeconds": 0}, "steps": []}
_WEIGHTS = (5, 25, 50)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rollouts", description=__doc__)
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--swaps", type=int, default=3, help="to models of --megabytes and back")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--step-seconds", type=int, default=10, help="of each weight whose share is measured")
    parser.add_argument("--rate", type=int, default=500, help="requests a second")
    parser.add_argument("--keep", type=Path, help="the folder for logs; the default is a temporary one")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="rollcast-bench-"))).absolute()
    with ExitStack() as stack:
        bench = stack.enter_context(_Bench(folder, rate=options.rate, say=console.print))
        rows = [
            *bench.swaps(options.swaps, megabytes=options.megabytes),
            *bench.shares(options.step_seconds),
            *bench.rollbacks(options.rollbacks),
        ]
    table = Table(title="rollouts", title_justify="left")
    for name in ("what", "times", "min", "median", "max"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what, figures, shown in rows:
        if figures:
            spread = (min(figures), statistics.median(figures), max(figures))
            table.add_row(what, str(len(figures)), *(shown.format(figure) for figure in spread))
    console.print(table)
    console.print(machine())
    return 0


Row = tuple[str, list[float], str]


class _Bench:
    def __init__(self, folder: Path, *, rate: int, say: Callable[[str], None]) -> None:
        self._folder = StateFolder(folder / "state")
        self._files = folder
        self._rate = rate
        self._say = say
        self._exit = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        options = StackOptions(_MODEL, slots=1)
        self._stack = self._exit.enter_context(
            LocalStack(self._folder, BrokerChoice("kafka", "as asked"), options, self._say)
        )
        self._store = ArtifactStore(self._stack.stack.s3_params())
        first = self._apply(self._line(), _AT_ONCE)
        self._wait(first, "Live")
        self._reader = self._exit.enter_context(ResultReader(self._stack.stack.kafka_params()))
        self._exit.enter_context(_Traffic(self._stack.stack.servers, self._rate))
        self._watch(5.0)
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()

    # What is measured.

    def swaps(self, times: int, *, megabytes: int) -> list[Row]:
        """Milliseconds between the outputs of one slot: usually, and at worst around a swap to a large model."""
        if not times:
            return []
        forest = self._forest(megabytes)
        since = time.time()
        self._watch(20.0)
        usual = self._pauses(since)
        worst: list[float] = []
        beyond: list[float] = []
        p99 = float(np.percentile(usual, 99))
        for number in range(times):
            since = time.time()
            version = self._apply(forest, _AT_ONCE)
            self._wait(version, "Live")
            self._watch(3.0)
            worst.append(max(self._pauses(since)))
            beyond.append(worst[-1] - p99)
            self._say(f"swap {number + 1} of {times}: longest pause {worst[-1]:.0f} ms, p99 without {p99:.0f} ms")
            self._wait(self._apply(self._line(), _AT_ONCE), "Live")
            self._watch(3.0)
        size = f"{forest.stat().st_size / 1e6:.0f} MB"
        return [
            ("pause between outputs, no swap, ms", usual, "{:.0f}"),
            (f"longest pause around a swap to a model of {size}, ms", worst, "{:.0f}"),
            ("  beyond the p99 without, ms", beyond, "{:.0f}"),
        ]

    def shares(self, seconds: int) -> list[Row]:
        """Percentage points between a candidate's share of the outputs and its weight."""
        steps = [{"weight": weight, "forSeconds": seconds} for weight in _WEIGHTS]
        version = self._apply(self._line(), {"shadow": {"forSeconds": 0}, "steps": steps}, replicas=2)
        rows: list[Row] = []
        for weight in _WEIGHTS:
            self._until(lambda: self._weight(version) == weight, f"weight {weight}")  # noqa: B023  # called at once
            since = time.time()
            self._until(lambda: self._weight(version) != weight, f"another weight than {weight}")  # noqa: B023  # the same
            share = self._share(version, since + 0.5, time.time() - 0.5)
            self._say(f"weight {weight} %: share {share:.2f} %")
            rows.append(
                (
                    f"share of the candidate at {weight} %, of {_KEYS} keys, error in points",
                    [abs(share - weight)],
                    "{:.2f}",
                )
            )
        self._wait(version, "Live")
        return rows

    def rollbacks(self, times: int) -> list[Row]:
        """Milliseconds from the verdict, by the controller's record, to the candidate's last output, by the slots'."""
        took: list[float] = []
        found: list[float] = []
        for number in range(times):
            began = time.time()
            steps = [{"weight": 50, "forSeconds": 60}]
            version = self._apply(self._failing(), {"shadow": {"forSeconds": 0}, "steps": steps}, replicas=2)
            self._wait(version, "RolledBack")
            self._watch(1.5)
            verdict = self._stack.verdict_seconds(version)
            last = max((at for at, of in self._made() if of == version), default=0) / 1000
            took.append(max(0.0, last - verdict) * 1000)
            found.append(verdict - began)
            self._say(f"rollback {number + 1} of {times}: {took[-1]:.0f} ms after the verdict")
        return [
            ("apply to verdict, a candidate that fails 5 % of the rows at 50 %, s", found, "{:.1f}"),
            ("verdict to the candidate's last output, ms", took, "{:.0f}"),
        ]

    # How.

    def _made(self) -> Counter[tuple[int, str]]:
        return self._reader.made()

    def _pauses(self, since: float) -> list[float]:
        times = sorted({at for at, _ in self._made() if at >= since * 1000})
        return [float(later - earlier) for earlier, later in itertools.pairwise(times)]

    def _share(self, version: str, since: float, until: float) -> float:
        inside = [(of, count) for (at, of), count in self._made().items() if since * 1000 <= at < until * 1000]
        total = sum(count for _, count in inside)
        return 100 * sum(count for of, count in inside if of == version) / total

    def _weight(self, version: str) -> float:
        return float((self._stack.rolled(version).get("rollout") or {}).get("weight") or 0)

    def _wait(self, version: str, phase: str) -> None:
        self._until(lambda: self._stack.rolled(version).get("phase") == phase, f"{version} is {phase}")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            self._stack.check()
            return condition()

        wait_until(met, what=what, timeout_seconds=_PATIENCE_SECONDS, interval_seconds=0.02)

    def _watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._stack.check()
            time.sleep(0.05)

    def _apply(self, path: Path, rollout: Mapping[str, Any], *, replicas: int = 1) -> str:
        version = f"v{next(self._numbers)}"
        ref = self._store.put_once(f"models/{version}.skops", path)
        self._stack.model_versions.apply(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": f"{_MODEL}-{version}"},
                "spec": {
                    "model": _MODEL,
                    "version": version,
                    "artifact": {"uri": ref.uri},
                    "serving": {"replicas": replicas},
                    # Two slots, a broker, a client and a controller share the cores: costs say little here.
                    "rollout": {**rollout, "abort": {"costRatioAbove": 1_000_000}},
                },
            }
        )
        return version

    # Models.

    def _saved(self, model: Any) -> Path:
        path = self._files / f"model-{next(self._numbers)}.skops"
        save_model(model, path)
        return path

    def _line(self) -> Path:
        """Never the same bytes twice: the same bytes are promoted without a rollout."""
        frame = pd.DataFrame({"x": [1.0, 2.0]})
        slope = 2.0 + 1e-9 * next(self._numbers)
        return self._saved(LinearRegression(fit_intercept=False).fit(frame, np.array([slope, 2 * slope])))

    def _failing(self) -> Path:
        """Raises for one kind in twenty, which it has never seen."""
        frame = pd.DataFrame({"x": np.arange(38.0), "kind": _KINDS[1:] * 2})
        columns = ColumnTransformer(
            [("kind", OneHotEncoder(handle_unknown="error"), ["kind"]), ("x", "passthrough", ["x"])]
        )
        target = 2 * frame["x"] + 1e-9 * next(self._numbers)
        return self._saved(Pipeline([("columns", columns), ("line", LinearRegression())]).fit(frame, target))

    def _forest(self, megabytes: int) -> Path:
        random = np.random.default_rng(7)
        frame = pd.DataFrame({"x": random.random(20_000)})
        target = frame["x"] * 2 + random.normal(size=len(frame)) / 10
        trees = max(1, round(2 * megabytes))  # of about half a megabyte each
        path = self._saved(RandomForestRegressor(trees, random_state=7, n_jobs=1).fit(frame, target))
        self._say(f"a forest of {trees} trees has {path.stat().st_size / 1e6:.0f} MB")
        return path


class _Traffic:
    """So many requests a second, of all keys in turn, until it is left."""

    def __init__(self, servers: str, rate: int) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "partitioner": "murmur2_random"})
        self._rate = rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        began = time.monotonic()
        sent = 0
        while not self._over.wait(0.002):
            due = int((time.monotonic() - began) * self._rate)
            for number in range(sent, due):
                value = b'{"x":%d,"kind":"%s"}' % (number % 1000, _KINDS[number % len(_KINDS)].encode())
                # A key and a kind are not to go together: else the canary would choose kinds.
                self._producer.produce("requests", value, b"key-%d" % (number * 7 % _KEYS + number // _KEYS % 3))
            sent = due
            self._producer.poll(0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._producer.flush(10)


if __name__ == "__main__":
    sys.exit(main())
