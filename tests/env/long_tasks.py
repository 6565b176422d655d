"""What keeps a page from answering people: tasks on its main thread, as the browser itself measures them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page

__all__ = ["LongTasks", "Tasks", "traced_tasks"]

_WATCH = """
window.longTasks = [];
window.framesSince = performance.now();
window.framesSeen = 0;
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
const Source = window.EventSource;
window.EventSource = class extends Source {
  constructor(...given) {
    super(...given);
    this.addEventListener("frame", () => (window.framesSeen += 1));
  }
};
"""


class LongTasks:
    """Of 50 ms and more by the clock on the wall, so true only where the browser has a processor for itself. Made
    before the page is opened.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        page.add_init_script(_WATCH)

    def forget(self) -> None:
        """What came before, the page's own start among it."""
        self._page.evaluate("longTasks.length = 0; framesSince = performance.now(); framesSeen = 0")

    def all_ms(self) -> list[float]:
        return [float(ms) for ms in self._page.evaluate("longTasks")]

    def frames_a_second(self) -> float:
        """How many events the server has sent."""
        return float(self._page.evaluate("1000 * framesSeen / (performance.now() - framesSince)"))


@dataclass
class Tasks:
    """Of the page's main thread while it was traced: processor time, whatever else the machine does."""

    processor_ms: list[float] = field(default_factory=list)


@contextmanager
def traced_tasks(browser: Browser, page: Page) -> Iterator[Tasks]:
    """The tasks that ran in the block are there after it."""
    tasks = Tasks()
    browser.start_tracing(page=page, categories=["toplevel"])
    try:
        yield tasks
    finally:
        events = json.loads(browser.stop_tracing())["traceEvents"]
        main = {
            (event["pid"], event["tid"])
            for event in events
            if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
        }
        tasks.processor_ms += [
            event["tdur"] / 1000
            for event in events
            if event["name"] == "ThreadControllerImpl::RunTask"
            and (event["pid"], event["tid"]) in main
            and "tdur" in event
        ]
