"""What was predicted against what really happened: errors of numbers, confusions of classes."""

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rollcast_common.contracts import GroundTruth
from rollcast_common.errors import ContractError

__all__ = ["AccuracyBoard", "Pair", "figures_of_classes", "figures_of_numbers"]

_MOST_PAIRS = 5000
_MOST_POINTS = 400
_MOST_CLASSES = 12
_MOST_VERSIONS = 12
_RECENT = 20
_MOST_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Pair:
    """`said` is None where the answer did not bring along what had been predicted."""

    prediction_id: str
    model: str
    version: str
    said: float | str | None
    actual: float | str
    time: int

    @property
    def is_of_numbers(self) -> bool:
        return isinstance(self.actual, float) and isinstance(self.said, float)


def pair_of(truth: GroundTruth) -> Pair:
    """Raises ContractError when what happened is neither a number nor a class."""
    actual = _plain(truth.actual)
    if actual is None:
        raise ContractError("GroundTruth: actual may be a finite number or the name of a class")
    said = _plain(truth.prediction)
    if isinstance(actual, str) or isinstance(said, str):
        actual, said = _name(actual), None if said is None else _name(said)
    return Pair(truth.prediction_id, truth.model, truth.version or "", said, actual, truth.time)


def _plain(raw: Any) -> float | str | None:
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        number = float(value)
        return number if math.isfinite(number) else None
    return value[:_MOST_CHARACTERS] if isinstance(value, str) else None


def _name(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


class AccuracyBoard:
    """The last answers; of several to one prediction the latest counts. Written by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pairs: OrderedDict[str, Pair] = OrderedDict()
        self.revision = 0
        self.unreadable = 0

    def add(self, truth: GroundTruth) -> None:
        try:
            pair = pair_of(truth)
        except ContractError:
            self.unreadable += 1
            return
        with self._lock:
            self.revision += 1
            self._pairs.pop(pair.prediction_id, None)
            self._pairs[pair.prediction_id] = pair
            if len(self._pairs) > _MOST_PAIRS:
                self._pairs.popitem(last=False)

    def picture(self, model: str = "") -> dict[str, Any]:
        """Of the model that was asked for; without one, of that which was answered last."""
        with self._lock:
            pairs = list(self._pairs.values())
        models = Counter(pair.model for pair in pairs)
        if model not in models:
            model = pairs[-1].model if pairs else ""
        mine = [pair for pair in pairs if pair.model == model]
        known = [pair for pair in mine if pair.said is not None]
        numbers = [pair for pair in known if pair.is_of_numbers]
        classes = [pair for pair in known if not pair.is_of_numbers]
        return {
            "models": sorted(models),
            "model": model,
            "answers": len(mine),
            "unknown": len(mine) - len(known),
            "numbers": figures_of_numbers(numbers) if len(numbers) > len(classes) else None,
            "classes": figures_of_classes(classes) if classes and len(classes) >= len(numbers) else None,
            "recent": [_shown(pair) for pair in mine[: -_RECENT - 1 : -1]],
        }


def _shown(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.prediction_id.rpartition(":")[2],
        "version": pair.version,
        "said": pair.said,
        "actual": pair.actual,
        "time": pair.time,
    }


def _by_version(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The newest versions only, in the order in which they were first answered."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.version, []).append(pair)
    return dict(list(groups.items())[-_MOST_VERSIONS:])


def figures_of_numbers(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Per version: mean absolute error, its median, root of the mean square, and bias (above 0: says too much)."""
    groups = _by_version(pairs)
    versions = []
    for version, group in groups.items():
        errors = [float(pair.said) - float(pair.actual) for pair in group]  # type: ignore[arg-type]  # numbers only
        sizes = sorted(map(abs, errors))
        versions.append(
            {
                "version": version,
                "answers": len(group),
                "mae": math.fsum(sizes) / len(sizes),
                "median": sizes[len(sizes) // 2],
                "rmse": math.sqrt(math.fsum(error * error for error in errors) / len(errors)),
                "bias": math.fsum(errors) / len(errors),
            }
        )
    names = list(groups)
    points = [[pair.actual, pair.said, names.index(pair.version)] for pair in pairs if pair.version in groups]
    return {"versions": versions, "points": points[-_MOST_POINTS:]}


def figures_of_classes(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Per version the share that was right; for all, how often each class was taken for which."""
    versions = [
        {"version": version, "answers": len(group), "accuracy": sum(p.said == p.actual for p in group) / len(group)}
        for version, group in _by_version(pairs).items()
    ]
    often = Counter(str(name) for pair in pairs for name in (pair.actual, pair.said))
    names = sorted(name for name, _ in often.most_common(_MOST_CLASSES))
    place = {name: index for index, name in enumerate(names)}
    counts = [[0] * len(names) for _ in names]
    others = 0
    for pair in pairs:
        row, column = place.get(str(pair.actual)), place.get(str(pair.said))
        if row is None or column is None:
            others += 1
        else:
            counts[row][column] += 1
    return {"versions": versions, "names": names, "counts": counts, "others": others}
