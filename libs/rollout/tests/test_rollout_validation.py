"""What is special to judging without a server; that both judge alike is tested on a real one, in tests/."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcast_common.errors import ConfigError
from rollcast_rollout import validation
from rollcast_rollout.schema import crd, crd_text, open_api_schema
from rollcast_rollout.validation import Violation, parse_model_versions, validate, with_defaults

LEAST = """\
apiVersion: rollcast.dev/v1alpha1
kind: ModelVersion
metadata: {name: wine-price-2022-08-19}
spec:
  model: wine-price
  version: 2022-08-19
  artifact: {uri: s3://wines-models/models/2022-08-19.skops}
"""


@pytest.fixture
def least() -> dict[str, Any]:
    return parse_model_versions(LEAST, "mv.yaml")[0]


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from schemas(below, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")


SCHEMAS = [pytest.param(schema, id=path or "(the whole)") for path, schema in schemas(open_api_schema())]
RULES = [
    pytest.param(rule, id=rule["message"])
    for _, schema in schemas(open_api_schema())
    for rule in schema.get("x-kubernetes-validations", [])
]


NAMES = sorted({name for _, schema in schemas(open_api_schema()) for name in schema.get("properties", {})} | {"other"})


class TestSchema:
    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_every_field_is_described_and_bounded(self, schema: dict[str, Any], request: pytest.FixtureRequest) -> None:
        if request.node.callspec.id == ".metadata":  # Kubernetes allows nothing to be said of it
            return
        assert schema["description"].strip().endswith(".")
        if request.node.callspec.id in {".apiVersion", ".kind"}:
            return
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema
        if schema["type"] == "array":
            assert "maxItems" in schema
        if schema["type"] == "number" or (schema["type"] == "integer" and ".spec" in request.node.callspec.id):
            assert {"minimum", "maximum"} <= schema.keys()

    @pytest.mark.parametrize("rule", RULES)
    def test_every_rule_compiles_here_and_has_a_message_without_line_breaks(self, rule: dict[str, str]) -> None:
        assert {*cel.compile(rule["rule"]).variables()} <= {"self", "oldSelf", "i"}
        assert "\n" not in rule["message"]
        if "messageExpression" in rule:
            cel.compile(rule["messageExpression"])

    def test_the_defaults_are_good_themselves(self, least: dict[str, Any]) -> None:
        assert validate(with_defaults(least)) == []

    def test_the_text_and_the_definition_are_one(self) -> None:
        assert crd()["metadata"]["name"] in crd_text()


class TestParse:
    def test_several_documents_and_empty_ones_between_them(self) -> None:
        found = parse_model_versions(f"---\n{LEAST}---\n---\n{LEAST.replace('08-19', '08-20')}", "mv.yaml")
        assert [document["spec"]["version"] for document in found] == ["2022-08-19", "2022-08-20"]

    @pytest.mark.parametrize("version", ["2022-08-19", "yes", "12:30", "007", "1_000", "v1", "2022-08-19T12:00:00Z"])
    def test_an_unquoted_version_stays_a_text(self, version: str) -> None:
        text = LEAST.replace("version: 2022-08-19", f"version: {version}")
        assert parse_model_versions(text, "mv.yaml")[0]["spec"]["version"] == version

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "mv.yaml: holds no ModelVersion"),
            ("# nothing\n---\n", "mv.yaml: holds no ModelVersion"),
            (f"{LEAST}---\n\n- a\n", "mv.yaml, document 2 (line 10): expected a ModelVersion, found array"),
            ("text", "mv.yaml, document 1 (line 1): expected a ModelVersion, found string"),
            ("a: [1\nb: 2\n", "mv.yaml, line 2: expected ',' or ']', but got ':'"),
            ("a: 1\nb: 2\na: 3\n", "mv.yaml, line 3: a stands here and in line 1"),
            ("a: .nan", "mv.yaml, document 1 (line 1): holds a value that JSON has no words for; write it as text"),
            ("a: !!timestamp 2022-08-19", "mv.yaml, document 1 (line 1): holds a value that JSON has no words for"),
            ("a: &a [*a]", "mv.yaml: not YAML that can be read"),
        ],
    )
    def test_what_cannot_be_read_is_refused_with_its_place(self, text: str, complaint: str) -> None:
        with pytest.raises(ConfigError) as refused:
            parse_model_versions(text, "mv.yaml")
        assert str(refused.value).startswith(complaint)

    def test_keys_become_texts(self) -> None:
        assert parse_model_versions("{1: a, 2.5: b}", "mv.yaml") == [{"1": "a", "2.5": "b"}]


class TestDefaults:
    def test_the_object_itself_stays_as_it_is(self, least: dict[str, Any]) -> None:
        before = copy.deepcopy(least)
        filled = with_defaults(least)
        filled["spec"]["rollout"]["steps"][0]["weight"] = 7
        assert least == before
        assert with_defaults(least)["spec"]["rollout"]["steps"][0]["weight"] == 5

    def test_filling_in_twice_changes_nothing(self, least: dict[str, Any]) -> None:
        assert with_defaults(with_defaults(least)) == with_defaults(least)

    def test_a_whole_fraction_becomes_a_whole_number(self, least: dict[str, Any]) -> None:
        least["spec"]["serving"] = {"replicas": 2.0}
        assert json.dumps(with_defaults(least)["spec"]["serving"]["replicas"]) == "2"

    def test_null_switches_a_threshold_off_and_leaves_the_others(self, least: dict[str, Any]) -> None:
        least["spec"]["rollout"] = {"abort": {"costRatioAbove": None}}
        abort = with_defaults(least)["spec"]["rollout"]["abort"]
        assert abort["costRatioAbove"] is None
        assert abort["errorRatioAbove"] == 0.01


class TestValidate:
    def test_a_violation_reads_as_kubectl_prints_it(self, least: dict[str, Any]) -> None:
        del least["spec"]["model"]
        assert list(map(str, validate(least))) == ["spec.model: Required value"]

    def test_another_kind_is_all_that_is_said(self) -> None:
        assert validate({"apiVersion": "v1", "kind": "ConfigMap", "data": {}}) == [
            Violation("apiVersion", 'Unsupported value: "v1": supported values: "rollcast.dev/v1alpha1"'),
            Violation("kind", 'Unsupported value: "ConfigMap": supported values: "ModelVersion"'),
        ]

    def test_unknown_fields_do_not_hide_the_rest(self, least: dict[str, Any]) -> None:
        least["spec"] |= {"modle": "x", "version": ""}
        assert {violation.path for violation in validate(least)} == {"spec.modle", "spec.version"}

    def test_a_status_is_not_looked_at(self, least: dict[str, Any]) -> None:
        assert validate(least | {"status": {"phase": "Nowhere"}}) == []

    @pytest.mark.parametrize("version", ["2022-08-19\n", "a\tb", " a", "a/b"])
    def test_patterns_are_read_as_go_reads_them(self, least: dict[str, Any], version: str) -> None:
        least["spec"]["version"] = version
        assert [violation.path for violation in validate(least)] == ["spec.version"]

    def test_what_was_stored_may_have_no_defaults_filled_in(self, least: dict[str, Any]) -> None:
        assert validate(with_defaults(least), least) == []
        assert validate(least, with_defaults(least)) == []

    @pytest.mark.parametrize("metadata", [None, "x", [], {"name": 5}, {"name": "a" * 254}, {"name": "a", "labels": []}])
    def test_metadata_of_any_shape_is_judged(self, least: dict[str, Any], metadata: Any) -> None:
        assert validate(least | {"metadata": metadata})

    @pytest.mark.parametrize("spec", [None, [], "x", 5, {"artifact": []}, {"rollout": {"steps": {}}, "serving": []}])
    def test_a_spec_of_any_shape_is_judged(self, least: dict[str, Any], spec: Any) -> None:
        assert validate(least | {"spec": spec}, least)
        assert validate(least | {"spec": spec})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=5),
        ),
        st.sampled_from(["spec", "spec.artifact", "spec.serving", "spec.rollout", "spec.rollout.steps", "metadata"]),
    )
    def test_nothing_that_json_can_say_is_too_much(self, value: Any, path: str) -> None:
        found = parse_model_versions(LEAST, "mv.yaml")[0]
        *above, last = path.split(".")
        new = with_defaults(found)
        there = new
        for name in above:
            there = there[name]
        there[last] = value
        for violation in validate(new, found):
            assert violation.path.startswith(("spec", "metadata"))
        assert validate(new) == validate(with_defaults(new))

    def test_a_rule_that_cannot_be_asked_is_broken(self) -> None:
        schema = {"x-kubernetes-validations": [{"rule": "self.none > 1", "message": "none is small"}]}
        (violation,) = validation._broken_rules({"some": 1}, None, schema, "spec")
        assert violation.path == "spec"
        assert violation.message.endswith("evaluating rule: none is small")

    @pytest.mark.parametrize("expression", ["self.none", "''", "'two\\nlines'", "1"])
    def test_a_message_that_cannot_be_made_gives_way_to_the_plain_one(self, expression: str) -> None:
        rule = {"rule": "false", "message": "plain", "messageExpression": expression}
        (violation,) = validation._broken_rules({"some": 1}, None, {"x-kubernetes-validations": [rule]}, "spec")
        assert violation.message == "Invalid value: plain"


def test_who_only_reads_does_not_wait_for_the_rules_library() -> None:
    """It takes a third of a second to import."""
    code = (
        "import sys; from rollcast_rollout.validation import parse_model_versions, with_defaults; "
        f"with_defaults(parse_model_versions({LEAST!r}, 'x')[0]); sys.exit('cel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
