"""The console on everything real: Kafka, S3, a predictor slot and the notifier as its own process."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect
from tests.env.browser import keep_picture
from tests.env.kafka import RealKafka
from tests.env.notifier import Notifier, NotifierWorld
from tests.env.predictor import Slot, World, line_of
from tests.env.records import announced_with_card
from tests.env.s3 import S3

from rollcast_common.contracts import GroundTruth, ServedVersion
from rollcast_common.contracts.ground_truth import decode_ground_truth
from rollcast_notifier.console.users import new_token

_RULES = """
channels:
  console: {type: console}
inbound:
  allow: ["console:*"]
"""
_ANN = new_token("ann")
_START_SECONDS = 120.0
"""A browser, a broker, a store and two services begin at the same time here."""


@pytest.fixture
def world(kafka: RealKafka, s3: S3, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(kafka.params, kafka.create_topics(topic_prefix), s3.params(), tmp_path)
    yield world
    world.stop()


@pytest.fixture
def stable(world: World) -> ServedVersion:
    model = world.upload(line_of(2), "v1")
    return world.announce(announced_with_card(world, model, "v1", golden={'{"x": 4}': 8.0}))


@pytest.fixture
def slot(world: World, stable: ServedVersion) -> Slot:
    slot = world.start()
    slot.wait(lambda: slot.health().get("ready"), "the slot is ready", _START_SECONDS)
    slot.wait_for_version(stable.version)
    return slot


@pytest.fixture
def notifiers(world: World) -> Iterator[NotifierWorld]:
    kafka = world.kafka.model_copy(update={"topics": world.names})
    notifiers = NotifierWorld(kafka, world.names, world.folder)
    notifiers.write_rules(_RULES)
    (world.folder / "users.yaml").write_text(f"users:\n{_ANN.lines}\n")
    yield notifiers
    notifiers.stop()


def serve(notifiers: NotifierWorld, world: World) -> Notifier:
    s3 = {name: value for name, value in world.environment().items() if name.startswith("ROLLCAST_S3")}
    users = {"ROLLCAST_CONSOLE_USERS": str(world.folder / "users.yaml"), "ROLLCAST_CONSOLE_PORT": "0"}
    return notifiers.serve(environ={**s3, **users})


def console_port(notifier: Notifier) -> int:
    """Asked until it answers: a busy one may take longer than the question waits."""
    port: int = notifier.wait(lambda: notifier.health().get("console_port"), "it says where its console is")
    return port


def enter(page: Page, notifier: Notifier) -> None:
    page.goto(f"http://127.0.0.1:{console_port(notifier)}/login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Token").fill(_ANN.token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("#connection[data-state=live]")


def truths(world: World) -> list[GroundTruth]:
    return [decode_ground_truth(message.value() or b"") for message in world._all_of(world.names.full("feedback"))]


@pytest.mark.usefixtures("slot")
def test_a_person_asks_hears_and_tells_what_really_happened(page: Page, world: World, notifiers: NotifierWorld) -> None:
    notifier = serve(notifiers, world)
    enter(page, notifier)
    page.get_by_role("link", name="Ask").click()
    page.get_by_label("x", exact=True).fill("21")
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.locator(".message.answer")
    expect(answer.locator(".said-value")).to_have_text("42")
    expect(answer.locator(".state")).to_have_text("✓✓Read")
    expect(answer).to_contain_text("line v1")

    answer.get_by_label("What really happened?").fill("40")
    answer.get_by_role("button", name="Tell").click()
    expect(page.locator(".message").last).to_contain_text("Noted: 40 for #")
    (truth,) = truths(world)
    assert msgspec.json.decode(truth.actual) == 40
    assert msgspec.json.decode(truth.prediction) == 42
    assert truth.source == "console:ann"
    assert truth.prediction_id.startswith("test/default/line:")

    def states() -> list[str]:
        return [receipt.state for receipt in notifiers.receipts() if receipt.prediction_id == truth.prediction_id]

    notifiers.wait(lambda: "read" in states(), "every receipt is on its topic")
    assert states() == ["queued", "sent", "delivered", "read"]
    keep_picture(page, "whole-ask")

    page.get_by_role("link", name="Accuracy").click()
    expect(page.locator("circle.point")).to_have_count(1)
    expect(page.locator("#accuracy table").first).to_contain_text("+2")
    page.get_by_role("link", name="Live").click()
    expect(page.locator("#predictions tbody tr").first).to_contain_text("42")


@pytest.mark.usefixtures("slot")
def test_words_are_understood_and_helped_along(page: Page, world: World, notifiers: NotifierWorld) -> None:
    enter(page, serve(notifiers, world))
    page.get_by_role("link", name="Ask").click()
    message, messages = page.get_by_label("Message"), page.locator(".message")
    for text, said in [
        ("help", "Ask a model: ask MODEL"),
        ("ask line x=much", "x should be a number"),
        ("ask line x=5", "I asked line"),
    ]:
        message.fill(text)
        message.press("Enter")
        expect(messages.filter(has_text=said)).to_have_count(1)
    expect(page.locator(".message.answer .said-value")).to_have_text("10")


def test_a_real_slot_can_be_watched_taking_a_candidate(
    page: Page, world: World, notifiers: NotifierWorld, slot: Slot, stable: ServedVersion
) -> None:
    enter(page, serve(notifiers, world))
    page.get_by_role("link", name="Models").click()
    card = page.locator("#models article.card")
    expect(card.locator(".slot")).to_contain_text("4 partitions")
    world.assign(stable, world.put_model("v2", 3), weight=50.0)
    expect(card.locator("[data-phase=canary]")).to_have_text("Canary 50 %")
    expect(card.locator(".slot .chip.good")).to_have_text(["4 partitions", "ready", "ready"])
    requests = world.requests()
    requests.send(b"this is no JSON", b"key-1")
    requests.send_x(range(40), keys=40)
    world.wait_answered(requests, [slot])
    page.get_by_role("link", name="Dead letters").click()
    expect(page.locator(".letter")).to_have_count(1)
    page.get_by_role("link", name="Live").click()
    page.get_by_label("Track").select_option("candidate")
    expect(page.locator("#predictions .chip.candidate").first).to_have_text("v2")


@pytest.mark.usefixtures("slot")
def test_what_was_said_outlives_the_service(page: Page, world: World, notifiers: NotifierWorld) -> None:
    first = serve(notifiers, world)
    enter(page, first)
    page.get_by_role("link", name="Ask").click()
    page.get_by_label("x", exact=True).fill("21")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".message.answer")).to_have_count(1)
    first.child.kill()
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")
    enter(page, serve(notifiers, world))
    page.get_by_role("link", name="Ask").click()
    expect(page.locator(".message.answer .said-value")).to_have_text("42")


@pytest.mark.usefixtures("slot")
def test_open_pages_are_counted(page: Page, world: World, notifiers: NotifierWorld) -> None:
    notifier = serve(notifiers, world)
    notifiers.wait(lambda: notifier.metric("console_sessions") == {"": 0}, "no page is open")
    enter(page, notifier)
    notifiers.wait(lambda: notifier.metric("console_sessions") == {"": 1}, "one page is open")
    page.goto("about:blank")
    notifiers.wait(lambda: notifier.metric("console_sessions") == {"": 0}, "it is closed")
    with urllib.request.urlopen(f"http://127.0.0.1:{console_port(notifier)}/login", timeout=60) as login:  # loopback
        assert login.status == 200
