"""What keeps a page from answering people: tasks on its main thread, as the browser itself measures them."""

from playwright.sync_api import Page

__all__ = ["LongTasks"]

_WATCH = """
window.longTasks = [];
window.framesSince = performance.now();
window.frames_ = 0;
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
const Source = window.EventSource;
window.EventSource = class extends Source {
  constructor(...given) {
    super(...given);
    this.addEventListener("frame", () => (window.frames_ += 1));
  }
};
"""


class LongTasks:
    """Of 50 ms and more; made before the page is opened."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.add_init_script(_WATCH)

    def forget(self) -> None:
        """What came before, the page's own start among it."""
        self._page.evaluate("longTasks.length = 0; framesSince = performance.now(); frames_ = 0")

    def all_ms(self) -> list[float]:
        return [float(ms) for ms in self._page.evaluate("longTasks")]

    def longest_ms(self) -> float:
        """0 where none took 50 ms."""
        return max(self.all_ms(), default=0.0)

    def frames_a_second(self) -> float:
        """How many events the server has sent."""
        return float(self._page.evaluate("1000 * frames_ / (performance.now() - framesSince)"))
