"""The console without a mouse, and for eyes and ears other than most: names, order, focus, contrast."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.env.browser import open_context
from tests.env.console import Heard, Kafkaesque, RunningConsole, console_of
from tests.env.lively import Lively
from tests.env.showcase import Answering, OneCard, told

from rollcast_cli.local.processes import wait_until
from rollcast_notifier.notification import Receiver

_VIEWS = ("live", "ask", "models", "accuracy", "dead-letters")

_NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, a, summary, [role=img], img")]
  .filter((element) => element.type !== "hidden" && element.checkVisibility())
  .filter((element) => {
    const $ = (id) => document.getElementById(id);
    const texts = (elements) => [...elements].map((found) => found?.textContent ?? "").join("");
    const labels = texts(element.labels ?? []);
    const by = texts((element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => $(id)));
    const name = labels || by || element.getAttribute("aria-label") || element.textContent;
    return !name.trim() && element.getAttribute("alt") === null;
  })
  .map((element) => element.outerHTML.slice(0, 200))"""

# Of every text, its contrast to what lies behind it, as WCAG 2 reckons it; those below what AA asks for.
_FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const exempt = "option, datalist, [aria-hidden=true], .unseen, .skip, :disabled, .silent";
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest(exempt)) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(element);
    const back = over(behind), front = over([...behind, style.color]);
    const [high, low] = [light(back), light(front)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const where = `${element.tagName} ${element.className}`;
    if (ratio >= (isLarge ? 3 : 4.5)) continue;
    faint.push(`${ratio.toFixed(2)} ${style.color} ${node.data.slice(0, 40)} ${where}`);
  }
  return faint;
}"""


@pytest.fixture
def console(topics: Kafkaesque, heard: Heard, tmp_path: Path) -> Iterator[RunningConsole]:
    lively = Lively(topics)
    lively.assign(weight=25)
    lively.report()
    lively.answers(20)
    lively.refuse(10)
    lively.predict(30)
    topics.flush()
    with console_of(topics.params, tmp_path, heard=heard, cards=OneCard(), asker=Answering()) as console:
        console.mailbox.deliver(told(Receiver("console", "ann"), "1", 21.4, "Muga: about 21.4"))
        yield console


def look_at(page: Page, console: RunningConsole, view: str) -> None:
    page.goto(f"{console.url}/{view}")
    ready = {
        "live": "#predictions tbody tr",
        "ask": "#field-0",
        "models": ".slot",
        "accuracy": ".point",
        "dead-letters": ".letter",
    }
    page.wait_for_selector(ready[view], state="attached")
    page.wait_for_selector("#connection[data-state=live]")


def test_everything_has_a_name(page: Page, console: RunningConsole) -> None:
    page.goto(f"{console.url}/login")
    assert page.evaluate(_NAMELESS) == []
    console.enter(page)
    for view in _VIEWS:
        look_at(page, console, view)
        assert page.evaluate(_NAMELESS) == [], view
        assert page.locator("h1").count() == 1
        assert page.locator("html[lang=en]").count() == 1
        duplicates = (
            "[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, at, all) => all.indexOf(id) !== at)"
        )
        assert page.evaluate(duplicates) == [], view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, console: RunningConsole, scheme: Literal["light", "dark"]) -> None:
    with open_context(browser, scheme=scheme) as context:
        page = context.new_page()
        page.emulate_media(reduced_motion="reduce")  # nothing is caught half-way
        page.goto(f"{console.url}/login")
        assert page.evaluate(_FAINT) == []
        console.enter(page)
        for view in _VIEWS:
            look_at(page, console, view)
            assert page.evaluate(_FAINT) == [], view


def test_the_whole_way_can_be_gone_by_keyboard(page: Page, console: RunningConsole, heard: Heard) -> None:
    keys = page.keyboard
    page.goto(f"{console.url}/login")
    expect(page.get_by_label("Name")).to_be_focused()
    keys.type("ann")
    keys.press("Tab")
    keys.type(console.tokens["ann"])
    keys.press("Enter")
    page.wait_for_selector("#connection[data-state=live]")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, "#filter-text")
    keys.press("Shift+Tab")
    # Back to the views, and to the conversation.
    page.locator("a.brand").focus()
    keys.press("Tab")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Ask")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#title")).to_have_text("Ask")
    expect(page.get_by_label("winery")).to_be_visible()
    tab_to(page, "#field-0")
    keys.type("Artadi")
    tab_to(page, "#field-2")
    keys.type("4.8")
    tab_to(page, "#field-3")
    keys.type("Rioja")
    keys.press("Enter")
    expect(page.locator(".message.answer")).to_have_count(2)
    answer = page.locator(".message.answer").last
    expect(answer).to_contain_text("36")
    tab_to(page, f"#truth-{answer.get_attribute('data-id')}")
    keys.type("35")
    keys.press("Enter")
    expect(page.locator(".message.mine").last).to_contain_text("actual 35")
    # The page shows it before the service has it.
    wait_until(lambda: heard.messages, what="the service hears of it", timeout_seconds=60)
    assert heard.messages[0].text.startswith("actual 35 #")


def test_focus_can_be_seen(page: Page, console: RunningConsole) -> None:
    console.enter(page)
    # Without its rows the page ends before so many steps.
    expect(page.locator("#predictions tbody tr")).to_have_count(40)
    for _ in range(25):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML.slice(0, 200)")


def test_details_give_the_focus_back(page: Page, console: RunningConsole) -> None:
    console.enter(page)
    button = page.locator("#predictions .value").first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    assert page.evaluate("document.activeElement.className") == "value"


def tab_to(page: Page, selector: str) -> None:
    """By nothing but the tabulator."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached")
