"""Which example a command runs, and that it says why."""

from pathlib import Path

import pytest

from rollcast_cli.examples import Example, find_example
from rollcast_common.errors import ConfigError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with both examples, and a wine file somewhere else."""
    folder = tmp_path / "repository"
    for name in ("wine-price", "breast-cancer"):
        (folder / "examples" / name).mkdir(parents=True)
        (folder / "examples" / name / "train.yaml").write_text(f"model: {name}\n")
    (tmp_path / "elsewhere.csv").write_text("winery\n")
    return folder


def found(folder: Path, config: Path | None = None, data: Path | None = None, **environ: str) -> Example:
    return find_example(config, data, folder=folder, environ=environ)


def beside(repository: Path) -> Path:
    path = repository.parent / "shared" / "data" / "wines_SPA.csv"
    path.parent.mkdir(parents=True)
    path.write_text("winery\n")
    return path


@pytest.mark.parametrize("environ", [{}, {"WINES": ""}])
def test_without_the_wines_it_is_what_ships_inside_scikit_learn(repository: Path, environ: dict[str, str]) -> None:
    example = find_example(None, None, folder=repository, environ=environ)
    assert (example.model, example.data) == ("breast-cancer", None)
    assert example.config == repository / "examples" / "breast-cancer" / "train.yaml"
    assert "because there is no WINES=path/to/wines_SPA.csv" in example.why


def test_the_variable_names_the_wines(repository: Path) -> None:
    beside(repository)
    wines = repository.parent / "elsewhere.csv"
    example = found(repository, WINES=str(wines))
    assert (example.model, example.data) == ("wine-price", wines)
    assert example.why == f"example: wine-price, on {wines}"


def test_a_variable_that_names_no_file_is_not_replaced_in_silence(repository: Path) -> None:
    beside(repository)
    with pytest.raises(ConfigError, match=r"^WINES was '/no/such\.csv': no such file; give the path of wines_SPA\.csv"):
        found(repository, WINES="/no/such.csv")


def test_the_wines_beside_the_repository_are_found(repository: Path) -> None:
    path = beside(repository)
    assert found(repository).data == path


def test_data_that_are_named_are_wines(repository: Path) -> None:
    data = repository.parent / "elsewhere.csv"
    example = found(repository, data=data, WINES="/no/such.csv")
    assert (example.model, example.data) == ("wine-price", data)


@pytest.mark.parametrize("with_data", [False, True])
def test_a_training_file_that_is_named_is_taken_whatever_else_is_there(
    repository: Path, *, with_data: bool, tmp_path: Path
) -> None:
    beside(repository)
    config = tmp_path / "mine.yaml"
    config.write_text("model: mine\n")
    data = tmp_path / "elsewhere.csv" if with_data else None
    example = found(tmp_path / "no repository", config, data, WINES="/no/such.csv")
    assert (example.config, example.model, example.data) == (config, "mine", data)


@pytest.mark.parametrize(("text", "complaint"), [(None, "no such file"), ("{}", "model is missing"), ("model: 3", "m")])
def test_a_training_file_that_names_no_model_is_one_line(tmp_path: Path, text: str | None, complaint: str) -> None:
    config = tmp_path / "mine.yaml"
    if text is not None:
        config.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{complaint}") as error:
        found(tmp_path, config)
    assert "\n" not in str(error.value)


def test_outside_the_repository_one_is_told_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"examples: no such folder; run this in the repository, or give"):
        found(tmp_path)
