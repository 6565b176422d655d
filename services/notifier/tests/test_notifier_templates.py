"""The words of a notification: what a template may do, what it gives, and what it cannot do."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcast_notifier.rules.templates import (
    MOST_CHARACTERS,
    TextFailed,
    WrongTemplate,
    compile_template,
    default_text,
    features_in,
)

NAMES: dict[str, Any] = {
    "prediction": 31.2512345,
    "key": "wine-7",
    "model": "wine-price",
    "version": "v1",
    "track": "stable",
    "fallback": False,
    "request_id": "r1",
    "features": {"winery": "Artadi", "rating": "4.66", "items": 3, "gone": None, "worst area": 2.5},
    "headers": {"tier": "gold"},
    "reference": "k3f9t",
    "subscription": "dear",
    "receiver": "console:ann",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ features.winery }}: about {{ prediction | round(2) }} (#{{ reference }})", "Artadi: about 31.25 (#k3f9t)"),
        ("{{ prediction }} {{ prediction | round }}", "31.2512 31"),
        ("{{ features.rating | round(1) }}", "4.7"),
        ("{{ features.nosuch }} {{ features.gone }} {{ features.nosuch.more }} {{ headers['x'] }}", "? ? ? ?"),
        ("{{ features.nosuch | round(2) }} {{ features.winery | round(2) }}", "? Artadi"),
        ("{{ features.items }} {{ features['worst area'] }}", "3 2.5"),
        ("{% if features.nosuch %}a{% else %}b{% endif %}", "b"),
        ("{{ fallback }} {{ [1, 2.5] }}", "false 1, 2.5"),
        ("{{ prediction * 2 }} {{ 7 % 4 }}", "62.5025 3"),
        ("{% for name, value in features.items() %}{{ name }} {% endfor %}", None),
        ("{{ features.winery | upper }} {{ features.winery[:3] }}", "ARTADI Art"),
        ("<b>{{ features.winery }}</b> & more", "<b>Artadi</b> & more"),
        ("{{ key or 'nobody' }} {{ receiver }} {{ subscription }} {{ headers.tier }}", "wine-7 console:ann dear gold"),
    ],
)
def test_what_a_template_gives(template: str, text: str | None) -> None:
    write = compile_template(template)
    if text is None:  # a feature called `items` hides the method
        with pytest.raises(TextFailed):
            write(NAMES)
    else:
        assert write(NAMES) == text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ nosuch }}", "knows no nosuch; it knows prediction, key"),
        ("{{ winery }} {{ year }}", "knows no winery, year"),
        ("{% for", "unexpected"),
        ("{{ prediction | nosuch }}", "nosuch"),
        ("a\nb\n{{ }}", "line 3"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", "macro"),
        ("{% include '/etc/passwd' %}", "include"),
        ("{% import 'os' as os %}", "import"),
        ("{% extends 'x' %}", "extends"),
        ("{% for a in headers %}{% if a %}{% for b in headers %}{% endfor %}{% endif %}{% endfor %}", "loop in a loop"),
        ("{% for a in features recursive %}{% endfor %}", "a loop in a loop"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "knows no range"),
        ("{{ lipsum() }}", "knows no lipsum"),
        ("{{ prediction | center(1000000000) }}", "center"),
        ("{{ '%999999999d' | format(1) }}", "format"),
        ("x" * 10_001, "10001 characters"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_refused_when_the_file_is_read(template: str, why: str) -> None:
    with pytest.raises(WrongTemplate, match=why):
        compile_template(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ prediction / 0 }}",
        "{{ features.nosuch > 5 }}",
        "{{ features.__class__.__mro__ }}{{ features.winery.__class__() }}",
        "{{ features.update({'a': 1}) }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ features.nosuch.append(1) }}",
    ],
)
def test_what_fails_when_it_is_written(template: str) -> None:
    with pytest.raises(TextFailed):
        compile_template(template)(NAMES)


def test_a_text_has_its_limit() -> None:
    text = compile_template("{% for name in features %}{{ features[name] }}{% endfor %}")(
        {**NAMES, "features": {str(number): "x" * 1000 for number in range(1000)}}
    )
    assert len(text) == MOST_CHARACTERS
    assert text.endswith("x …")


def test_the_plain_sentence() -> None:
    assert default_text(NAMES) == "wine-price says 31.2512 for wine-7 (#k3f9t)"
    assert default_text({**NAMES, "key": None}) == "wine-price says 31.2512 (#k3f9t)"
    assert default_text({**NAMES, "key": "r1"}) == "wine-price says 31.2512 (#k3f9t)"
    assert len(default_text({**NAMES, "prediction": "x" * 10_000})) == MOST_CHARACTERS


def test_the_features_that_a_template_names() -> None:
    assert features_in("{{ features.a }} {{ features['b c'] | round }} {{ headers.d }} {{ features.items() }}") == [
        "a",
        "b c",
    ]


@settings(max_examples=100)
@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["winery", "rating", "x"]), st.none() | st.text() | st.floats() | st.integers()),
)
def test_a_template_is_refused_fails_or_gives_a_text(template: str, features: dict[str, Any]) -> None:
    try:
        text = compile_template(template + "{{ features.winery }}{{ features.rating | round(1) }}")(
            {**NAMES, "features": features}
        )
    except (WrongTemplate, TextFailed):
        return
    assert len(text) <= MOST_CHARACTERS
