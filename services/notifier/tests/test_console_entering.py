"""Who enters the console, and what every answer of it carries: without Kafka, through the whole application."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.env.console import Heard, Parts, parts_of
from tests.env.kafka import params_for
from tests.env.showcase import Answering, OneCard
from typer.testing import CliRunner

from rollcast_common.errors import ConfigError
from rollcast_notifier.__main__ import app
from rollcast_notifier.console.guarding import MOST_BODY_BYTES
from rollcast_notifier.console.sessions import Attempts, Sessions
from rollcast_notifier.console.users import Users, new_token

ID = "0123456789abcdef" * 2
QUESTION = {"id": ID, "model": "wine-price", "fields": {"winery": "Artadi", "rating": "4.8", "region": "Rioja"}}


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def parts(tmp_path: Path, heard: Heard, answering: Answering) -> Iterator[Parts]:
    params = params_for("127.0.0.1:1")
    parts = parts_of(params, tmp_path, heard=heard, cards=OneCard(), asker=answering)
    yield parts
    parts.mailbox.close()


@pytest.fixture
def browser(parts: Parts) -> Iterator[TestClient]:
    with TestClient(parts.make(), follow_redirects=False) as client:
        yield client


def enter(browser: TestClient, parts: Parts, user: str = "ann", token: str | None = None, **headers: str) -> int:
    page = browser.get("/login").text
    csrf = found(r'name="csrf" value="([^"]+)"', page)
    form = {"csrf": csrf, "user": user, "token": parts.tokens[user] if token is None else token}
    return int(browser.post("/login", data=form, headers=headers).status_code)


def csrf_of(browser: TestClient) -> str:
    return found(r'<meta name="csrf" content="([^"]+)"', browser.get("/live").text)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None
    return match[1]


@pytest.mark.parametrize("path", ["/", "/live", "/ask", "/models", "/accuracy", "/dead-letters"])
def test_a_stranger_is_led_to_the_login(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    while answer.status_code == 303 and answer.headers["location"] != "/login":
        answer = browser.get(answer.headers["location"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize(("method", "path"), [("GET", "stream"), ("GET", "forms"), ("POST", "ask"), ("POST", "say")])
def test_a_stranger_gets_nothing_else(browser: TestClient, method: str, path: str) -> None:
    assert browser.request(method, f"/api/{path}").status_code == 401


def test_who_has_a_token_enters_and_leaves(browser: TestClient, parts: Parts) -> None:
    assert enter(browser, parts) == 303
    assert browser.get("/live").status_code == 200
    csrf = csrf_of(browser)
    cookie = browser.cookies["rollcast_session"]
    assert browser.post("/logout", data={"csrf": csrf}).status_code == 303
    # The session is over, not only the browser's memory of it.
    browser.cookies.set("rollcast_session", cookie)
    assert browser.get("/live").status_code == 303


def test_the_session_cookie_is_strict(browser: TestClient, parts: Parts) -> None:
    page = browser.get("/login").text
    form = {"csrf": found(r'name="csrf" value="([^"]+)"', page), "user": "ann", "token": parts.tokens["ann"]}
    plain = browser.post("/login", data=form).headers["set-cookie"]
    assert "HttpOnly" in plain
    assert "SameSite=strict" in plain
    assert "Secure" not in plain
    browser.cookies.clear()
    page = browser.get("/login").text
    form["csrf"] = found(r'name="csrf" value="([^"]+)"', page)
    behind = browser.post("/login", data=form, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "Secure" in behind


@pytest.mark.parametrize(
    ("user", "token"), [("ann", "wrong"), ("nobody", "wrong"), ("", ""), ("ann", ""), ("bob", None)]
)
def test_a_wrong_name_or_token_is_refused_alike(
    browser: TestClient, parts: Parts, user: str, token: str | None
) -> None:
    page = browser.get("/login").text
    form = {
        "csrf": found(r'name="csrf" value="([^"]+)"', page),
        "user": user,
        "token": parts.tokens["ann"] if token is None else token,
    }
    answer = browser.post("/login", data=form)
    assert answer.status_code == 403
    assert "Name and token do not belong together." in answer.text
    assert "rollcast_session" not in browser.cookies


def test_guessing_is_slowed_down(browser: TestClient, parts: Parts) -> None:
    for _ in range(5):
        assert enter(browser, parts, token="guess") == 403
    assert enter(browser, parts) == 429  # not even with the right one
    assert enter(browser, parts, "bob") == 303  # others are not locked out


def test_a_login_form_of_another_site_is_refused(browser: TestClient, parts: Parts) -> None:
    form = {"user": "ann", "token": parts.tokens["ann"]}
    assert browser.post("/login", data=form).status_code == 403
    assert browser.post("/login", data=form | {"csrf": "0" * 64}).status_code == 403


@pytest.mark.parametrize("path", ["ask", "say", "mark"])
def test_a_post_without_the_sessions_token_does_nothing(
    browser: TestClient, parts: Parts, answering: Answering, path: str
) -> None:
    enter(browser, parts)
    for headers in ({}, {"X-CSRF-Token": "wrong"}):
        assert browser.post(f"/api/{path}", json=QUESTION, headers=headers).status_code == 403
    assert answering.asked == []
    assert browser.post("/logout").status_code == 403
    assert browser.get("/live").status_code == 200


def test_a_new_token_ends_the_sessions_of_the_old_one(browser: TestClient, parts: Parts) -> None:
    enter(browser, parts)
    assert browser.get("/live").status_code == 200
    new = new_token("ann")
    parts.users_file.write_text(f"users:\n{new.lines}\n")
    assert browser.get("/live").status_code == 303
    assert enter(browser, parts, token=new.token) == 303


def test_a_wrong_users_file_is_said_and_the_old_one_stays(browser: TestClient, parts: Parts) -> None:
    enter(browser, parts)
    parts.users_file.write_text("users: {ann: {token_sha256: short}}\n")
    assert browser.get("/live").status_code == 200


@pytest.mark.parametrize("path", ["/login", "/static/app.js", "/api/forms", "/nowhere"])
def test_every_answer_keeps_the_browser_strict(browser: TestClient, path: str) -> None:
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "server" not in headers


def test_pages_hold_no_script_or_style_of_their_own(browser: TestClient, parts: Parts) -> None:
    enter(browser, parts)
    for path in ("/live", "/login"):
        page = browser.get(path).text
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ((), "anything", 200),
        (("localhost",), "localhost:8080", 200),
        (("localhost",), "evil.example.com", 400),
        (("localhost",), "LOCALHOST", 200),
        (("::1",), "[::1]:8080", 200),
        (("localhost",), "", 400),
    ],
)
def test_it_answers_to_its_own_names_only(parts: Parts, hosts: tuple[str, ...], host: str, status: int) -> None:
    client = TestClient(parts.make(hosts=hosts))
    assert client.get("/login", headers={"host": host}).status_code == status


def test_a_large_body_is_refused_whether_declared_or_not(browser: TestClient, parts: Parts) -> None:
    enter(browser, parts)
    headers = {"X-CSRF-Token": csrf_of(browser)}
    body = b"x" * (MOST_BODY_BYTES + 1)
    assert browser.post("/api/say", content=body, headers=headers).status_code == 413
    chunks = iter([body[:1000], body])
    assert browser.post("/api/say", content=chunks, headers=headers).status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"id": 1}', b"\xff", b"[" * 50_000])
@pytest.mark.parametrize("path", ["ask", "say", "mark"])
def test_what_is_no_message_is_refused(browser: TestClient, parts: Parts, path: str, body: bytes) -> None:
    enter(browser, parts)
    answer = browser.post(f"/api/{path}", content=body, headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == (200 if (path, body) == ("mark", b"{}") else 400)
    assert answer.status_code == 200 or answer.json()["problem"]


def test_a_form_becomes_a_request_and_its_answer_comes_to_who_asked(
    browser: TestClient, parts: Parts, answering: Answering
) -> None:
    enter(browser, parts)
    headers = {"X-CSRF-Token": csrf_of(browser)}
    assert browser.post("/api/ask", json=QUESTION, headers=headers).json() == {}
    assert browser.post("/api/ask", json=QUESTION, headers=headers).json() == {}  # the same again is the same
    assert answering.asked == [
        {
            "model": "wine-price",
            "features": {"winery": "Artadi", "rating": 4.8, "region": "Rioja"},
            "reply_to": "console:ann",
            "key": None,
        }
    ]
    mine, answer = parts.mailbox.changed("ann", 0, 10)[1]
    assert mine["text"] == "wine-price: winery Artadi, rating 4.8, region Rioja"
    assert answer["text"] == "Artadi: about 36.0"
    assert parts.mailbox.changed("bob", 0, 10)[1] == []


def test_wrong_fields_are_named_one_by_one(browser: TestClient, parts: Parts, answering: Answering) -> None:
    enter(browser, parts)
    question = {**QUESTION, "fields": {"winery": "  ", "rating": "good", "region": "Rioja", "colour": "red"}}
    answer = browser.post("/api/ask", json=question, headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == 422
    fields = answer.json()["fields"]
    assert fields["winery"] == "is needed"
    assert "'good' is no number" in fields["rating"]
    assert fields["colour"] == "the model has no such field"
    assert answering.asked == []


def test_what_the_service_does_not_take_has_failed_and_says_why(tmp_path: Path) -> None:
    parts = parts_of(params_for("127.0.0.1:1"), tmp_path, cards=OneCard())
    with TestClient(parts.make(), follow_redirects=False) as browser:
        enter(browser, parts)
        answer = browser.post("/api/ask", json=QUESTION, headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == 503
    assert "Kafka at nowhere" in answer.json()["problem"]
    (message,) = parts.mailbox.changed("ann", 0, 10)[1]
    assert message["sent"] is None
    assert "Kafka at nowhere" in message["problem"]
    parts.mailbox.close()


def test_who_may_not_write_is_told_what_to_change(tmp_path: Path) -> None:
    parts = parts_of(params_for("127.0.0.1:1"), tmp_path, cards=OneCard(), allows=lambda who: who.name == "bob")
    with TestClient(parts.make(), follow_redirects=False) as browser:
        enter(browser, parts)
        message = {"id": ID, "text": "help"}
        answer = browser.post("/api/say", json=message, headers={"X-CSRF-Token": csrf_of(browser)})
    assert answer.status_code == 403
    assert "inbound.allow in the notifications file does not name console:ann" in answer.json()["problem"]
    parts.mailbox.close()


def test_a_flood_of_messages_is_stopped(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    # All of it in one and the same moment, however long the machine takes for it.
    monkeypatch.setattr("rollcast_notifier.console.talking.Attempts", partial(Attempts, clock=lambda: 0.0))
    parts = parts_of(params_for("127.0.0.1:1"), tmp_path, heard=heard)
    with TestClient(parts.make(), follow_redirects=False) as browser:
        enter(browser, parts)
        headers = {"X-CSRF-Token": csrf_of(browser)}
        codes = [
            browser.post("/api/say", json={"id": f"{number:032x}", "text": "help"}, headers=headers).status_code
            for number in range(62)
        ]
    parts.mailbox.close()
    assert codes == [200] * 60 + [429] * 2
    assert len(heard.messages) == 60


def test_marks_of_other_peoples_messages_do_nothing(browser: TestClient, parts: Parts, heard: Heard) -> None:
    enter(browser, parts)
    parts.mailbox.say("bob", ID, "mine")
    marks = {"delivered": [ID], "read": [ID]}
    assert browser.post("/api/mark", json=marks, headers={"X-CSRF-Token": csrf_of(browser)}).json() == {}
    assert heard.receipts == []


def test_forms_are_made_of_cards(browser: TestClient, parts: Parts) -> None:
    enter(browser, parts)
    forms = browser.get("/api/forms").json()
    form = forms["models"]["wine-price"]
    assert forms["can_ask"]
    year = next(field for field in form["fields"] if field["name"] == "year")
    assert (year["type"], year["required"], year["minimum"], year["maximum"]) == ("number", False, 1910, 2021)
    assert form["example"]["winery"] == "Artadi"


def test_sessions_expire() -> None:
    now = [0.0]
    sessions = Sessions(lifetime_seconds=10, clock=lambda: now[0])
    cookie = sessions.open("ann", "digest")
    assert sessions.find(cookie) is not None
    assert sessions.find("another") is None
    assert sessions.find(None) is None
    now[0] = 10.0
    assert sessions.find(cookie) is None
    assert sessions.count() == 0


def test_sessions_are_bounded() -> None:
    sessions = Sessions(lifetime_seconds=10, clock=lambda: 0.0)
    first = sessions.open("ann", "digest")
    for _ in range(1000):
        sessions.open("bob", "digest")
    assert sessions.count() == 1000
    assert sessions.find(first) is None


def test_attempts_come_back_with_time() -> None:
    now = [0.0]
    attempts = Attempts(each=2, together=3, within_seconds=60, clock=lambda: now[0])
    for name in ("ann", "ann"):
        assert attempts.may(name)
        attempts.note(name)
    assert not attempts.may("ann")
    assert attempts.may("bob")
    attempts.note("bob")
    assert not attempts.may("carl")
    now[0] = 60.0
    assert attempts.may("ann")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("users: {ann: {token_sha256: abc}}", "users.ann.token_sha256"),
        ("users: {ann: {}}", "users.ann.token_sha256 is missing"),
        ("users: {'a b': {token_sha256: '%s'}}" % ("0" * 64), "users: the name 'a b'"),
        ("people: {}", "people"),
        ("users: [", "users.yaml"),
    ],
)
def test_a_wrong_users_file_names_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Users(path)
    assert complaint in str(caught.value)


def test_the_command_makes_a_token_that_lets_in(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["console-token", "ann@example.com"]).output
    token = found(r"\n  (\S{43})\n", printed)
    path = tmp_path / "users.yaml"
    path.write_text(f"users:\n{printed[printed.index('  ann@') :]}")
    users = Users(path)
    assert users.check("ann@example.com", token)
    assert not users.check("ann@example.com", token[:-1])
    assert not users.check("bob", token)


def test_the_command_refuses_a_name_that_is_none() -> None:
    result = CliRunner().invoke(app, ["console-token", "a:b"])
    assert result.exit_code == 2
    assert "a:b" in result.output
