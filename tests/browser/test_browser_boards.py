"""Models, accuracy and dead letters in a real browser, from a rollout that is played on a real Kafka."""

import re

import pytest
from playwright.sync_api import Page, expect
from tests.env.browser import PHONE, keep_picture
from tests.env.console import Kafkaesque, RunningConsole
from tests.env.lively import Lively


@pytest.fixture
def lively(topics: Kafkaesque) -> Lively:
    return Lively(topics)


def test_a_rollout_can_be_watched(page: Page, console: RunningConsole, lively: Lively) -> None:
    lively.assign(candidate=False, seconds_ago=300)
    lively.assign(shadow=True)
    lively.report()
    lively.topics.flush()
    console.enter(page)
    page.get_by_role("link", name="Models").click()
    model = page.locator("#models article.card")
    expect(model.locator("[data-phase=shadow]")).to_have_text("Shadow")
    expect(model.locator(".slot")).to_have_count(3)
    lively.assign(weight=25)
    lively.report()
    lively.topics.flush()
    expect(model.locator("[data-phase=canary]")).to_have_text("Canary 25 %")
    expect(model.get_by_role("img", name="stable 75 %, candidate 25 %")).to_be_visible()
    expect(model).to_contain_text(re.compile(r"2022-09-02 answers 25 % of the keys, (just now|\d+ s ago)"))
    keep_picture(page, "models")
    lively.assign(candidate=False)
    lively.topics.flush()
    expect(model.locator("[data-phase=live]")).to_have_text("Live")
    expect(model).to_contain_text("2022-09-02 was taken off; 2022-08-19 answers all requests")


def test_a_model_that_ends_goes(page: Page, console: RunningConsole, lively: Lively) -> None:
    lively.assign(candidate=False)
    lively.topics.flush()
    console.enter(page)
    page.get_by_role("link", name="Models").click()
    expect(page.locator("#models article.card")).to_have_count(1)
    lively.topics.assign(None)
    lively.topics.flush()
    expect(page.locator("#no-models")).to_be_visible()


def test_errors_of_numbers_are_drawn(page: Page, console: RunningConsole, lively: Lively) -> None:
    lively.answers(60)
    lively.topics.flush()
    console.enter(page)
    page.get_by_role("link", name="Accuracy").click()
    expect(page.locator("circle.point")).to_have_count(60)
    expect(page.locator("#accuracy table").first).to_contain_text("Mean error")
    expect(page.locator("#accuracy table").first.locator("tbody tr")).to_have_count(2)
    lively.answers(1)
    lively.topics.flush()
    expect(page.locator("circle.point")).to_have_count(61)
    keep_picture(page, "accuracy")


def test_confusions_of_classes_are_counted(page: Page, console: RunningConsole, topics: Kafkaesque) -> None:
    for said, actual in [("benign", "benign"), ("benign", "malignant"), ("malignant", "malignant")]:
        topics.happened(topics.predict(said), actual)
    topics.flush()
    console.enter(page)
    page.get_by_role("link", name="Accuracy").click()
    expect(page.locator(".confusion tbody tr").last).to_have_text("malignant11")
    expect(page.locator("#accuracy table").first).to_contain_text("67 %")


def test_dead_letters_tell_why_and_where_from(page: Page, console: RunningConsole, lively: Lively) -> None:
    lively.refuse(30)
    lively.topics.flush()
    console.enter(page)
    page.get_by_role("link", name="Dead letters").click()
    letters = page.locator(".letter")
    expect(letters).to_have_count(30)
    letter = letters.filter(has_text="not-json").first
    letter.locator("summary").click()
    expect(letter).to_contain_text('{"winery":"Artadi')
    expect(letter).to_contain_text("rollcast dead-letters replay")
    # What is open stays open when another comes.
    lively.refuse(1)
    lively.topics.flush()
    expect(letters).to_have_count(31)
    expect(letters.filter(has=page.locator("[open]")).or_(page.locator(".letter[open]"))).to_have_count(1)
    keep_picture(page, "dead-letters")


@pytest.mark.parametrize("view", ["live", "ask", "models", "accuracy", "dead-letters"])
def test_nothing_is_wider_than_a_phone(page: Page, console: RunningConsole, lively: Lively, view: str) -> None:
    lively.assign(weight=25)
    lively.report()
    lively.answers(10)
    lively.refuse(5)
    lively.predict(20)
    lively.topics.flush()
    page.set_viewport_size(PHONE)
    console.enter(page)
    page.goto(f"{console.url}/{view}")
    ready = {"live": "#predictions tbody tr", "models": ".slot", "accuracy": ".point", "dead-letters": ".letter"}
    page.wait_for_selector(ready.get(view, "#say"), state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    keep_picture(page, f"{view}-phone")
