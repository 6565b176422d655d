"""What a slot is told, by setting and by command line: a wrong word is one clear line, before anything is started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollcast_common.errors import ConfigError
from rollcast_predictor.settings import PredictorSettings, default_cache_dir

COMMAND = str(Path(sys.executable).with_name("rollcast-predictor"))


def settings(**values: Any) -> PredictorSettings:
    return PredictorSettings.from_mapping({"model": "wine", **values}, source="command line")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guarantee", "maybe_once"),
        ("batch_rows", 0),
        ("batch_rows", 100_001),
        ("batch_rows", "many"),
        ("batch_interval_seconds", -0.1),
        ("batch_interval_seconds", 10.1),
        ("batch_deadline_seconds", 0),
        ("load_deadline_seconds", 0),
        ("session_timeout_seconds", 0),
        ("startup_timeout_seconds", -1),
        ("max_request_bytes", 0),
        ("max_dead_letter_bytes", 1023),
        ("host_memory_bytes", 0),
        ("cache_models", 0),
        ("ordinal", -1),
        ("metrics_port", -1),
        ("metrics_port", 65_536),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_it_was(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        settings(**{name: value})
    text = str(error.value)
    assert text.startswith(f"command line: {name} was {value!r}, ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guarantee", "at_least_once"),
        ("batch_rows", 1),
        ("batch_rows", 100_000),
        ("batch_interval_seconds", 0.0),
        ("batch_interval_seconds", 10.0),
        ("max_dead_letter_bytes", 1024),
        ("host_memory_bytes", None),
        ("metrics_port", 0),
        ("metrics_port", 65_535),
    ],
)
def test_the_ends_of_what_is_allowed_are_allowed(name: str, value: Any) -> None:
    assert getattr(settings(**{name: value}), name) == value


def test_every_mistake_is_told_at_once_and_a_misspelt_name_is_one() -> None:
    with pytest.raises(ConfigError) as error:
        PredictorSettings.from_mapping({"batch_rows": 0, "modell": "wine"}, source="values")
    assert "values: model is missing" in str(error.value)
    assert "values: batch_rows was 0, " in str(error.value)
    assert "values: modell is not a setting here; check the spelling" in str(error.value)


def test_settings_do_not_change_and_promise_the_most_by_default() -> None:
    found = settings()
    assert (found.guarantee, found.allow_pickle, found.trusted_types) == ("exactly_once", False, ())
    with pytest.raises(ValidationError, match="frozen"):
        found.allow_pickle = True  # type: ignore[misc]  # what must not work


def test_a_slot_is_named_after_its_model_and_its_number() -> None:
    found = settings(installation="shop", namespace="prod", ordinal=3)
    assert str(found.identity) == "shop/prod/wine"
    assert found.slot == "rollcast.shop.prod.wine-3"


@pytest.mark.parametrize(("field", "value"), [("model", "Wine"), ("installation", "a/b"), ("namespace", "")])
def test_a_name_that_could_not_name_a_group_is_refused(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} was '{value}', may be lower-case letters, digits and '-'"):
        _ = settings(**{field: value}).slot


def test_the_cache_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == tmp_path / ".cache" / "rollcast" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache_dir() == Path("/caches/rollcast/models")


def problem_of_run(*arguments: str, **environ: str) -> str:
    """The problem in the only line that a run says which cannot even begin."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCAST_")}
    result = subprocess.run(
        [COMMAND, "run", *arguments],
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 1
    (line,) = (result.stdout + result.stderr).splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["kind"]) == ("predictor stopped", "error", "ConfigError")
    problem: str = said["problem"]
    assert "\n" not in problem
    return problem


SERVERS = {"ROLLCAST_KAFKA_SERVERS": "127.0.0.1:1"}
BUCKET = {"ROLLCAST_S3_BUCKET": "models"}


@pytest.mark.parametrize(
    ("arguments", "environ", "problem"),
    [
        (
            ["--model", "wine"],
            BUCKET,
            "Kafka is not configured: give --kafka-config kafka_config.yaml or set ROLLCAST_KAFKA_SERVERS=host:port",
        ),
        (
            ["--model", "wine"],
            SERVERS,
            "S3 is not configured: give --s3-config s3_config.yaml or set ROLLCAST_S3_BUCKET",
        ),
        (
            [],
            {"ROLLCAST_MODEL": "Wine"},
            (
                "model was 'Wine', may be lower-case letters, digits and '-' "
                "(at most 63, beginning and ending with a letter or digit)"
            ),
        ),
        (["--model", "wine", "--log-format", "xml"], SERVERS | BUCKET, "log format was 'xml', may be json or console"),
        (["--model", "wine", "--kafka-config", "none.yaml"], BUCKET, "none.yaml: no such file"),
    ],
    ids=["no Kafka", "no S3", "no model's name", "no log format", "no file"],
)
def test_a_run_that_cannot_begin_is_one_line_and_exit_code_1(
    arguments: list[str], environ: dict[str, str], problem: str
) -> None:
    assert problem_of_run(*arguments, **environ) == problem


def test_a_wrong_value_on_the_command_line_is_named() -> None:
    problem = problem_of_run("--model", "wine", "--batch-rows", "0", ROLLCAST_GUARANTEE="maybe_once")
    assert "command line and environment: guarantee was 'maybe_once', " in problem
    assert "command line and environment: batch_rows was 0, " in problem
