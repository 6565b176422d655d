"""Bad data: each row is a file and the words that must be in the one line about it."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollcast_common.errors import ConfigError, DataError, RollcastError
from rollcast_trainer.datasets import read_dataset
from rollcast_trainer.preparation import Examples, prepare
from rollcast_trainer.settings import DatasetSettings

HEADER = "size,age,kind,maker,price\n"
GOOD = [f"{index},{index % 9},chair,maker {index % 5},{index * 2}\n" for index in range(30)]


def read(path: Path, settings: Any) -> Examples:
    return prepare(read_dataset(DatasetSettings(csv=path)), settings)


BAD_FILES: list[tuple[str, bytes, list[str]]] = [
    ("nothing in it", b"", ["is empty"]),
    ("only a header", HEADER.encode(), ["no row below"]),
    ("Latin-1", HEADER.encode() + b"1,2,Espa\xf1a,a,3\n", ["not UTF-8", "byte"]),
    ("a line too long", (HEADER + "1,2,3,4,5,6\n").encode(), ["line 2", "6 values", "5 columns"]),
    ("a line too short", (HEADER + "1,2\n").encode(), ["line 2", "2 values"]),
    ("an open quote", (HEADER + '1,2,"chair,a,3\n').encode(), ["not CSV"]),
    ("a column twice", b"size,size\n1,2\n", ["names size twice"]),
    ("semicolons", (HEADER + GOOD[0]).replace(",", ";").encode(), ["no column price", "dataset.separator"]),
    ("no target", b"size,age,kind,maker\n1,2,a,b\n", ["no column price", "named by target", "'size', 'age'"]),
    ("no feature", b"size,kind,maker,price\n1,a,b,2\n", ["no column age", "features.numbers"]),
    ("no group", b"size,age,kind,price\n1,2,a,3\n", ["no column maker"]),
    (
        "no target value",
        (HEADER + "".join(f"{index},2,a,b,NA\n" for index in range(30))).encode(),
        ["price", "no value in any of 30 rows"],
    ),
    (
        "words for a target",
        (HEADER + "".join(f"{index},2,a,b,cheap\n" for index in range(30))).encode(),
        ["price is not numeric", "'cheap'", "task: classification"],
    ),
    (
        "one price",
        (HEADER + "".join(f"{index},2,a,b,5\n" for index in range(30))).encode(),
        ["price is 5 in every row"],
    ),
    ("too few", (HEADER + "".join(GOOD[:19])).encode(), ["19 different rows", "at least 20"]),
    ("copies only", (HEADER + GOOD[0] * 100).encode(), ["1 different rows"]),
    (
        "a word among numbers",
        (HEADER + "".join(GOOD) + "big,2,a,b,3\n").encode(),
        ["column size", "'big'", "missing_values", "features.strings"],
    ),
    ("endless", (HEADER + "".join(GOOD) + "inf,2,a,b,3\n").encode(), ["column size", "'inf'"]),
    (
        "an empty column",
        (HEADER + "".join(line.replace("chair", "") for line in GOOD)).encode(),
        ["column kind has no value in any row"],
    ),
]


@pytest.mark.parametrize(("data", "words"), [(d, w) for _, d, w in BAD_FILES], ids=[n for n, _, _ in BAD_FILES])
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, settings_with: Any, data: bytes, words: list[str]) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(path, settings_with())
    text = str(caught.value)
    assert "shop.csv" in text
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: no such file; give --data"):
        read_dataset(DatasetSettings(csv=tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_dataset(DatasetSettings(csv=tmp_path))


CLASSIFIER = {"task": "classification", "estimator": {"type": "LogisticRegression"}}


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        (["a"] * 30, ["one class only", "'a'"]),
        ([str(index) for index in range(30)], ["30 classes in 30 rows", "task: regression"]),
    ],
)
def test_a_target_that_is_no_class_is_told(
    tmp_path: Path, settings_with: Any, prices: list[str], words: list[str]
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(HEADER + "".join(f"{index},2,a,b,{price}\n" for index, price in enumerate(prices)))
    with pytest.raises(DataError) as caught:
        read(path, settings_with(**CLASSIFIER))
    for word in words:
        assert word in str(caught.value)


def test_log1p_is_refused_for_a_target_below_its_range(tmp_path: Path, settings_with: Any) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(HEADER + "".join(GOOD) + "99,2,a,b,-3\n")
    with pytest.raises(ConfigError, match=r"target_transform was 'log1p'.*price goes down to -3.*may be none"):
        read(path, settings_with(target_transform="log1p"))


def test_a_column_that_no_request_can_hold_is_refused(tmp_path: Path, settings_with: Any) -> None:
    path = tmp_path / "shop.csv"
    path.write_text('"si\\ze",price\n' + "".join(f"{index},{index}\n" for index in range(30)))
    with pytest.raises(RollcastError, match="rename"):
        read(path, settings_with(features={"numbers": ["si\\ze"]}, split={}))


def test_rows_without_a_usable_target_are_dropped_and_counted(tmp_path: Path, settings_with: Any) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(HEADER + "".join(GOOD) + GOOD[0] + "7,7,a,b,NA\n8,8,a,b,dear\n9,9,a,b,inf\n")
    examples = read(path, settings_with())
    assert (examples.rows, examples.unique_rows, examples.dropped_rows) == (34, 33, 3)
    assert len(examples.frame) == len(examples.target) == 30


def test_the_frame_holds_the_texts_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    data = b'\xef\xbb\xbfa,b\r\n 01 ,NA\r\n,"x,""y"\r\n'
    path.write_bytes(data)
    dataset = read_dataset(DatasetSettings(csv=path))
    assert dataset.frame.to_dict("list") == {"a": [" 01 ", ""], "b": ["NA", 'x,"y']}
    assert dataset.sha256 == hashlib.sha256(data).hexdigest()
    assert dataset.source == "shop.csv"


@pytest.mark.parametrize(("labels", "kind"), [(["0", "1"], "i"), (["01", "1"], "U"), (["1.0", "2"], "U")])
def test_class_labels_are_whole_numbers_only_if_written_so(
    tmp_path: Path, settings_with: Any, labels: list[str], kind: str
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(HEADER + "".join(f"{index},2,a,b,{labels[index % 2]}\n" for index in range(30)))
    assert read(path, settings_with(**CLASSIFIER)).target.dtype.kind == kind


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "digits", "iris", "wine"])
def test_sets_of_scikit_learn_are_texts_too_and_keep_every_digit(name: Any) -> None:
    dataset = read_dataset(DatasetSettings(sklearn=name))
    assert dataset.source == f"sklearn:{name}"
    assert dataset.frame.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert dataset.sha256 == read_dataset(DatasetSettings(sklearn=name)).sha256


def test_sets_of_scikit_learn_name_their_classes() -> None:
    assert set(read_dataset(DatasetSettings(sklearn="breast_cancer")).frame["target"]) == {"benign", "malignant"}


@pytest.mark.wines
def test_the_wines_are_2048_different_rows(settings_with: Any) -> None:
    settings = settings_with(
        features={"numbers": ["year", "rating"], "strings": ["winery", "type"]},
        missing_values=["", "NA", "N.V."],
        split={"group_by": "winery"},
    )
    examples = read(Path(os.environ["WINES"]), settings)
    assert (examples.rows, examples.unique_rows, examples.dropped_rows) == (7500, 2048, 0)
    assert np.isfinite(examples.target).all()
