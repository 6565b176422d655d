"""Asking and answering in a real browser; the service behind it is played, so that every step can be seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from tests.env.browser import keep_picture
from tests.env.console import Heard, Kafkaesque, RunningConsole, console_of
from tests.env.showcase import Answering, OneCard, told

from rollcast_cli.local.processes import wait_until
from rollcast_notifier.notification import Receiver, reference_of


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def console(topics: Kafkaesque, heard: Heard, answering: Answering, tmp_path: Path) -> Iterator[RunningConsole]:
    with console_of(topics.params, tmp_path, heard=heard, cards=OneCard(), asker=answering) as console:
        yield console


@pytest.fixture
def asking(page: Page, console: RunningConsole) -> Page:
    console.enter(page)
    page.get_by_role("link", name="Ask").click()
    expect(page.get_by_label("winery")).to_be_visible()
    return page


def test_the_form_is_made_of_the_models_card(asking: Page) -> None:
    expect(asking.locator("#ask-about")).to_contain_text("wine-price 2022-08-19 predicts price")
    expect(asking.locator("#ask-fields label")).to_have_text(["winery", "year", "rating", "region", "body", "acidity"])
    assert asking.locator("#ask-fields input[required]").count() == 3
    assert asking.locator("#field-0-list option").count() == 4
    expect(asking.locator("#field-1-hint")).to_have_text("seen: 1910 to 2021; may be left out")
    asking.get_by_label("year").fill("2050")
    expect(asking.locator("#field-1-beware")).to_be_visible()


def test_a_question_is_answered_delivered_and_read(asking: Page, answering: Answering, heard: Heard) -> None:
    asking.get_by_role("button", name="Fill in an example").click()
    asking.get_by_role("button", name="Ask", exact=True).click()
    messages = asking.locator(".message")
    expect(messages).to_have_count(2)
    expect(messages.first).to_contain_text("wine-price: winery Artadi, year 2009")
    expect(messages.first.locator(".state")).to_have_text("✓Sent")
    expect(messages.last.locator(".said-value")).to_have_text("36")
    expect(messages.last.locator(".state")).to_have_text("✓✓Read")
    wait_until(lambda: len(heard.receipts) == 2, what="both receipts are told", timeout_seconds=60)
    assert [state for _, state in heard.receipts] == ["delivered", "read"]
    assert answering.asked[0]["features"]["year"] == 2009
    keep_picture(asking, "ask")


def test_mistakes_are_told_at_their_fields(asking: Page, answering: Answering) -> None:
    asking.get_by_label("rating").fill("very good")
    asking.get_by_role("button", name="Ask", exact=True).click()
    expect(asking.locator("#ask-problem")).to_have_text("Some fields need another look.")
    expect(asking.locator("#field-0-wrong")).to_have_text("winery is needed")
    expect(asking.locator("#field-2-wrong")).to_contain_text("'very good' is no number")
    expect(asking.get_by_label("winery")).to_be_focused()
    expect(asking.get_by_label("winery")).to_have_attribute("aria-invalid", "true")
    asking.get_by_role("button", name="Fill in an example").click()
    asking.get_by_role("button", name="Ask", exact=True).click()
    expect(asking.locator("#ask-problem")).to_be_hidden()
    expect(asking.locator("#field-0-wrong")).to_be_hidden()
    wait_until(lambda: len(answering.asked) == 1, what="it was asked", timeout_seconds=60)


def test_what_really_happened_is_told_about_its_prediction(asking: Page, console: RunningConsole, heard: Heard) -> None:
    told_first = told(Receiver("console", "ann"), "1", 21.4, "Muga: about 21.4")
    console.mailbox.deliver(told_first)
    console.mailbox.deliver(told(Receiver("console", "ann"), "2", 30.0, "Artadi: about 30"))
    answer = asking.locator(f"[data-id='{told_first.id}']")
    answer.get_by_label("What really happened?").fill("28.50")
    answer.get_by_role("button", name="Tell").click()
    wait_until(lambda: heard.messages, what="the service hears of it", timeout_seconds=60)
    (inbound,) = heard.messages
    assert inbound.text == f"actual 28.50 #{reference_of(told_first.id)}"
    assert inbound.about == told_first.id
    assert str(inbound.sender) == "console:ann"
    expect(answer.locator(".truth label")).to_have_text("Answered. Was it something else?")
    expect(asking.locator(".message.mine")).to_have_count(1)


def test_words_are_sent_with_enter(asking: Page, heard: Heard) -> None:
    asking.get_by_label("Message").fill("help")
    asking.get_by_label("Message").press("Enter")
    expect(asking.locator(".message.mine .bubble")).to_have_text("help")
    expect(asking.get_by_label("Message")).to_have_value("")
    assert [inbound.text for inbound in heard.messages] == ["help"]


def test_a_person_sees_their_own_conversation_only(asking: Page, console: RunningConsole) -> None:
    console.mailbox.deliver(told(Receiver("console", "bob"), "1", 1.0, "for bob alone"))
    console.mailbox.deliver(told(Receiver("console", "ann"), "2", 2.0, "for ann alone"))
    expect(asking.locator("#messages")).to_contain_text("for ann alone")
    asking.reload()
    expect(asking.locator("#messages")).to_contain_text("for ann alone")
    expect(asking.locator("#messages")).not_to_contain_text("for bob alone")


def test_what_arrives_elsewhere_is_unread_until_it_is_seen(page: Page, console: RunningConsole, heard: Heard) -> None:
    console.enter(page)
    console.mailbox.deliver(told(Receiver("console", "ann"), "1", 1.0, "look at me"))
    expect(page.locator("#unread")).to_have_text("1")
    wait_until(lambda: heard.receipts, what="it is delivered", timeout_seconds=60)
    assert [state for _, state in heard.receipts] == ["delivered"]
    page.get_by_role("link", name="Ask").click()
    expect(page.locator("#unread")).to_be_hidden()
    # The page shows it before the service is told.
    wait_until(lambda: len(heard.receipts) == 2, what="it is read", timeout_seconds=60)
    assert [state for _, state in heard.receipts] == ["delivered", "read"]


def test_that_it_was_read_does_not_overtake_that_it_was_delivered(
    page: Page, console: RunningConsole, heard: Heard
) -> None:
    """Both are told in time, however slow the way of the first is: what was read first would never be delivered."""
    console.enter(page)
    under_way: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if under_way:
            route.continue_()
        else:
            under_way.append(route)

    page.route("**/api/mark", hold_the_first)
    with page.expect_request("**/api/mark"):
        console.mailbox.deliver(told(Receiver("console", "ann"), "1", 1.0, "look at me"))
    page.get_by_role("link", name="Ask").click()
    expect(page.locator(".message")).to_be_visible()
    page.wait_for_timeout(1000)  # time for the wrong thing: the second would be told within 0.2 s
    under_way[0].continue_()
    expect(page.locator("#unread")).to_be_hidden()
    wait_until(lambda: "read" in [state for _, state in heard.receipts], what="it is read", timeout_seconds=60)
    assert [state for _, state in heard.receipts] == ["delivered", "read"]


def test_what_is_typed_while_the_last_message_is_under_way_stays(asking: Page) -> None:
    under_way: list[Route] = []

    def hold(route: Route) -> None:
        under_way.append(route)

    asking.route("**/api/say", hold)
    message = asking.get_by_label("Message")
    message.fill("help")
    with asking.expect_request("**/api/say"):
        message.press("Enter")
    message.fill("ask wine-price")
    asking.locator("a.brand").focus()
    under_way[0].continue_()
    # The page gives the focus back when the message is through.
    expect(message).to_be_focused()
    expect(message).to_have_value("ask wine-price")


def test_what_cannot_be_sent_is_said_and_kept_in_the_field(asking: Page, console: RunningConsole) -> None:
    asking.route("**/api/say", lambda route: route.abort())
    asking.get_by_label("Message").fill("help")
    asking.get_by_role("button", name="Send").click()
    expect(asking.locator("#say-problem")).to_have_text("The server cannot be reached. Please try again.")
    expect(asking.get_by_label("Message")).to_have_value("help")
    assert console.mailbox.changed("ann", 0, 10)[1] == []
