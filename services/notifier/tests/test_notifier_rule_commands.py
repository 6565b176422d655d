"""`check` and `test-rule`: what a file means, all that is wrong with it, and what a prediction would lead to."""

import json
from pathlib import Path

import pytest
import typer
from tests.env.cards import a_card
from typer.testing import CliRunner, Result

from rollcast_common.models.card import Feature, encode_card
from rollcast_notifier.rule_commands import check, test_rule

ROOT = Path(__file__).resolve().parents[3]
WINES = str(ROOT / "examples" / "wine-price" / "notifications.yaml")
TUMOURS = str(ROOT / "examples" / "breast-cancer" / "notifications.yaml")


@pytest.fixture
def prediction(tmp_path: Path) -> str:
    path = tmp_path / "prediction.json"
    features = {"winery": "Artadi", "year": 2009}
    path.write_text(json.dumps({"prediction": 150.126, "model": "wine-price", "features": features}), encoding="utf-8")
    return str(path)


def run(*arguments: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    app.command("check")(check)
    app.command("test-rule")(test_rule)
    return CliRunner().invoke(app, arguments, input=stdin)


def test_check_says_what_it_understood() -> None:
    result = run("check", WINES, TUMOURS)
    assert result.exit_code == 0
    for text in (
        "2 channels, 2 subscriptions",
        "channel console: console",
        "subscription bargains",
        "looks at model (text), prediction (number), features.rating (number)",
        "tells console:ann, log:dear-wines",
        "at most 10 a minute to each, 10 at once",
        "features.worst area (number)",
        "may ask and answer: console:*",
    ):
        assert text in result.stdout


def test_check_says_all_errors_of_all_files(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text('subscriptions:\n- {name: a, to: ["log:x"]}\n- {name: b, when: "1 >", to: [reply-to]}\n')
    result = run("check", str(wrong), WINES, str(tmp_path / "missing.yaml"))
    assert result.exit_code == 2
    assert "dear-wines" in result.stdout
    lines = result.stderr.splitlines()
    assert [
        line.startswith(f"error: {wrong}, line {number}: ") for line, number in zip(lines, (2, 3), strict=False)
    ] == [True] * 2
    assert "no such file" in lines[2]
    assert len(lines) == 3


def test_check_knows_the_features_of_cards(tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    card.write_bytes(encode_card(a_card(features=[Feature(name=name, type="string") for name in ("winery", "year")])))
    result = run("check", WINES, "--card", str(card))
    assert result.exit_code == 2
    assert [line.partition(": subscription ")[2] for line in result.stderr.splitlines()] == [
        "bargains: unknown feature rating; wine-price has no such",
        "bargains: unknown feature region; wine-price has no such",
    ]
    assert run("check", WINES, "--card", str(tmp_path / "none.json")).exit_code == 2


def test_a_rule_is_tried_on_a_prediction(prediction: str) -> None:
    result = run("test-rule", WINES, "--prediction", prediction)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "dear-wines: matches",
        '  model = "wine-price"',
        "  prediction = 150.126",
        "  to console:ann",
        lines[4],
    ]
    assert lines[4].startswith("    Artadi 2009: about 150.13 (#")
    assert "bargains: does not match" in lines
    assert "  features.rating = null" in lines


def test_one_rule_alone_is_tried_on_a_prediction_as_kafka_has_it() -> None:
    golden = ROOT / "libs" / "common" / "tests" / "golden" / "prediction.json"
    result = run("test-rule", WINES, "--prediction", str(golden), "--rule", "bargains")
    assert result.exit_code == 0
    assert result.stdout.startswith("bargains: does not match\n")
    assert "dear-wines" not in result.stdout
    assert result.stderr.startswith("warning: a request's header reply-to names nobody who is allowed")


def test_a_reply_is_shown_too() -> None:
    text = '{"prediction": "malignant", "model": "breast-cancer", "headers": {"reply-to": "console:bob"}}'
    result = run("test-rule", TUMOURS, "--prediction", "-", stdin=text)
    assert "malignant: matches" in result.stdout
    assert "reply: the request asked for it\n  to console:bob\n    breast-cancer says malignant (#" in result.stdout


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "expected a prediction"),
        ('{"features": {}}', "expected a prediction"),
        ('{"prediction": 1, "headers": 5}', "headers"),
        ('{"prediction": 1, "schema": "9.0"}', "schema 9.0 is not known"),
    ],
)
def test_what_is_no_prediction_is_refused(text: str, why: str) -> None:
    result = run("test-rule", WINES, "--prediction", "-", stdin=text)
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_rule_that_is_not_there_is_named(prediction: str) -> None:
    result = run("test-rule", WINES, "--prediction", prediction, "--rule", "nosuch")
    assert result.exit_code == 2
    assert "no subscription nosuch; there are dear-wines, bargains" in result.stderr
    assert run("test-rule", "none.yaml", "--prediction", prediction).exit_code == 2
