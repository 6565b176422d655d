"""Settings: YAML 1.2, the environment over it, and complaints in plain words."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, SecretStr

from rollcast_common.artifacts import ArtifactRef, S3Params, load_s3_params, parse_uri
from rollcast_common.config import (
    Settings,
    YamlDocument,
    environment_overrides,
    load_yaml,
    load_yaml_documents,
    merged,
    parse_settings,
)
from rollcast_common.errors import ConfigError
from rollcast_common.identity import ModelIdentity

SECRET = "hunter2-T0p"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2022-08-19", "2022-08-19"),
        ("2022-08-19T10:00:00Z", "2022-08-19T10:00:00Z"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0123", "0123"),
        ("0b11", "0b11"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("17", 17),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("null", None),
        ("~", None),
        ("'17'", "17"),
        ("v1.2", "v1.2"),
        ("[2022-08-19, no]", ["2022-08-19", "no"]),
    ],
)
def test_yaml_scalars(tmp_path: Path, written: str, read: object) -> None:
    (tmp_path / "s.yaml").write_text(f"value: {written}\n")
    value = load_yaml(tmp_path / "s.yaml")["value"]
    assert (value, type(value)) == (read, type(read))


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "s.yaml") == {}


def test_a_text_of_several_documents_keeps_their_lines() -> None:
    text = "# first\na: 2022-08-19\n---\n---\n\n- yes\n"
    assert load_yaml_documents(text, source="s") == [YamlDocument(2, {"a": "2022-08-19"}), YamlDocument(6, ["yes"])]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\n---\nb: [\n", r"^s, line 4: "),
        ("a: {b: 1}\n---\n- c: 1\n  d: 2\n  c: 3\n", r"^s, line 5: c stands here and in line 3$"),
        ("password: *Geheim\n", r"^s, line 1: found undefined alias \(quote a text that begins with \*, & or !\)$"),
    ],
)
def test_a_text_of_several_documents_that_cannot_be_read_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_yaml_documents(text, source="s")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("value: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=r"s\.yaml, line 1: could not determine a constructor"):
        load_yaml(tmp_path / "s.yaml")


class _Inner(Settings):
    ratio: float = 0.5


class _Example(Settings):
    name: str
    mode: Literal["a", "b"] = "a"
    inner: _Inner = _Inner()
    api_token: SecretStr | None = None
    limits: dict[str, int | str] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "f.yaml: name is missing"),
        ({"name": 1}, "f.yaml: name was 1, should be a valid string"),
        ({"name": None}, "f.yaml: name was None, should be a valid string"),
        ({"name": "x", "mode": "c"}, "f.yaml: mode was 'c', should be 'a' or 'b'"),
        ({"name": "x", "nmae": 1}, "f.yaml: nmae is not a setting here; check the spelling"),
        ({"name": "x", "inner": {"ratio": "much"}}, "f.yaml: inner.ratio was 'much', should be a valid number"),
        ({"name": "x", "inner": 5}, "f.yaml: inner was 5, should be a mapping"),
        ({"name": "x", "inner": [SECRET]}, "f.yaml: inner was a list, should be a mapping"),
        ({"name": {"password": SECRET}}, "f.yaml: name was a mapping, should be a valid string"),
        ({"name": "x", "api_token": 5}, "f.yaml: api_token should be a valid string"),
        ({"name": "x", "limits": {"a": None}}, "f.yaml: limits.a was None, should be a text, a number, true or false"),
        ({"mode": 1}, "f.yaml: name is missing; f.yaml: mode was 1, should be 'a' or 'b'"),
    ],
)
def test_complaints_name_the_setting_what_it_was_and_what_it_may_be(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_settings(_Example, values, source="f.yaml")
    assert str(refused.value).startswith(complaint)
    assert SECRET not in str(refused.value)


def test_settings_are_frozen() -> None:
    settings = _Example.from_mapping({"name": "x"}, source="f.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "y"  # type: ignore[misc]  # what mypy would not let through either


def test_the_environment_is_laid_over() -> None:
    names = {"APP_NAME": ("name",), "APP_RATIO": ("inner", "ratio"), "APP_OTHER": ("inner", "other")}
    above = environment_overrides(names, {"APP_NAME": "e", "APP_RATIO": "0.9", "HOME": "/"})
    assert above == {"name": "e", "inner": {"ratio": "0.9"}}
    below = {"name": "f", "inner": {"other": 1, "ratio": 2}, "list": [1]}
    assert merged(below, above) == {"name": "e", "inner": {"other": 1, "ratio": "0.9"}, "list": [1]}
    assert merged(below, {"inner": 3})["inner"] == 3
    assert below["inner"] == {"other": 1, "ratio": 2}


class TestIdentity:
    def test_what_is_named_after_it(self) -> None:
        identity = ModelIdentity("prod", "wines", "price-2")
        assert str(identity) == "prod/wines/price-2"
        assert identity.consumer_group == "rollcast.prod.wines.price-2"
        assert identity.slot(3) == "rollcast.prod.wines.price-2-3"
        assert identity.prediction_id("order-17") == "prod/wines/price-2:order-17"

    @pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
    def test_good_names(self, name: str) -> None:
        assert ModelIdentity(name, name, name).model == name

    @pytest.mark.parametrize("field", ["installation", "namespace", "model"])
    @pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "a.b", "a b", "a_b", "ñ", "wine\n", "a" * 64])
    def test_bad_names(self, field: str, name: str) -> None:
        good = {"installation": "i", "namespace": "n", "model": "m"}
        with pytest.raises(ConfigError, match=f"^{field} was .*, may be lower-case letters"):
            ModelIdentity(**(good | {field: name}))


class TestS3:
    @pytest.mark.parametrize(
        ("uri", "bucket", "key"),
        [
            ("s3://wines/models/v1.skops", "wines", "models/v1.skops"),
            ("models/v1.skops", "default", "models/v1.skops"),
            ("/models/v1.skops", "default", "models/v1.skops"),
            ("s3://wines/a//b c.skops", "wines", "a//b c.skops"),
        ],
    )
    def test_uris(self, uri: str, bucket: str, key: str) -> None:
        assert parse_uri(uri, "default") == ArtifactRef(bucket, key)

    @pytest.mark.parametrize(
        "uri", ["", "/", "s3://", "s3://wines", "s3://wines/", "s3:///key", "https://x/y", "S3://a/b"]
    )
    def test_bad_uris(self, uri: str) -> None:
        with pytest.raises(ConfigError, match="may be s3://bucket/key or a key"):
            parse_uri(uri, "default")

    def test_a_file_under_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "s3.yaml").write_text("bucket: wines\nendpoint_url: http://localhost:9000\naccess_key_id: me\n")
        params = load_s3_params(tmp_path / "s3.yaml", {"ROLLCAST_S3_SECRET_ACCESS_KEY": SECRET})
        assert (params.bucket, params.endpoint_url, params.region) == ("wines", "http://localhost:9000", "us-east-1")
        assert params.secret_access_key is not None
        assert params.secret_access_key.get_secret_value() == SECRET
        assert SECRET not in repr(params)
        assert SECRET not in str(params)

    @pytest.mark.parametrize(
        ("environ", "says"),
        [
            ({}, "S3 is not configured: give --s3-config s3_config.yaml or set ROLLCAST_S3_BUCKET"),
            ({"ROLLCAST_S3_BUCKET": ""}, "bucket was ''"),
            ({"ROLLCAST_S3_BUCKET": "b", "ROLLCAST_S3_ENDPOINT_URL": "localhost:9000"}, "endpoint_url was 'localhost"),
            ({"ROLLCAST_S3_BUCKET": "b", "ROLLCAST_S3_SECRET_ACCESS_KEY": SECRET}, "belong together"),
            ({"ROLLCAST_S3_BUCKET": "b", "ROLLCAST_S3_ACCESS_KEY_ID": "me"}, "belong together"),
        ],
    )
    def test_mistakes(self, environ: dict[str, str], says: str) -> None:
        with pytest.raises(ConfigError) as refused:
            load_s3_params(None, environ)
        assert says in str(refused.value)
        assert SECRET not in str(refused.value)

    def test_keys_are_for_boto_to_find_where_none_are_given(self) -> None:
        assert S3Params(bucket="b").access_key_id is None


def test_a_document_knows_where_its_settings_stand() -> None:
    (document,) = load_yaml_documents("a: 1\nb:\n  - c: 1\n  - d:\n      e: {f: 1}\n", source="s")
    places: list[tuple[str | int, ...]] = [("a",), ("b",), ("b", 0), ("b", 1, "d", "e", "f"), ("b", 1, "x", 7), ("x",)]
    assert [document.line_of(*place) for place in places] == [1, 2, 3, 5, 4, 1]
