"""A model that misbehaves as its rows ask it to. Hosts import it by its name, from PYTHONPATH."""

import os
import signal
import sys
import time
from typing import Any

import numpy as np

_HOARDED_BYTES = 300_000_000


class Moody:
    """Says x of each row, unless one of them brings a mood along."""

    def __init__(self) -> None:
        self.feature_names_in_ = ["x", "mood"]
        self.hoard: list[Any] = []

    def predict(self, rows: Any) -> Any:
        xs = rows["x"].to_numpy(dtype=float)
        for mood in rows["mood"]:
            if mood != "good":
                return getattr(self, mood)(xs, (rows["mood"] == mood).to_numpy())
        return xs

    def raises(self, *_: Any) -> Any:
        raise ValueError("no such wine\nand a second line")

    def says_nan(self, xs: Any, moody: Any) -> Any:
        return np.where(moody, np.nan, xs)

    def says_too_much(self, xs: Any, _: Any) -> Any:
        return [*xs, 0.0]

    def says_an_object(self, xs: Any, moody: Any) -> Any:
        return np.array([{"wine": x} if odd else x for x, odd in zip(xs, moody, strict=True)], dtype=object)

    def prints(self, xs: Any, _: Any) -> Any:
        print("printed by the model")  # noqa: T201  # the point of it
        return xs

    def says_too_little(self, xs: Any, _: Any) -> Any:
        return xs[:-1]

    def says_one_for_all(self, xs: Any, _: Any) -> Any:
        return xs.sum()

    def says_a_lot(self, xs: Any, moody: Any) -> Any:
        return np.array(["wine" * 2000 if odd else x for x, odd in zip(xs, moody, strict=True)], dtype=object)

    def dawdles(self, xs: Any, _: Any) -> Any:
        time.sleep(0.2)
        return xs

    def sleeps(self, *_: Any) -> Any:
        time.sleep(600)

    def leaves(self, *_: Any) -> Any:
        os._exit(3)

    def leaves_politely(self, *_: Any) -> Any:
        sys.exit(4)

    def hangs_up(self, *_: Any) -> Any:
        os.closerange(3, 1000)
        time.sleep(600)

    def is_killed(self, *_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def wants_too_much(self, xs: Any, _: Any) -> Any:
        return np.ones(10 * _HOARDED_BYTES // 8)[: len(xs)]

    def hoards(self, xs: Any, _: Any) -> Any:
        self.hoard.append(np.ones(_HOARDED_BYTES // 8))
        return xs


class Stubborn:
    """Cannot even be loaded: it takes its process with it."""

    def __reduce__(self) -> Any:
        return os._exit, (5,)


class Large:
    """Needs 2 GB when it is loaded."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.weights = bytearray(2_000_000_000)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": "large"}
