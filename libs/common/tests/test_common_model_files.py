"""Model files: what is loaded, what is refused, and why."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rollcast_common.errors import ArtifactNotFound, UntrustedArtifact, UnusableModel, VersionMismatch
from rollcast_common.models.files import check_sklearn_version, load_model, save_model

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
Y = np.array([1.0, 2.0, 3.0, 4.0])

MINOR = ".".join(sklearn.__version__.split(".")[:2])


class HandMade(BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """An estimator that no list knows."""

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good skops file of a pipeline."""
    file = tmp_path / "model.skops"
    save_model(make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y), file)
    return file


def patch_versions(path: Path, versions: list[str]) -> None:
    """Say of the estimators in a skops file, in their order, that these scikit-learn releases made them."""
    remaining = iter(versions)
    seen: list[Any] = [None]
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def patched(node: Any) -> Any:
        if isinstance(node, list):
            return [patched(part) for part in node]
        if not isinstance(node, dict):
            return node
        result = {name: patched(part) for name, part in node.items()}
        if "_sklearn_version" in result and "content" in result["_sklearn_version"]:
            # An id of its own: skops loads what has the same id only once.
            result["_sklearn_version"] |= {"content": json.dumps(next(remaining)), "__id__": -len(seen)}
            seen.append(result)
        return result

    members["schema.json"] = json.dumps(patched(json.loads(members["schema.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert next(remaining, None) is None, "the file holds fewer estimators"


class TestSkops:
    def test_round_trip(self, tmp_path: Path) -> None:
        model = RandomForestRegressor(n_estimators=5, random_state=0).fit(X, Y)
        save_model(model, tmp_path / "m.skops")
        loaded = load_model(tmp_path / "m.skops", "skops")
        assert type(loaded) is RandomForestRegressor
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))

    def test_a_type_that_is_not_trusted_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "m.skops"
        save_model(make_pipeline(StandardScaler().fit(X), HandMade()), file)
        name = f"{HandMade.__module__}.HandMade"
        with pytest.raises(UntrustedArtifact) as refused:
            load_model(file, "skops")
        assert str(refused.value) == (
            f"m.skops: holds types that are not trusted here: {name}; if they are yours, name them with --trusted-type"
        )
        assert isinstance(load_model(file, "skops", trusted_types=[name])[1], HandMade)

    def test_trusting_another_type_does_not_help(self, tmp_path: Path) -> None:
        save_model(HandMade(), tmp_path / "m.skops")
        with pytest.raises(UntrustedArtifact, match="HandMade"):
            load_model(tmp_path / "m.skops", "skops", trusted_types=["os.system"])

    def test_allowing_pickle_opens_no_door_for_skops(self, tmp_path: Path) -> None:
        file = tmp_path / "m.skops"
        file.write_bytes(pickle.dumps(LinearRegression()))
        with pytest.raises(UnusableModel, match="not a skops file"):
            load_model(file, "skops", allow_pickle=True)

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda _good: b"", "not a skops file, or cut off"),
            (lambda _good: b"not a zip", "not a skops file, or cut off"),
            (lambda good: good[: len(good) // 2], "not a skops file, or cut off"),
            (lambda good: good[:200] + bytes(200) + good[400:], "cannot be read: "),
        ],
        ids=["empty", "not a zip", "cut off", "overwritten inside"],
    )
    def test_a_broken_file(self, path: Path, spoil: Callable[[bytes], bytes], says: str) -> None:
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(UnusableModel, match=f"^model.skops: {says}.*upload it again"):
            load_model(path, "skops")

    def test_a_zip_that_holds_no_model(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(UnusableModel, match=r"schema\.json"):
            load_model(path, "skops")

    @pytest.mark.parametrize("artifact_format", ["skops", "pickle"])
    def test_no_file(self, tmp_path: Path, artifact_format: Any) -> None:
        with pytest.raises(ArtifactNotFound, match=r"m\.skops: no such file"):
            load_model(tmp_path / "m.skops", artifact_format, allow_pickle=True)


class TestVersions:
    def test_another_minor_is_refused_with_both_named(self, path: Path) -> None:
        patch_versions(path, ["1.2.2", "1.2.2", "1.2.2"])
        with pytest.raises(VersionMismatch) as refused:
            load_model(path, "skops")
        assert f"model.skops: made with scikit-learn 1.2.2, this predictor has {sklearn.__version__}" in str(
            refused.value
        )

    def test_one_step_of_another_minor_is_enough(self, path: Path) -> None:
        patch_versions(path, [f"{MINOR}.99", f"{MINOR}.98", "1.2.2"])
        with pytest.raises(VersionMismatch, match=r"1\.2\.2"):
            load_model(path, "skops")

    def test_another_patch_release_is_fine_and_says_nothing(self, path: Path) -> None:
        patch_versions(path, [f"{MINOR}.99"] * 3)
        assert load_model(path, "skops").predict(X).shape == (4,)

    def test_a_pickle_of_another_minor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "m.pkl"
        model = LinearRegression().fit(X, Y)
        monkeypatch.setattr("sklearn.base.__version__", "1.2.2")
        file.write_bytes(pickle.dumps(model))
        monkeypatch.undo()
        with pytest.raises(VersionMismatch, match=r"1\.2\.2"):
            load_model(file, "pickle", allow_pickle=True)

    def test_when_a_file_of_another_minor_breaks_the_version_is_what_is_wrong(self, path: Path) -> None:
        patch_versions(path, ["1.2.2"] * 3)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        arrays = [name for name in members if name.endswith(".npy")]
        members[arrays[-1]] = b"nothing"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        with pytest.raises(VersionMismatch, match=r"1\.2\.2"):
            load_model(path, "skops")

    @pytest.mark.parametrize("made_with", [sklearn.__version__, MINOR, f"{MINOR}.0", f"{MINOR}.7rc1", f"{MINOR}.dev0"])
    def test_the_same_minor(self, made_with: str) -> None:
        check_sklearn_version(made_with, "m")

    @pytest.mark.parametrize("made_with", ["0.24.2", f"{MINOR}9.1", "2.0", "", "pre-0.18"])
    def test_not_the_same_minor(self, made_with: str) -> None:
        with pytest.raises(VersionMismatch, match=f"m: made with scikit-learn {made_with}"):
            check_sklearn_version(made_with, "m")


class TestPickle:
    def test_refused_before_it_is_opened(self, tmp_path: Path) -> None:
        with pytest.raises(UntrustedArtifact, match=r"m\.pkl: a pickle can run any code.*skops\.io\.dump"):
            load_model(tmp_path / "m.pkl", "pickle")

    @pytest.mark.parametrize(
        "dump", [joblib.dump, lambda model, file: file.write_bytes(pickle.dumps(model))], ids=["joblib", "pickle"]
    )
    def test_allowed(self, tmp_path: Path, dump: Callable[[Any, Path], Any]) -> None:
        file = tmp_path / "m.pkl"
        dump(LinearRegression().fit(X, Y), file)
        assert load_model(file, "pickle", allow_pickle=True).predict(X).shape == (4,)

    @pytest.mark.parametrize(
        "data",
        [b"", b"not a pickle", pickle.dumps(LinearRegression())[:-20], b"cnowhere.at_all\nThing\n."],
        ids=["empty", "no pickle", "cut off", "a class that is not here"],
    )
    def test_a_broken_file(self, tmp_path: Path, data: bytes) -> None:
        file = tmp_path / "m.pkl"
        file.write_bytes(data)
        with pytest.raises(UnusableModel, match=r"^m\.pkl: cannot be read: "):
            load_model(file, "pickle", allow_pickle=True)
