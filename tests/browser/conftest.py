"""A browser for all tests, a fresh context (its own cookies) and topics of its own for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.env.browser import chromium, open_context
from tests.env.console import Heard, Kafkaesque, RunningConsole, console_of
from tests.env.kafka import RealKafka

expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with open_context(browser) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Fails on an error in the page's own script, and on what its security policy had to stop."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    assert wrong == []


@pytest.fixture
def topics(kafka: RealKafka, topic_prefix: str) -> Kafkaesque:
    names = kafka.create_topics(topic_prefix)
    return Kafkaesque(kafka.params.model_copy(update={"topics": names}), names)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def console(topics: Kafkaesque, heard: Heard, tmp_path: Path) -> Iterator[RunningConsole]:
    with console_of(topics.params, tmp_path, heard=heard) as console:
        yield console
