"""The live view in a real browser, fed by a real Kafka."""

from playwright.sync_api import Browser, Page, Route, expect
from tests.env.browser import keep_picture
from tests.env.console import Kafkaesque, RunningConsole
from tests.env.lively import Lively, flooded
from tests.env.long_tasks import LongTasks, traced_tasks

_MOST_MS = 100


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
    expect(first).to_contain_text("year 2009")
    expect(page.locator("#rates-legend")).to_contain_text("v2 (candidate)")


def test_filters_show_what_they_say(page: Page, console: RunningConsole, topics: Kafkaesque) -> None:
    for number in range(30):
        topics.predict(number, key=f"key-{number}", version="v1" if number % 3 else "v2")
    topics.predict(99, key="the odd one", features={"region": "Priorat"})
    topics.flush()
    console.enter(page)
    rows = page.locator("#predictions tbody tr")
    expect(rows).to_have_count(31)
    page.get_by_label("Text").fill("PRIORAT")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("the odd one")
    page.get_by_label("Text").fill("")
    page.get_by_label("Version").select_option("v2")
    expect(rows).to_have_count(10)
    # What comes later is filtered, too.
    topics.predict(1, key="not this", version="v1")
    topics.predict(2, key="but this", version="v2")
    topics.flush()
    expect(rows).to_have_count(11)
    expect(rows.first).to_contain_text("but this")


def test_what_somebody_points_at_stands_still_until_they_leave(
    page: Page, console: RunningConsole, topics: Kafkaesque
) -> None:
    topics.predict(1, key="first")
    topics.flush()
    console.enter(page)
    button = page.get_by_role("button", name="details of the prediction for first")
    button.hover()
    topics.predict(2, key="second")
    topics.flush()
    expect(page.locator("#total")).to_have_text("2")
    expect(page.locator("#predictions tbody tr")).to_have_count(1)
    button.click()
    expect(page.locator("#details")).to_contain_text("first")
    page.keyboard.press("Escape")
    page.mouse.move(0, 0)
    page.get_by_label("Text").focus()
    expect(page.locator("#predictions tbody tr")).to_have_count(2)


def test_a_paused_page_goes_on_counting(page: Page, console: RunningConsole, topics: Kafkaesque) -> None:
    console.enter(page)
    page.get_by_role("button", name="Pause").click()
    topics.predict(1, key="unseen")
    topics.flush()
    expect(page.locator("#total")).to_have_text("1")
    expect(page.locator("#predictions tbody tr")).to_have_count(0)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#predictions tbody tr")).to_have_count(1)


def test_markup_in_a_prediction_is_text(page: Page, console: RunningConsole, topics: Kafkaesque) -> None:
    evil = "<img src=x onerror=\"document.body.dataset.owned='yes'\"><script>document.body.dataset.owned='yes'</script>"
    topics.predict(evil, key=evil, version=evil[:80], features={evil: evil})
    topics.flush()
    console.enter(page)
    row = page.locator("#predictions tbody tr").first
    expect(row).to_contain_text("<img src=x")
    row.get_by_role("button").click()
    expect(page.locator("#details")).to_contain_text("<script>")
    assert page.locator("#details img, #predictions img, main script").count() == 0
    assert page.evaluate("document.body.dataset.owned") is None


def test_a_lost_connection_is_said_and_comes_back(page: Page, console: RunningConsole) -> None:
    console.enter(page)
    page.context.set_offline(True)
    # An open connection outlives that; a new one does not.
    page.get_by_label("Track").select_option("candidate")
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost")
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def test_who_turns_to_another_view_while_the_connection_is_looked_for_stays_there(
    page: Page, console: RunningConsole, topics: Kafkaesque
) -> None:
    """What was wanted before must not replace the connection of what is wanted now."""
    lively = Lively(topics)
    lively.assign(candidate=False)
    topics.flush()
    console.enter(page)
    looking: list[Route] = []

    def hold(route: Route) -> None:
        looking.append(route)

    page.route("**/api/stream?view=live*", lambda route: route.fulfill(status=503))
    page.route("**/api/forms", hold)
    with page.expect_request("**/api/forms"):
        page.get_by_label("Track").select_option("candidate")
    page.unroute("**/api/stream?view=live*")
    page.get_by_role("link", name="Models").click()
    expect(page.locator("#models article.card [data-phase=live]")).to_be_visible()
    with page.expect_response("**/api/forms"):
        looking[0].continue_()
    lively.assign(weight=25)
    topics.flush()
    expect(page.locator("#models article.card [data-phase=canary]")).to_have_text("Canary 25 %")


def test_who_is_logged_out_elsewhere_sees_nothing_more(page: Page, console: RunningConsole) -> None:
    console.enter(page)
    console.users_file.write_text("users: {}\n")
    page.wait_for_url("**/login")


def test_a_flood_is_counted_whole_and_leaves_the_page_at_ease(
    browser: Browser, page: Page, console: RunningConsole, topics: Kafkaesque
) -> None:
    watched = LongTasks(page)
    console.enter(page)
    lively = Lively(topics)
    lively.assign(weight=25)
    with flooded(lively, 5000):
        expect(page.locator("#predictions tbody tr")).to_have_count(40)
        watched.forget()
        with traced_tasks(browser, page) as tasks:
            page.wait_for_timeout(10_000)
        frames = watched.frames_a_second()
        keep_picture(page, "live-5000-a-second")
    made = sum(lively.made.values())
    counted = "n => Number(document.querySelector('#total').textContent.replaceAll(',', '')) === n"
    page.wait_for_function(counted, arg=made)
    assert len(tasks.processor_ms) > 100
    assert max(tasks.processor_ms) < _MOST_MS
    assert frames <= 10
    assert page.locator("#predictions tbody tr").count() == 40
