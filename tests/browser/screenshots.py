"""Pictures of the console for the documentation: `make screenshots` writes docs/images/console-*.png.

A rollout under way is played on a real Kafka for a little over a minute, so that the charts have something to show.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page
from tests.env.browser import PHONE, chromium, open_context
from tests.env.console import Heard, Kafkaesque, RunningConsole, console_of
from tests.env.kafka import real_kafka
from tests.env.lively import Lively, flooded
from tests.env.showcase import Answering, OneCard, told

from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.notification import Notification, Receiver, reference_of

_A_SECOND = 1500
_MOST_BYTES = 150_000


def main(folder: Path, seconds: float = 64.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, real_kafka(Path(temporary)) as kafka, chromium() as browser:
        names = kafka.create_topics("pictures.")
        topics = Kafkaesque(kafka.params.model_copy(update={"topics": names}), names)
        mailbox = Mailbox(Path(temporary) / "console")
        channel = ConsoleChannel("console", mailbox, knows=lambda _: True)
        channel.start(Heard())
        lively = Lively(topics)
        lively.assign(candidate=False, seconds_ago=7200)
        lively.assign(shadow=True, seconds_ago=150)
        lively.refuse(170)
        lively.answers(260)
        topics.flush()
        with console_of(
            topics.params, Path(temporary), channel=channel, mailbox=mailbox, cards=OneCard(), asker=Answering()
        ) as console:
            _talk(mailbox, channel.receiver("ann"))
            lively.assign(weight=5, seconds_ago=75)
            with flooded(lively, _A_SECOND):
                time.sleep(seconds * 0.35)
                lively.assign(weight=25)
                time.sleep(seconds * 0.65)
                _take(browser, console, folder)


def _talk(mailbox: Mailbox, ann: Receiver) -> None:
    """What ann and the service have said to each other."""

    def say(number: int, text: str, about: str | None = None) -> None:
        mailbox.say("ann", f"{number:032x}", text, about=about)
        mailbox.said("ann", f"{number:032x}")

    def answer(number: int, text: str) -> None:
        words = Notification(
            f"{number:032x}", "", "", None, "", "", b"null", "conversation", ann, text, time.time_ns() // 1_000_000
        )
        mailbox.deliver(words)

    say(1, "wine-price: winery Artadi, year 2009, rating 4.8, region Rioja")
    first = told(ann, "1", 412.25, "Artadi 2009: about 412.25")
    mailbox.deliver(first)
    time.sleep(0.01)
    say(2, f"actual 395 #{reference_of(first.id)}", first.id)
    time.sleep(0.01)
    answer(3, f"Noted: 395 for #{reference_of(first.id)} (predicted 412.25). Thank you.")
    time.sleep(0.01)
    say(4, "ask winery=Muga year=2016 rating=4.3 region=Rioja")
    time.sleep(0.01)
    mailbox.deliver(told(ann, "4", 21.4, "Muga 2016: about 21.40"))


def _take(browser: Browser, console: RunningConsole, folder: Path) -> None:
    views = {
        "live": "#rates path.area",
        "models": ".slot",
        "accuracy": ".point",
        "dead-letters": ".letter",
        "ask": ".bubble",
    }
    with open_context(browser) as context:
        page = context.new_page()
        page.goto(f"{console.url}/login")
        _keep(page, folder / "console-login.png")
        console.enter(page)
        page.wait_for_timeout(3000)
        for view, ready in views.items():
            _show(page, console, view, ready)
            _keep(page, folder / f"console-{view}.png")
    with open_context(browser, scheme="dark") as context:
        page = context.new_page()
        console.enter(page)
        page.wait_for_timeout(3000)
        for view in ("live", "models"):
            _show(page, console, view, views[view])
            _keep(page, folder / f"console-{view}-dark.png")
    for name, scheme in (("", "light"), ("-dark", "dark")):
        with open_context(browser, PHONE, "dark" if scheme == "dark" else "light") as context:
            page = context.new_page()
            console.enter(page)
            for view in ("live", "ask", "models"):
                _show(page, console, view, views[view])
                _keep(page, folder / f"console-{view}-phone{name}.png")


def _show(page: Page, console: RunningConsole, view: str, ready: str) -> None:
    page.goto(f"{console.url}/{view}")
    page.wait_for_selector(ready, state="attached", timeout=120_000)
    if view == "ask":
        page.wait_for_selector("#field-0", timeout=120_000)
        page.get_by_role("button", name="Fill in an example").click()
        if page.viewport_size == PHONE:
            page.locator(".talk").scroll_into_view_if_needed()
            page.locator("#say").scroll_into_view_if_needed()
    page.wait_for_timeout(2500)


def _keep(page: Page, path: Path) -> None:
    """With few colours, so that the repository stays small."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < _MOST_BYTES:
            break
    sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
