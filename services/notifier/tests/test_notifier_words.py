"""What a person's text means, and numbers as people write them."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcast_notifier.inbound.numbers import NotANumber, read_number
from rollcast_notifier.inbound.words import Actual, Ask, Help, ListModels, Unclear, Words, parse


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("winery=Artadi year=2009", Ask(None, {"winery": "Artadi", "year": "2009"})),
        ("ask wine-price winery=Artadi", Ask("wine-price", {"winery": "Artadi"})),
        ("Ask wine-price", Ask("wine-price")),
        ("ask", Ask(None)),
        ("ask winery=Artadi", Ask(None, {"winery": "Artadi"})),
        ('winery="Vega Sicilia" year=2009', Ask(None, {"winery": "Vega Sicilia", "year": "2009"})),
        ("winery='Vega Sicilia'", Ask(None, {"winery": "Vega Sicilia"})),
        ("winery=“Vega Sicilia”", Ask(None, {"winery": "Vega Sicilia"})),
        ("winery=„Vega Sicilia“", Ask(None, {"winery": "Vega Sicilia"})),
        ("winery=Château d'Or year=2009", None),
        ("winery=d'Or year=2009", Ask(None, {"winery": "d'Or", "year": "2009"})),
        ("winery = Artadi,  year = 2009", Ask(None, {"winery": "Artadi", "year": "2009"})),
        ("winery=Artadi; year=2009;", Ask(None, {"winery": "Artadi", "year": "2009"})),
        ("rating=4,5 year=2009", Ask(None, {"rating": "4,5", "year": "2009"})),
        ('"worst area"=2000', Ask(None, {"worst area": "2000"})),
        ("winery= year=2009", None),
        ('winery="" year=2009', Ask(None, {"winery": "", "year": "2009"})),
        ("url=a=b", Ask(None, {"url": "a=b"})),
        ("winery=Artadi\nyear=2009", Ask(None, {"winery": "Artadi", "year": "2009"})),
        ('{"winery": "Artadi", "year": 2009}', Ask(None, {"winery": "Artadi", "year": 2009})),
        ('ask wine-price {"winery": "“x”"}', Ask("wine-price", {"winery": "“x”"})),
        ('ask {"year": 2009}', Ask(None, {"year": 2009})),
        ("actual 28.50", Actual("28.50")),
        ("Actual: 28,50 #K3F9T", Actual("28,50", "k3f9t")),
        ("actual=28.50", Actual("28.50")),
        ("actual #k3f9t dark red", Actual("dark red", "k3f9t")),
        ('actual "dark red"', Actual("dark red")),
        ("actual 5=6", Actual("5=6")),
        (" HELP ", Help()),
        ("?", Help()),
        ("models", ListModels()),
    ],
)
def test_what_a_text_means(text: str, words: Words | None) -> None:
    if words is None:
        assert isinstance(parse(text), Unclear | Ask)
    else:
        assert parse(text) == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("good morning", "'good morning'"),
        ("winery=Vega Sicilia year=2009", 'winery="Vega Sicilia"'),
        ("winery=Artadi year", "'year'"),
        ("year=2009 year=2010", "year stands there twice"),
        ("ask wine-price Artadi", "name=value"),
        ("=5", "name=value"),
        ('winery="Artadi', "name=value|do not understand"),
        ("{", "cannot be read"),
        ('{"a": NaN}', "cannot be read"),
        ('{"a": 1} x', "cannot be read"),
        ("actual", "What was it really"),
        ("actual #k3f9t", "What was it really"),
        ("x" * 30_000, "too long"),
        ("{" * 10_000, "cannot be read|deep"),
        ('{"a":' * 3_000, "cannot be read|deep"),
    ],
)
def test_what_is_unclear_says_what_would_be_clear(text: str, why: str) -> None:
    words = parse(text)
    assert isinstance(words, Unclear)
    assert why in words.why or any(part in words.why for part in why.split("|"))
    assert len(words.why) < 300


@settings(max_examples=300)
@given(st.text() | st.text(st.sampled_from("ask actual#={}[]\"',;:.\n\u201c\u00e9\ud800 1"), max_size=40))
def test_any_text_means_something(text: str) -> None:
    words = parse(text)
    if isinstance(words, Ask):
        assert all(isinstance(name, str) for name in words.features)


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"„“”«»'), max_size=15)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_ ]{0,8}[a-z]", fullmatch=True), VALUES, min_size=1, max_size=4))
def test_what_is_quoted_is_understood_letter_by_letter(features: dict[str, str]) -> None:
    written = " ".join(f'"{name}"="{value}"' for name, value in features.items())
    expected = {name: value.replace("\N{NO-BREAK SPACE}", " ") for name, value in features.items()}
    assert parse(f"ask wine-price {written}") == Ask("wine-price", expected)


@pytest.mark.parametrize(
    ("text", "value", "note"),
    [
        ("28.50", 28.5, None),
        ("28", 28, None),
        ("-3", -3, None),
        (".5", 0.5, None),
        ("1e3", 1000.0, None),
        ("28,50", 28.5, "I read 28,50 as 28.50."),
        ("-0,123", -0.123, "I read -0,123 as -0.123."),
        ("1.234,50", 1234.5, "I read 1.234,50 as 1234.50."),
        ("1,234.50", 1234.5, "I read 1,234.50 as 1234.50."),
        ("1'234.50", 1234.5, "I read 1'234.50 as 1234.50."),
        ("€ 28.50", 28.5, "I read € 28.50 as 28.50."),
        ("28,50 €", 28.5, "I read 28,50 € as 28.50."),
        ("12345678901234567890", 12345678901234567890.0, None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: float, note: str | None) -> None:
    number: Any = read_number(text)
    assert (number.value, type(number.value), number.note) == (value, type(value), note)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,234", "may be 1.234 or 1234"),
        ("red", "no number"),
        ("", "no number"),
        ("nan", "no number"),
        ("1e999", "too large"),
        ("1_000", "no number"),
        ("٣", "no number"),
        ("28.50.1", "no number"),
    ],
)
def test_what_is_no_number_or_may_be_two(text: str, why: str) -> None:
    with pytest.raises(NotANumber, match=why):
        read_number(text)


@given(st.text())
def test_any_text_is_a_number_or_is_not(text: str) -> None:
    try:
        read_number(text)
    except NotANumber as problem:
        assert str(problem)  # noqa: PT017  # it may also be a number


def test_nothing_of_scikit_learn_is_needed_to_read_a_card() -> None:
    """The notifier's image has none of it."""
    program = (
        "import sys\n"
        "for name in ('sklearn', 'pandas', 'numpy', 'skops'): sys.modules[name] = None\n"
        "import rollcast_notifier.inbound.cards, rollcast_notifier.inbound.conversation\n"
        "import rollcast_notifier.rule_commands\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
