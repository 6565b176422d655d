"""How a browser fares that shows a fast stream for a while: `make bench-console`.

Chromium without a window shows the live view while a real Kafka gets predictions. Told is what the browser itself has
measured: tasks on the page's main thread of 50 ms and more, events a second, and the memory that the page holds.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from tests.env.browser import chromium, open_context
from tests.env.console import Kafkaesque, console_of
from tests.env.kafka import real_kafka
from tests.env.lively import Lively, flooded
from tests.env.long_tasks import LongTasks, traced_tasks

from bench.common import machine

_TRACED_SECONDS = 10
_HEAP = "performance.memory.usedJSHeapSize / 2 ** 20"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--a-second", type=int, default=5000, help="predictions written each second")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        real_kafka(Path(folder)) as kafka,
        chromium() as browser,
        open_context(browser) as context,
    ):
        names = kafka.create_topics("bench.")
        topics = Kafkaesque(kafka.params.model_copy(update={"topics": names}), names)
        lively = Lively(topics)
        lively.assign(weight=25)
        with console_of(topics.params, Path(folder)) as console:
            page = context.new_page()
            watched = LongTasks(page)
            console.enter(page)
            with flooded(lively, arguments.a_second):
                page.wait_for_selector("#predictions tbody tr:nth-child(40)")
                page.wait_for_timeout(3000)
                watched.forget()
                before = page.evaluate(_HEAP)
                made, begun = sum(lively.made.values()), time.monotonic()
                page.wait_for_timeout(1000 * arguments.seconds)
                rate = (sum(lively.made.values()) - made) / (time.monotonic() - begun)
                long_ms, frames = watched.all_ms(), watched.frames_a_second()
                after = page.evaluate(_HEAP)
                # Afterwards, since tracing costs the browser something itself.
                with traced_tasks(browser, page) as tasks:
                    page.wait_for_timeout(1000 * _TRACED_SECONDS)
            total = sum(lively.made.values())
            counted = "n => Number(document.querySelector('#total').textContent.replaceAll(',', '')) === n"
            page.wait_for_function(counted, arg=total)
    table = Table("measured", "value", title=f"{arguments.seconds} s of the live view")
    table.add_row("predictions a second, written", f"{rate:,.0f}")
    table.add_row("counted by the page, of those written", f"{total:,} of {total:,}")
    table.add_row("tasks of 50 ms and more", f"{len(long_ms)}")
    table.add_row("longest task, ms", f"{max(long_ms, default=0):.0f}" if long_ms else "below 50")
    table.add_row("longest task, ms of processor time", f"{max(tasks.processor_ms, default=0):.1f}")
    table.add_row("main thread's share of a processor", f"{sum(tasks.processor_ms) / 10 / _TRACED_SECONDS:.1f} %")
    table.add_row("events a second from the server", f"{frames:.1f}")
    table.add_row("JavaScript heap before and after, MiB", f"{before:.1f}, {after:.1f}")
    console_ = Console(width=100)
    console_.print(table)
    console_.print(f"{machine()}; load {os.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores", style="dim")


if __name__ == "__main__":
    main()
