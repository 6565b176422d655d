"""How many predictions a second go through 100 rules on one core: `make bench-notifier`.

From the bytes on topic app_messages to notifications, as the notifier does it; wines as the article's producer sends
them, every value a text. What counts is the time of the processor: another program on the machine changes nothing.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from tests.env.predictions import a_prediction

from rollcast_common.contracts.prediction import decode_prediction, encode_prediction
from rollcast_notifier.rules.document import NotificationsDocument
from rollcast_notifier.rules.rule_book import RuleBook

_REGIONS = ("Rioja", "Priorato", "Ribera del Duero", "Toro", "Jerez")
_FLOORS = {"equality": 5_000, "arbitrary": 1_000}


@dataclass(frozen=True, slots=True)
class Measured:
    rules: str
    batch: int
    per_core_second: float
    per_second: float
    notifications: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.notifier_rules", description=__doc__)
    parser.add_argument("--rules", type=int, default=100)
    parser.add_argument("--predictions", type=int, default=20_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[2000, 100, 1])
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    records = list(_records(options.predictions, random.Random(7)))  # noqa: S311  # the same wines in every run
    rules = {"equality": _equality(options.rules), "arbitrary": _arbitrary(options.rules)}
    found = [
        # One by one takes longer, and is as steady.
        _measure(name, _book(conditions), records if batch > 1 else records[: len(records) // 20], batch)
        for name, conditions in rules.items()
        for batch in options.batches
    ]
    Console().print(_table(found, options.rules))
    slow = [one for one in found if one.batch == max(options.batches) and one.per_core_second < _FLOORS[one.rules]]
    for one in slow:
        print(f"{one.rules} rules: fewer than {_FLOORS[one.rules]} predictions a second", file=sys.stderr)
    return 1 if slow else 0


def _records(count: int, chance: random.Random) -> Iterator[bytes]:
    for number in range(count):
        features = {
            "winery": f"winery {chance.randrange(500)}",
            "wine": f"wine {number}",
            "year": str(chance.randrange(1990, 2022)),
            "rating": f"{chance.uniform(4.2, 4.9):.1f}",
            "num_reviews": str(chance.randrange(25, 5000)),
            "country": "Espana",
            "region": chance.choice(_REGIONS),
            "type": "Rioja Red",
            "body": "4",
            "acidity": "3",
        }
        yield encode_prediction(
            a_prediction(chance.lognormvariate(3.3, 0.9), features, request_id=f"requests-0-{number}")
        )


def _equality(count: int) -> list[str]:
    return [f"features.winery = 'winery {number}'" for number in range(count)]


def _arbitrary(count: int) -> list[str]:
    kinds = (
        "prediction > {0} and features.region = 'Rioja'",
        "features.rating >= 4.7 and features.year < {1} and prediction < 12",
        "lower(features.winery) like '%7{2}' and not (features.body = 3 or features.acidity is null)",
        "features.winery ~ '^winery {0}$' or (features.num_reviews > 4990 and round(prediction) = {2})",
        "case when features.region in ('Toro', 'Jerez') then prediction * 2 else prediction end > {0}",
    )
    return [kinds[number % len(kinds)].format(200 + number, 1990 + number % 10, number % 10) for number in range(count)]


def _book(conditions: Sequence[str]) -> RuleBook:
    subscriptions = [
        {
            "name": f"rule-{number}",
            "when": condition,
            "to": ["console:ann"],
            "template": "{{ features.winery }}: about {{ prediction | round(2) }} (#{{ reference }})",
        }
        for number, condition in enumerate(conditions)
    ]
    values = {"channels": {"console": {"type": "console"}}, "subscriptions": subscriptions}
    return RuleBook(NotificationsDocument.model_validate(values))


def _measure(name: str, book: RuleBook, records: Sequence[bytes], batch: int) -> Measured:
    book.select([decode_prediction(record) for record in records[:batch]], [0] * batch)
    count = 0
    began, core_began = time.perf_counter(), time.process_time()
    for first in range(0, len(records), batch):
        predictions = [decode_prediction(record) for record in records[first : first + batch]]
        count += len(book.select(predictions, [0] * len(predictions)))
    core, elapsed = time.process_time() - core_began, time.perf_counter() - began
    return Measured(name, batch, len(records) / core, len(records) / elapsed, count)


def _table(found: Sequence[Measured], rules: int) -> Table:
    table = Table(title=f"{rules} rules, one core")
    for title in ("rules", "at once", "predictions / core second", "predictions / second", "notifications"):
        table.add_column(title, justify="left" if title == "rules" else "right")
    for one in found:
        figures = (f"{one.per_core_second:,.0f}", f"{one.per_second:,.0f}", f"{one.notifications:,}")
        table.add_row(one.rules, f"{one.batch:,}", *figures)
    return table


if __name__ == "__main__":
    sys.exit(main())
