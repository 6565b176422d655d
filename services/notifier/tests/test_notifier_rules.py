"""From predictions to what is to be sent, and what is wrong with a notifications file."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.env.predictions import a_prediction

from rollcast_common.contracts import Prediction
from rollcast_common.errors import ConfigError
from rollcast_notifier.notification import OnUnknown, Receiver, notification_id, reference_of
from rollcast_notifier.rules.document import WrongNotifications, load_notifications
from rollcast_notifier.rules.rule_book import RuleBook
from rollcast_notifier.rules.templates import TextFailed

ROOT = Path(__file__).resolve().parents[3]

RULES = """
channels:
  mesibo: {type: mesibo-backend, token_file: /run/token, from: rollcast}
  console: {type: console}
subscriptions:
  - name: dear-wines
    when: "prediction > 50"
    to: ["mesibo:ann@example.com", "mesibo:group:102529", "mesibo:ann@example.com"]
    template: "{{ features.winery }}: about {{ prediction | round(2) }} (#{{ reference }})"
    expires_seconds: 60
    receipts: [delivered, read]
    on_unknown: hold
  - name: everything
    to: ["console:bob"]
inbound:
  allow: ["console:*", "mesibo:*@example.com"]
"""


@pytest.fixture
def book(tmp_path: Path) -> RuleBook:
    return a_book(tmp_path, RULES)


def a_book(folder: Path, text: str) -> RuleBook:
    path = folder / "notifications.yaml"
    path.write_text(text, encoding="utf-8")
    return RuleBook.load(path)


def test_a_prediction_becomes_a_notification_for_each_receiver_of_each_subscription(book: RuleBook) -> None:
    prediction = a_prediction(877.8512, {"winery": "Vega Sicilia"})
    found = book.select([prediction], [1_000])
    assert [(told.subscription, str(told.receiver)) for told in found] == [
        ("dear-wines", "mesibo:ann@example.com"),
        ("dear-wines", "mesibo:group:102529"),
        ("everything", "console:bob"),
    ]
    dear = found[0]
    assert dear.id == notification_id(prediction.prediction_id, "dear-wines", Receiver("mesibo", "ann@example.com"))
    assert dear.text == f"Vega Sicilia: about 877.85 (#{reference_of(dear.id)})"
    assert (dear.created, dear.expires, dear.wants, dear.on_unknown) == (
        1_000,
        61_000,
        frozenset({"delivered", "read"}),
        OnUnknown.HOLD,
    )
    assert (dear.prediction, dear.model, dear.version) == (b"877.8512", "wine-price", "2022-08-19")
    assert (dear.key, dear.request_id, dear.dropped) == ("wine-7", "r1", None)
    assert found[2].text == f"wine-price says 877.851 for wine-7 (#{reference_of(found[2].id)})"


def test_a_batch_keeps_its_order_and_only_matches_are_told(book: RuleBook) -> None:
    predictions = [a_prediction(value, request_id=f"r{value}") for value in (10, 60, 20, 70)]
    found = book.select(predictions, [1, 2, 3, 4])
    assert [(told.request_id, told.subscription) for told in found if told.receiver.name != "group"] == [
        ("r10", "everything"),
        *[("r60", "dear-wines")] * 2,
        ("r60", "everything"),
        ("r20", "everything"),
        *[("r70", "dear-wines")] * 2,
        ("r70", "everything"),
    ]
    assert {told.created for told in found if told.request_id == "r20"} == {3}


def test_the_same_predictions_are_the_same_notifications(book: RuleBook) -> None:
    predictions = [a_prediction(value, request_id=f"r{value}") for value in (60, 70)]
    assert book.select(predictions, [1, 2]) == book.select(predictions, [1, 2])


def test_nothing_is_selected_of_nothing(book: RuleBook) -> None:
    assert book.select([], []) == []
    assert book.count == 2


# Whoever asked.


@pytest.mark.parametrize(
    ("reply_to", "answered"),
    [
        ("console:carl", True),
        ("mesibo:carl@example.com", True),
        ("mesibo:carl@elsewhere.com", False),
        ("console:group:all", False),
        ("hook:x", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_who_asked_is_answered_where_that_is_allowed(book: RuleBook, reply_to: str, *, answered: bool) -> None:
    with capture_logs() as lines:
        found = book.select([a_prediction(7, headers={"reply-to": reply_to})], [1])
    replies = [told for told in found if told.subscription == "reply"]
    assert [str(told.receiver) for told in replies] == ([reply_to] if answered else [])
    assert book.refused_replies == (0 if answered else 1)
    assert [line["log_level"] for line in lines] == ([] if answered else ["warning"])
    for told in replies:
        assert told.text.startswith(f"wine-price says 7 (#{reference_of(told.id)})")


def test_a_subscription_that_answers_who_asked_takes_the_place_of_the_built_in_answer(tmp_path: Path) -> None:
    book = a_book(
        tmp_path,
        """
channels: {console: {type: console}}
subscriptions:
  - {name: cheap, when: "prediction < 10", to: [reply-to, "console:ann"], template: "only {{ prediction }}"}
inbound: {allow: ["console:*"]}
""",
    )
    asked = {"reply-to": "console:ann"}
    assert [
        (told.subscription, str(told.receiver), told.text)
        for told in book.select([a_prediction(7, headers=asked)], [1])
    ] == [("cheap", "console:ann", "only 7")]
    assert [told.subscription for told in book.select([a_prediction(70, headers=asked)], [1])] == ["reply"]
    assert [str(told.receiver) for told in book.select([a_prediction(7)], [1])] == ["console:ann"]


# Limits.

LIMITED = """
channels: {console: {type: console}}
subscriptions:
  - {name: all, to: ["console:ann", "console:bob"], rate_limit: {per_minute: 1, burst: 2}}
"""


def test_what_exceeds_a_limit_is_recorded_as_dropped(tmp_path: Path) -> None:
    book = a_book(tmp_path, LIMITED)
    predictions = [a_prediction(value, request_id=f"r{value}") for value in range(5)]
    found = book.select(predictions, [0, 1, 2, 60_000, 60_001])
    of_ann = [told.dropped for told in found if told.receiver.name == "ann"]
    assert of_ann == [None, None, "rate limit", None, "rate limit"]
    assert of_ann == [told.dropped for told in found if told.receiver.name == "bob"]
    assert len({told.id for told in found}) == 10


def test_new_rules_do_not_forget_how_much_was_told(tmp_path: Path) -> None:
    before = a_book(tmp_path, LIMITED)
    before.select([a_prediction(value, request_id=f"r{value}") for value in range(5)], [0] * 5)
    after = RuleBook.load(tmp_path / "notifications.yaml", before=before)
    assert {told.dropped for told in after.select([a_prediction(1)], [0])} == {"rate limit"}


def test_new_rules_go_on_counting_what_failed(tmp_path: Path) -> None:
    text = """
channels: {log: {type: log}}
subscriptions:
  - {name: unwritten, to: ["log:y"], template: "{{ features.a / 0 }}"}
"""
    before = a_book(tmp_path, text)
    before.select([a_prediction(1, {"a": "1"})], [1])
    (tmp_path / "notifications.yaml").write_text(f"{text}  - {{name: new, to: ['log:z']}}\n")
    after = RuleBook.load(tmp_path / "notifications.yaml", before=before)
    assert after.failures == {"unwritten": 1, "new": 0}


# Failures at run time.


def test_a_rule_that_fails_for_a_prediction_harms_no_other_and_is_said_sparingly(tmp_path: Path) -> None:
    book = a_book(
        tmp_path,
        """
channels: {log: {type: log}}
subscriptions:
  - {name: fails, when: "lpad(key, cast(features.a as int), 'x') = 'w'", to: ["log:x"]}
  - {name: unwritten, to: ["log:y"], template: "{{ features.a / 0 }}"}
  - {name: empty, to: ["log:z"], template: "{% if features.b %}b{% endif %}"}
""",
    )
    predictions = [a_prediction(1, {"a": text}, request_id=f"r{text}") for text in ("-5", "1", "-1")]
    with capture_logs() as lines:
        found = book.select(predictions, [1, 2, 3])
    assert [told.request_id for told in found if told.subscription == "fails"] == ["r1"]
    for name in ("unwritten", "empty"):
        assert [told.text.startswith("wine-price says 1") for told in found if told.subscription == name] == [True] * 3
    assert book.failures == {"fails": 2, "unwritten": 3, "empty": 3}
    assert sorted(line["subscription"] for line in lines) == ["empty", "fails", "unwritten"]


def test_a_reply_whose_words_fail_is_a_plain_sentence(book: RuleBook, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> str:
        raise TextFailed("no words")

    monkeypatch.setattr("rollcast_notifier.rules.rule_book._write_reply", fails)
    (told,) = [
        told
        for told in book.select([a_prediction(7, headers={"reply-to": "console:carl"})], [1])
        if told.subscription == "reply"
    ]
    assert told.text.startswith("wine-price says 7")
    assert book.failures["reply"] == 1


# The file.


def test_the_examples_are_right() -> None:
    files = sorted(ROOT.glob("examples/*/notifications.yaml"))
    assert len(files) == 2
    for file in files:
        assert RuleBook.load(file).count == 2


def test_an_empty_file_tells_nobody(tmp_path: Path) -> None:
    assert a_book(tmp_path, "").select([a_prediction(1)], [1]) == []


WRONG = """\
channels:
  m: {type: mesibo-backend, token: geheim, from: x}
  n: {type: telegram}
  o: {}
  Bad Name: {type: log}
  log: {type: log}
subscriptions:
  - name: a
    when: "prediction > "
    to: ["log:x"]
  - name: a
    when: "sum(prediction) > 1"
    to: []
  - name: reply
    to: [foo:bar, bar]
    template: |
      fine
      {{ nosuch }}
  - nam: b
    template: "{% for"
    expires_seconds: -1
    receipts: [seen]
    to: log:x
inbound: {allow: ["*"], per_minute: 0}
"""


def test_all_that_is_wrong_is_said_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(WRONG, encoding="utf-8")
    with pytest.raises(WrongNotifications) as refused:
        load_notifications(path)
    said = [problem.removeprefix(f"{path}, ") for problem in refused.value.problems]
    wanted = [
        "line 2: channels.m.token_file is missing",
        "line 2: channels.m.token is not a setting here",
        "line 3: channels.n.type was 'telegram', may be console, log, webhook, mesibo-backend, mesibo-sdk",
        "line 4: channels.o.type is missing",
        "line 5: channels: the name 'Bad Name' should match",
        "line 9: subscription a: when: unable to parse",
        "line 11: the name a stands here and in line 8",
        "line 12: subscription a: when: counts or sums up rows",
        "line 13: subscriptions.1.to has fewer than 1",
        "line 14: the name reply is taken by the service itself",
        "line 15: subscription reply: receiver foo:bar is of channel foo, which is not among channels: m, n, o",
        "line 15: subscription reply: receiver was 'bar', may be channel:address",
        "line 16: subscription reply: template: knows no nosuch",
        "line 19: subscriptions.3.name is missing",
        "line 19: subscriptions.3.nam is not a setting here",
        "line 20: subscriptions.3: template: unexpected",
        "line 21: subscriptions.3.expires_seconds was -1, should be greater than 0",
        "line 22: subscriptions.3.receipts.0 was 'seen', should be 'delivered' or 'read'",
        "line 23: subscriptions.3.to was 'log:x'",
        "line 24: inbound.per_minute was 0",
        "line 24: inbound.allow was '*', may be channel:address",
    ]
    unsaid = [text for text in wanted if not any(line.startswith(text) for line in said)]
    assert unsaid == []
    assert len(said) == len(wanted)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a\n", "expected a mapping at the top"),
        ("channels: {}\n---\nchannels: {}\n", "line 2: a second YAML document begins|line 3"),
        ("channels: [\n", "line 2"),
        ("subscriptions: 5\n", "line 1: subscriptions was 5"),
        ("subscriptions: [5]\n", "line 1: subscriptions.0"),
        ("channels: {log: {type: log}, log: {type: log}}\n", "log stands here and in line 1"),
        ("channels: {c: 5}\n", "channels.c"),
    ],
)
def test_what_is_no_notifications_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        load_notifications(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"n\.yaml: no such file"):
        load_notifications(tmp_path / "n.yaml")


@pytest.mark.parametrize(
    "features",
    [
        b'{"a": "\\ud800"}',
        b'{"a": 1e999}',
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"[1, 2]",
        b'"x"',
        b"null",
        b'{"a": "\xff"}',
    ],
)
def test_features_that_cannot_be_read_are_as_if_they_were_not_there(book: RuleBook, features: bytes) -> None:
    found = book.select([a_prediction(60), raw_prediction(60, features)], [1, 2])
    assert [told.subscription for told in found[3:]] == ["dear-wines", "dear-wines", "everything"]
    assert found[3].text.startswith("?: about 60")


def raw_prediction(value: Any, features: bytes) -> Prediction:
    """As it comes from Kafka, where only its outside is looked at."""
    prediction = a_prediction(value, request_id="raw")
    prediction.features = msgspec.Raw(features)
    return prediction


def test_a_prediction_may_lack_features_and_hold_anything(book: RuleBook) -> None:
    values: list[Any] = [None, "red", True, [1, 2], [], 10**400, -1.5]
    for value in values:
        assert book.select([a_prediction(value)], [1])
