"""What is said to a person who writes, what is asked and noted for them, and whom nobody listens to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.env.cards import WINE_FEATURES, a_card
from tests.env.predictions import a_prediction

from rollcast_common.contracts import GroundTruth
from rollcast_common.errors import KafkaUnavailable
from rollcast_common.models.card import Feature, ModelCard
from rollcast_notifier.inbound.checking import example_of
from rollcast_notifier.inbound.conversation import Conversation, Kind
from rollcast_notifier.notification import Inbound, Notification, Receiver, reference_of
from rollcast_notifier.rules.document import NotificationsDocument
from rollcast_notifier.rules.rate_limits import Buckets
from rollcast_notifier.rules.rule_book import RuleBook

ANN = Receiver("console", "ann")
NOW = 1_700_000_000_000


@dataclass
class Told:
    """An outbox in memory, everything in it sent."""

    notifications: list[Notification] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def last_sent_to(self, receiver: Receiver) -> Notification | None:
        return next((told for told in reversed(self.notifications) if told.receiver == receiver), None)

    def find(self, receiver: Receiver, reference: str) -> Notification | None:
        mine = [told for told in self.notifications if told.receiver == receiver]
        return next((told for told in reversed(mine) if reference_of(told.id) == reference), None)

    def by_id(self, id_: str) -> Notification | None:
        return next((told for told in self.notifications if told.id == id_), None)

    def inbound_seen(self, channel: str, id_: str) -> bool:
        return (channel, id_) in self.seen


@dataclass
class Model:
    model: str
    card: ModelCard | None


@dataclass
class World:
    """A conversation, and everything around it that it touches."""

    served: list[Model] = field(default_factory=lambda: [Model("wine-price", a_card())])
    outbox: Told = field(default_factory=Told)
    per_minute: int = 30
    asked: list[tuple[str, dict[str, Any], str, str | None]] = field(default_factory=list)
    truths: list[GroundTruth] = field(default_factory=list)
    kinds: list[tuple[str, Kind]] = field(default_factory=list)
    kafka_is_down: bool = False
    now: int = NOW

    def __post_init__(self) -> None:
        self.current = RuleBook(
            NotificationsDocument.model_validate(
                {
                    "channels": {"console": {"type": "console"}},
                    "subscriptions": [
                        {"name": "all", "to": ["console:ann", "console:bob", "console:group:7"], "template": "x"}
                    ],
                    "inbound": {"allow": ["console:*"], "per_minute": self.per_minute},
                }
            )
        )
        self.conversation = Conversation(
            self, self, self, self, self.outbox, Buckets(), lambda *kind: self.kinds.append(kind), lambda: self.now
        )

    def models(self) -> list[Model]:
        return self.served

    def card(self, model: str) -> ModelCard | None:
        return next((found.card for found in self.served if found.model == model), None)

    def ask(
        self,
        model: str,
        features: Mapping[str, Any],
        reply_to: Receiver,
        request_id: str | None = None,
        key: str | None = None,  # noqa: ARG002  # the conversation has none
    ) -> str:
        if self.kafka_is_down:
            raise KafkaUnavailable("Kafka at secret-host:9092: not reachable")
        self.asked.append((model, dict(features), str(reply_to), request_id))
        return request_id or ""

    def record(self, truth: GroundTruth) -> None:
        if self.kafka_is_down:
            raise KafkaUnavailable("Kafka at secret-host:9092: not reachable")
        self.truths.append(truth)

    def tell(self, value: Any, **others: Any) -> list[Notification]:
        told = self.current.select([a_prediction(value, **others)], [NOW])
        self.outbox.notifications += told
        return told

    def says(self, text: str, *, sender: Receiver = ANN, id_: str = "m1", about: str | None = None) -> str:
        return self.conversation.handle(Inbound(id_, sender, text, NOW, about))


@pytest.fixture
def world() -> World:
    return World()


# Requests.


def test_a_request_is_passed_on_with_its_types(world: World) -> None:
    answer = world.says('winery="Vega Sicilia" year=2009 rating=4,7')
    ((model, features, reply_to, request_id),) = world.asked
    assert (model, features, reply_to) == (
        "wine-price",
        {"winery": "Vega Sicilia", "year": 2009, "rating": 4.7},
        "console:ann",
    )
    assert request_id is not None
    assert request_id.startswith("ask-")
    assert answer == "I asked wine-price; you will hear in a moment.\nrating: I read 4,7 as 4.7."
    assert world.kinds == [("console", "request")]


def test_the_same_message_again_is_the_same_request(world: World) -> None:
    """The service died after it had asked, and before it had written that down."""
    for _ in range(2):
        world.says("winery=Artadi rating=4.5")
    world.says("winery=Artadi rating=4.5", id_="m2")
    ids = [request_id for *_, request_id in world.asked]
    assert ids[0] == ids[1] != ids[2]


def test_a_message_that_was_dealt_with_is_not_dealt_with_again(world: World) -> None:
    world.outbox.seen.add(("console", "m1"))
    assert world.says("winery=Artadi rating=4.5") == ""
    assert (world.asked, world.kinds) == ([], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ask wine-price", ["winery (text), rating (number): missing.", "For example: ask wine-price winery="]),
        ("winery=Artadi", ["rating (number): missing."]),
        (
            "winery=Artadi raiting=4.5",
            ["wine-price knows no 'raiting'; did you mean rating?", "rating (number): missing"],
        ),
        ("winery=Artadi rating=4.5 colour=red", ["wine-price knows no 'colour'."]),
        ("winery=Artadi rating=good", ["rating should be a number: 'good' is no number."]),
        ("winery=Artadi rating=4,123", ["may be 4.123 or 4123"]),
        ("winery=NA rating=4.5", ["winery (text) is needed, and was 'NA'."]),
        (
            '{"winery": true, "rating": [1]}',
            ["winery should be a text, was true.", "rating should be a number, was [1]."],
        ),
        ("rating=4.5 Rating=4.6 winery=x", ["rating stands there twice."]),
        ("ask nosuch winery=Artadi", ["There is no model 'nosuch'. Models: wine-price"]),
        ("good morning", ["I do not understand 'good morning'.", "ask MODEL", "actual 28.50"]),
    ],
)
def test_what_cannot_be_asked_is_helped_along(world: World, text: str, said: list[str]) -> None:
    answer = world.says(text)
    assert [part for part in said if part not in answer] == []
    assert world.asked == []
    assert world.kinds == [("console", "unclear")]


@pytest.mark.parametrize(
    ("text", "features", "note"),
    [
        ("Winery=Artadi RATING=4.5", {"winery": "Artadi", "rating": 4.5}, None),
        ("winery=Artady rating=4.5", {"winery": "Artady", "rating": 4.5}, "winery 'Artady': did you mean Artadi?"),
        ("winery=Artadi rating=9.5", {"winery": "Artadi", "rating": 9.5},
         "rating 9.5 is unlike all that the model has seen (4.2 to 4.9)."),
        ("winery=x rating=4.5 region=Mosel", {"winery": "x", "rating": 4.5, "region": "Mosel"},
         "region 'Mosel' is new to the model."),
        ("winery=x rating=4.5 year=NA", {"winery": "x", "rating": 4.5, "year": None}, None),
        ('{"winery": 7, "rating": "4.5"}', {"winery": "7", "rating": 4.5}, None),
    ],
)  # fmt: skip
def test_what_is_unusual_is_said_and_asked(world: World, text: str, features: dict[str, Any], note: str | None) -> None:
    answer = world.says(text)
    assert world.asked[0][1] == features
    assert answer.splitlines()[1:] == ([note] if note else [])


def test_the_example_can_be_sent_as_it_is(world: World) -> None:
    example = world.says("ask wine-price").rpartition("For example: ")[2]
    world.says(example, id_="m2")
    assert world.asked[0][1] == {"winery": "Vega Sicilia", "year": 2009, "rating": 4.7}


def test_an_example_with_odd_names_and_values_can_be_sent_as_it_is(world: World) -> None:
    features = [Feature(name=name, type="string") for name in ("worst area", "a=b", "quote")]
    row = {"worst area": "x y", "a=b": "", "quote": "d'Or"}
    card = a_card(features=features, golden=row)
    card_of_quotes = a_card(features=features, golden={**row, "quote": 'say "no"'})
    for number, one in enumerate((card, card_of_quotes)):
        world.served = [Model("wine-price", one)]
        world.says(example_of(one) or "", id_=f"m{number}")
    # An empty text means "not known" to this card, and all are required.
    assert world.asked == []
    features = [Feature(name=name, type="string", required=False) for name in ("worst area", "a=b", "quote")]
    for number, golden in enumerate((row, {**row, "quote": 'say "no"'})):
        one = a_card(features=features, golden=golden)
        world.served = [Model("wine-price", one)]
        world.says(example_of(one) or "", id_=f"n{number}")
        assert world.asked[-1][1] == {**golden, "a=b": None}


def test_of_several_models_one_has_to_be_named(world: World) -> None:
    world.served.append(Model("wine-colour", a_card(model="wine-colour")))
    assert world.says("winery=Artadi rating=4.5") == "Which model? Write `ask MODEL …`. Models: wine-price, wine-colour"
    world.says("ask Wine-Colour winery=Artadi rating=4.5", id_="m2")
    assert [model for model, *_ in world.asked] == ["wine-colour"]


def test_a_model_without_a_card_is_asked_as_well_as_can_be(world: World) -> None:
    world.served = [Model("wine-price", None)]
    assert "no card" in world.says("winery=Artadi year=2009 rating=4,5")
    assert world.asked[0][1] == {"winery": "Artadi", "year": 2009, "rating": "4,5"}
    assert "ask wine-price name=value" in world.says("ask wine-price", id_="m2")


def test_models_and_help(world: World) -> None:
    assert world.says("models") == (
        "wine-price: winery (text), year (number, may be left out), rating (number), region (text, may be left out)"
    )
    assert "actual 28.50 #k3f9t" in world.says("help", id_="m2")
    world.served = []
    assert world.says("models", id_="m3") == world.says("winery=x", id_="m4") == "No model is served just now."


def test_kafka_is_away(world: World) -> None:
    world.tell(31.25)
    world.kafka_is_down = True
    for number, text in enumerate(["winery=Artadi rating=4.5", "actual 28.50"]):
        answer = world.says(text, id_=f"m{number}")
        assert answer == "I could not pass that on just now. Please try again in a minute."


# What really happened.


def test_an_answer_is_noted(world: World) -> None:
    told = world.tell(31.25)[0]
    assert world.says("actual 28.50") == f"Noted: 28.50 for #{reference_of(told.id)} (predicted 31.25). Thank you."
    (truth,) = world.truths
    assert (truth.prediction_id, truth.model, truth.version) == (told.prediction_id, "wine-price", "2022-08-19")
    assert (bytes(truth.actual), bytes(truth.prediction)) == (b"28.5", b"31.25")
    assert (truth.source, truth.time) == ("console:ann", NOW)
    assert world.kinds == [("console", "answer")]


def test_an_answer_is_about_what_it_names_else_what_the_channel_says_else_the_last(world: World) -> None:
    told = [world.tell(value, request_id=f"r{value}")[0] for value in (10, 20, 30)]
    world.says(f"actual 1 #{reference_of(told[0].id)}", about=told[1].id)
    world.says("actual 2", id_="m2", about=told[1].id)
    world.says("actual 3", id_="m3")
    assert [truth.prediction_id for truth in world.truths] == [one.prediction_id for one in told]


def test_an_answer_to_a_group_counts_and_one_to_somebody_else_does_not(world: World) -> None:
    of_ann, of_bob, of_group = world.tell(10)
    carl = Receiver("console", "carl")
    assert "do not remember" in world.says("actual 1", sender=carl, about=of_bob.id)
    assert "do not remember" in world.says(f"actual 1 #{reference_of(of_ann.id)}", sender=carl, id_="m2")
    assert world.truths == []
    world.says("actual 1", sender=carl, id_="m3", about=of_group.id)
    assert [truth.source for truth in world.truths] == ["console:carl"]


@pytest.mark.parametrize(
    ("predicted", "text", "actual", "said"),
    [
        (31.25, "28,50", 28.5, "I read 28,50 as 28.50. Noted: 28.5 for"),
        (31.25, "1,234", None, "1.234 or 1234"),
        (31.25, "red", None, "I predicted a number (31.25), so I expect one. 'red' is no number."),
        (31, "30", 30, "Noted: 30"),
        ("red", "white", "white", "Noted: white"),
        ("red", "RED", "red", "Noted: RED"),
        ("red", "5", None, "I predicted a class (red)"),
        (True, "no", False, "Noted: no"),
        (True, "5", None, "true or false"),
        ([1, 2], "1", None, "several values"),
    ],
)
def test_an_answer_is_of_the_kind_of_the_prediction(
    world: World, predicted: Any, text: str, actual: Any, said: str
) -> None:
    world.served = [Model("wine-price", None)]
    world.tell(predicted)
    assert said in world.says(f"actual {text}")
    assert [json.loads(bytes(truth.actual)) for truth in world.truths] == ([] if actual is None else [actual])


@pytest.mark.parametrize(
    ("classes", "predicted", "text", "actual"),
    [
        (("malignant", "benign"), "malignant", "Benign", "benign"),
        ((0, 1), 1, "0", 0),
        (("malignant", "benign"), "malignant", "being", None),
    ],
)
def test_an_answer_is_one_of_the_classes_that_the_card_names(
    world: World, classes: tuple[Any, ...], predicted: Any, text: str, actual: Any
) -> None:
    world.served = [Model("wine-price", a_card(features=WINE_FEATURES, task="classification", classes=classes))]
    world.tell(predicted)
    answer = world.says(f"actual {text}")
    if actual is None:
        assert answer == "'being' is none of malignant, benign."
    assert [json.loads(bytes(truth.actual)) for truth in world.truths] == ([] if actual is None else [actual])


def test_nothing_was_told_that_could_be_answered(world: World) -> None:
    assert world.says("actual 28.50").startswith("I do not remember telling you anything")
    assert world.says("actual 28.50 #zzzzz", id_="m2").startswith("I do not remember telling you #zzzzz")


# Who is heard.


def test_a_stranger_is_not_heard_and_not_answered(world: World) -> None:
    world.tell(31.25)
    for sender in (Receiver("mesibo", "eve@example.com"), Receiver("console", "x", "group")):
        assert world.says("actual 28.50", sender=sender) == ""
    assert world.truths == []
    assert world.kinds == [("mesibo", "refused"), ("console", "refused")]


def test_who_writes_too_much_is_told_once_and_heard_again_later() -> None:
    world = World(per_minute=3)
    answers = [world.says("help", id_=f"m{number}") for number in range(6)]
    assert [bool(answer) for answer in answers] == [True, True, True, True, False, False]
    assert answers[3] == "That is more than 3 messages a minute: I did not read it."
    assert "ask MODEL" in world.says("help", id_="other", sender=Receiver("console", "bob"))
    world.now += 20_000
    assert "ask MODEL" in world.says("help", id_="later")
