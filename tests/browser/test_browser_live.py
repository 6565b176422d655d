"""The live view in a real browser, fed by a real Kafka."""

from playwright.sync_api import Page, expect
from tests.env.browser import keep_picture
from tests.env.console import Kafkaesque, RunningConsole


def test_predictions_appear_as_they_are_made(page: Page, console: RunningConsole, topics: Kafkaesque) -> None:
    for number in range(20):
        topics.predict(10.5 + number, key=f"winery-{number}", features={"country": "Spain"})
    topics.flush()
    console.enter(page)
    expect(page.locator("#predictions tbody tr")).to_have_count(20)
    topics.predict(412.25, key="Vega Sicilia", version="v2", track="candidate", features={"year": 2009})
    topics.flush()
    first = page.locator("#predictions tbody tr").first
    expect(first).to_contain_text("412.3")
    expect(first).to_contain_text("Vega Sicilia")
    expect(first).to_contain_text("v2")
    expect(first).to_contain_text("year 2,009")
    keep_picture(page, "live")
