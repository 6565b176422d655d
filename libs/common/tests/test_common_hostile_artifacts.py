"""Model files and cards made to do harm, or simply broken: each is refused by name, and nothing in it runs.

Every payload tries the same: make the file `marker`. A table's row says how the artifact is made, which error
refuses it, and what the error's one line must say.
"""

import gzip
import io
import json
import os
import pickle
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
import sklearn
import skops.io
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # scipy publishes no types
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skops.io._protocol import PROTOCOL

from rollcast_common.contracts import ArtifactFormat
from rollcast_common.errors import (
    ArtifactNotFound,
    ContractError,
    DigestMismatch,
    GoldenRowsMismatch,
    RollcastError,
    UntrustedArtifact,
    UnusableModel,
    VersionMismatch,
)
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    GoldenRow,
    InputSchema,
    ModelCard,
    PredictionHistogram,
    check_card_is_of,
    decode_card,
)
from rollcast_common.models.files import check_sklearn_version, load_model, save_model
from rollcast_common.models.scoring import Scorer, check_golden_rows

X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
Y = np.array([1.0, 2.0, 3.0, 4.0])

MODEL = LinearRegression().fit(X, Y)

Json = dict[str, Any]


class Payload:
    """Runs a shell command when a pickle of it is loaded."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


class Boobytrap(BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """Runs code of its own when it is built from a file."""

    def __init__(self, marker: str = "") -> None:
        self.marker = marker

    def __setstate__(self, state: Any) -> None:
        Path(state["marker"]).touch()


@dataclass(frozen=True)
class Bench:
    """Where a row makes its artifact, and what must never come to be."""

    folder: Path
    marker: Path

    @property
    def command(self) -> str:
        return f"touch {self.marker}"

    @property
    def code(self) -> str:
        return f"open({str(self.marker)!r}, 'w')"

    def file(self, data: bytes, name: str = "m.skops") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def saved(self, model: Any) -> Path:
        path = self.folder / "m.skops"
        save_model(model, path)
        return path

    def zip(self, *members: tuple[str | zipfile.ZipInfo, bytes | str], method: int = zipfile.ZIP_STORED) -> Path:
        path = self.folder / "m.skops"
        with zipfile.ZipFile(path, "w", compression=method) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return path

    def schema(self, root: Any, *members: tuple[str | zipfile.ZipInfo, bytes | str], **beside: Any) -> Path:
        """A skops file with this object in it."""
        text = json.dumps(root | {"protocol": PROTOCOL} | beside if isinstance(root, dict) else root)
        return self.zip(("schema.json", text), *members)

    def beside(self, *members: tuple[str | zipfile.ZipInfo, bytes | str]) -> Path:
        """A good model, and something else in its zip."""
        path = self.saved(MODEL)
        with zipfile.ZipFile(path, "a") as archive:
            for name, data in members:
                archive.writestr(name, data)
        return path


# What skops writes into schema.json, node by node.


def plain(value: Any) -> Json:
    return node("JsonNode", "builtins", "str", content=json.dumps(value), is_json=True)


def node(loader: str, module: Any, name: Any, **more: Any) -> Json:
    return {"__class__": name, "__module__": module, "__loader__": loader} | more


def sequence(kind: str, *items: Json) -> Json:
    return node(f"{kind.title()}Node", "builtins", kind, content=list(items))


def called(module: str, name: str, *args: Any) -> Json:
    """What skops makes of an object whose `__reduce__` is (its type, its arguments)."""
    return node("ConstructorFromReduceNode", module, name, content=sequence("tuple", *map(plain, args)))


def function(module: str, name: str) -> Json:
    return node("FunctionNode", module, name)


def mapping(key_type: Json, **items: Json) -> Json:
    return node("DictNode", "builtins", "dict", key_types=sequence("list", *[key_type] * len(items)), content=items)


def attributes(**items: Json) -> Json:
    return mapping(node("TypeNode", "builtins", "str"), **items)


def estimator(module: str, name: str, **state: Json) -> Json:
    return node("ObjectNode", module, name, content=attributes(**state))


def partial(func: Json, *args: Any) -> Json:
    return node(
        "PartialNode",
        "functools",
        "partial",
        content={
            "func": func,
            "args": sequence("tuple", *map(plain, args)),
            "kwds": attributes(),
            "namespace": plain(None),
        },
    )


LINEAR = ("sklearn.linear_model._base", "LinearRegression")


def method(name: str, module: str, owner: str, of: Json) -> Json:
    return node("MethodNode", module, owner, content={"func": name, "obj": of})


def array(name: str) -> Json:
    return node("NdArrayNode", "numpy", "ndarray", type="numpy", file=name)


def npy(data: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, data, **how)
    return buffer.getvalue()


def nested(depth: int) -> Json:
    text = '{"__class__":"list","__module__":"builtins","__loader__":"ListNode","content":['
    return {"text": text * depth + "]}" * depth}


def link(target: str) -> tuple[zipfile.ZipInfo, str]:
    info = zipfile.ZipInfo("link.npy")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def rewritten(bench: Bench, change: Callable[[bytes], bytes], model: Any = MODEL) -> Path:
    path = bench.saved(model)
    return bench.file(change(path.read_bytes()))


def declaring(bench: Bench, bytes_: int, *, data: bytes = b"x") -> Path:
    """A zip whose directory lies about the size of a member."""
    path = bench.folder / "m.skops"
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", data)
        archive.getinfo("schema.json").file_size = bytes_
    return path


def encrypted(bench: Bench) -> Path:
    """Only flagged so in the directory: zipfile cannot write one."""
    path = bench.folder / "m.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.getinfo("schema.json").flag_bits |= 1
    return path


def linear(bench: Bench, made_with: str = sklearn.__version__, **state: Json) -> Path:
    return bench.schema(estimator(LINEAR[0], LINEAR[1], _sklearn_version=plain(made_with), **state))


def joblib_file(bench: Bench, name: str) -> Path:
    path = bench.folder / name
    joblib.dump(Payload(bench.command), path)
    return path


def missing_array(bench: Bench) -> Path:
    path = bench.saved(MODEL)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    del members[next(name for name in members if name.endswith(".npy"))]
    return bench.zip(*members.items())


def sparse_bomb(bench: Bench) -> Path:
    """An npz is a zip itself: what it unpacks to does not show from outside."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", bytes(4 << 20))
    root = node("SparseMatrixNode", "scipy.sparse._csr", "csr_matrix", type="scipy", file="1.npz")
    return bench.schema(root, ("1.npz", inner.getvalue()))


Make = Callable[[Bench], Path]


@dataclass(frozen=True)
class Row:
    name: str
    make: Make
    error: type[RollcastError]
    says: str
    format: ArtifactFormat = "skops"
    allow_pickle: bool = False
    limit_bytes: int | None = None


PICKLES = [
    Row(
        "a pickle",
        lambda b: b.file(pickle.dumps(Payload(b.command)), "m.pkl"),
        UntrustedArtifact,
        "a pickle can run any code",
        format="pickle",
    ),
    Row(
        "a joblib file",
        lambda b: joblib_file(b, "m.joblib"),
        UntrustedArtifact,
        "a pickle can run any code",
        format="pickle",
    ),
    Row(
        "a pickle under the name of a skops file",
        lambda b: b.file(pickle.dumps(Payload(b.command))),
        UnusableModel,
        "not a skops file",
    ),
    Row(
        "the same where pickles are allowed",
        lambda b: b.file(pickle.dumps(Payload(b.command))),
        UnusableModel,
        "not a skops file",
        allow_pickle=True,
    ),
    Row("a joblib file under the name of a skops file", lambda b: joblib_file(b, "m.skops"), UnusableModel, "not a sk"),
    Row(
        "a gzip'd pickle under the name of a skops file",
        lambda b: b.file(gzip.compress(pickle.dumps(Payload(b.command)))),
        UnusableModel,
        "not a skops file",
    ),
    Row(
        "a pickle with a zip at its end",
        lambda b: b.file(pickle.dumps(Payload(b.command)) + b.zip(("data.pkl", b"x")).read_bytes()),
        UnusableModel,
        "schema.json",
    ),
    Row(
        "a skops file named a pickle",
        lambda b: b.saved(MODEL),
        UntrustedArtifact,
        "a pickle can run any code",
        format="pickle",
    ),
    Row(
        "a skops file named a pickle where pickles are allowed",
        lambda b: b.saved(MODEL),
        UnusableModel,
        "cannot be read",
        format="pickle",
        allow_pickle=True,
    ),
]

TYPES = [
    Row("os.system", lambda b: b.schema(called("os", "system", b.command)), UntrustedArtifact, "os.system"),
    Row("its other name", lambda b: b.schema(called("posix", "system", b.command)), UntrustedArtifact, "posix.system"),
    Row("eval", lambda b: b.schema(called("builtins", "eval", b.code)), UntrustedArtifact, "builtins.eval"),
    Row("exec", lambda b: b.schema(called("builtins", "exec", b.code)), UntrustedArtifact, "builtins.exec"),
    Row(
        "subprocess.Popen",
        lambda b: b.schema(called("subprocess", "Popen", ["touch", str(b.marker)])),
        UntrustedArtifact,
        "subprocess.Popen",
    ),
    Row(
        "partial of os.system",
        lambda b: b.schema(partial(function("os", "system"), b.command)),
        UntrustedArtifact,
        "functools.partial, os.system",
    ),
    Row(
        "partial of eval, said to be a type",
        lambda b: b.schema(partial(node("TypeNode", "builtins", "eval"), b.code)),
        UntrustedArtifact,
        "builtins.eval, functools.partial",
    ),
    Row(
        "operator.methodcaller",
        lambda b: b.schema(
            node("OperatorFuncNode", "operator", "methodcaller", attrs=sequence("tuple", plain("system")))
        ),
        UntrustedArtifact,
        "operator.methodcaller",
    ),
    Row(
        "an operator of another module",
        lambda b: b.schema(node("OperatorFuncNode", "os", "system", attrs=sequence("tuple", plain(b.command)))),
        UnusableModel,
        "Expected module 'operator'",
    ),
    Row(
        "a class of this test",
        lambda b: b.saved(Boobytrap(str(b.marker))),
        UntrustedArtifact,
        "Boobytrap",
    ),
    Row(
        "a type of __main__",
        lambda b: b.schema(estimator("__main__", "Model", marker=plain(str(b.marker)))),
        UntrustedArtifact,
        "__main__.Model",
    ),
    Row(
        "a module that runs code when it is imported",
        lambda b: b.schema(estimator("imported_trap", "Model")),
        UntrustedArtifact,
        "imported_trap.Model",
    ),
    Row(
        "a type of scikit-learn that is not on our list",
        lambda b: b.schema(estimator("sklearn.utils._mocking", "CheckingClassifier")),
        UntrustedArtifact,
        "sklearn.utils._mocking.CheckingClassifier",
    ),
    Row(
        "a function of scikit-learn that is not on our list",
        lambda b: b.schema(called("sklearn.datasets", "fetch_openml", "iris")),
        UntrustedArtifact,
        "sklearn.datasets.fetch_openml",
    ),
    Row(
        "a transformer with a foreign function",
        lambda b: b.saved(Pipeline([("run", FunctionTransformer(os.system)), ("fit", MODEL)])),
        UntrustedArtifact,
        f"{os.system.__module__}.system",
    ),
    Row(
        "a foreign function deep in a good pipeline",
        lambda b: b.schema(
            estimator(
                "sklearn.preprocessing._function_transformer",
                "FunctionTransformer",
                kw_args=attributes(x=sequence("list", sequence("tuple", function("shutil", "rmtree")))),
            )
        ),
        UntrustedArtifact,
        "shutil.rmtree",
    ),
    Row(
        "a method of a trusted type",
        lambda b: b.schema(method("__reduce__", *LINEAR, estimator(*LINEAR))),
        UntrustedArtifact,
        "sklearn.linear_model._base.LinearRegression.__reduce__",
    ),
    Row(
        "a method of a foreign type",
        lambda b: b.schema(method("write_text", "pathlib", "Path", called("pathlib", "Path", str(b.marker)))),
        UntrustedArtifact,
        "pathlib.Path, pathlib.Path.write_text",
    ),
    Row(
        "a method that says it is another type's",
        lambda b: b.schema(method("touch", *LINEAR, called("pathlib", "Path", str(b.marker)))),
        UnusableModel,
        "Expected object of type sklearn.linear_model._base.LinearRegression, got pathlib.Path",
    ),
    Row(
        "keys made by eval",
        lambda b: b.schema(mapping(node("TypeNode", "builtins", "eval"), **{b.code: plain(1)})),
        UntrustedArtifact,
        "builtins.eval",
    ),
    Row(
        "a list that is made by eval",
        lambda b: b.schema(node("ListNode", "builtins", "eval", content=[plain(b.code)])),
        UntrustedArtifact,
        "builtins.eval",
    ),
    Row(
        "an array that is made by os.system",
        lambda b: b.schema(node("NdArrayNode", "os", "system", type="numpy", file="1.npy"), ("1.npy", npy(X))),
        UntrustedArtifact,
        "os.system",
    ),
    Row(
        "a default_factory",
        lambda b: b.schema(
            node(
                "DefaultDictNode",
                "collections",
                "defaultdict",
                content={"main": attributes(), "default_factory": function("os", "getcwd")},
            )
        ),
        UntrustedArtifact,
        "os.getcwd",
    ),
    Row(
        "a loss that is os.system",
        lambda b: b.schema(
            node(
                "LossNode",
                "os",
                "system",
                content=attributes(),
                __reduce__={"args": sequence("tuple", plain(b.command))},
            )
        ),
        UntrustedArtifact,
        "os.system",
    ),
    Row(
        "a function in the words of an old protocol",
        lambda b: b.schema(
            node("FunctionNode", "numpy", "add", content={"module_path": "os", "function": "system"}), protocol=0
        ),
        UntrustedArtifact,
        "os.system",
    ),
    Row(
        "a bit generator that is a function",
        lambda b: b.schema(
            node(
                "RandomGeneratorNode",
                "numpy.random._generator",
                "Generator",
                content={"bit_generator": attributes(bit_generator=plain("seed")), "seed_seq": attributes()},
            )
        ),
        UntrustedArtifact,
        "numpy.random.seed",
    ),
    Row(
        "a file that brings its own list of trusted types",
        lambda b: b.schema(called("os", "system", b.command), trusted=["os.system"], trusted_types=["os.system"]),
        UntrustedArtifact,
        "os.system",
    ),
    Row(
        "a type's name of several lines",
        lambda b: b.schema(called("os", "system\nINFO model ready\x1b[2J", b.command)),
        UntrustedArtifact,
        "os.system INFO model ready [2J",
    ),
    Row(
        "a type's name without end",
        lambda b: b.schema(called("os", "system" * 100_000, b.command)),
        UntrustedArtifact,
        "os.systemsystem",
    ),
    Row("a type's name that is a number", lambda b: b.schema(node("ListNode", 1, 2, content=[])), UnusableModel, "int"),
    Row("a loader that is not there", lambda b: b.schema(node("ExecNode", "os", "x")), UnusableModel, "find loader"),
    Row(
        "a reference to nothing",
        lambda b: b.schema(node("CachedNode", "os", "system", __id__=7)),
        UnusableModel,
        "unknown object id 7",
    ),
]

ZIPS = [
    Row("an empty file", lambda b: b.file(b""), UnusableModel, "not a skops file, or cut off"),
    Row("a folder", lambda b: b.folder, ArtifactNotFound, "no such file"),
    Row("nothing", lambda b: b.folder / "none.skops", ArtifactNotFound, "no such file"),
    Row("a cut off zip", lambda b: rewritten(b, lambda d: d[:-40]), UnusableModel, "not a skops file, or cut off"),
    Row("a zip without its first half", lambda b: rewritten(b, lambda d: d[len(d) // 2 :]), UnusableModel, "m.skops"),
    Row(
        "a zip that is damaged inside",
        lambda b: rewritten(b, lambda d: d[:60] + bytes(60) + d[120:]),
        UnusableModel,
        "",
    ),
    Row("no schema.json", lambda b: b.zip(("readme.txt", "hello")), UnusableModel, "schema.json"),
    Row("a schema that is not JSON", lambda b: b.zip(("schema.json", "{")), UnusableModel, "JSONDecodeError"),
    Row("a schema that is a list", lambda b: b.schema([]), UnusableModel, "cannot be read"),
    Row("a schema that says nothing", lambda b: b.schema({}), UnusableModel, "cannot be read"),
    Row(
        "a protocol of the future",
        lambda b: b.schema(plain(1), protocol=99),
        UnusableModel,
        "skops protocol 99",
    ),
    Row(
        "a schema nested beyond what JSON can read",
        lambda b: b.zip(("schema.json", '{"protocol":2,"content":' + "[" * 200_000 + "]" * 200_000 + "}")),
        UnusableModel,
        "RecursionError",
    ),
    Row(
        "a schema nested beyond what skops can read",
        lambda b: b.zip(("schema.json", nested(400)["text"].replace("{", '{"protocol":2,', 1))),
        UnusableModel,
        "RecursionError",
    ),
    Row("a missing array", missing_array, UnusableModel, ".npy"),
    Row("a name that climbs", lambda b: b.beside(("../../x", "")), UntrustedArtifact, "entry named '../../x'"),
    Row(
        "an absolute name", lambda b: b.beside(("/etc/cron.d/x", "")), UntrustedArtifact, "entry named '/etc/cron.d/x'"
    ),
    Row("a name of another system", lambda b: b.beside(("..\\x", "")), UntrustedArtifact, "entry named '..\\\\x'"),
    Row("a folder inside", lambda b: b.beside(("sub/", "")), UntrustedArtifact, "entry named 'sub/'"),
    Row("a hidden file", lambda b: b.beside((".bashrc", "")), UntrustedArtifact, "entry named '.bashrc'"),
    Row("a link", lambda b: b.beside(link("/etc/passwd")), UntrustedArtifact, "entry link.npy is a link"),
    Row("an encrypted member", encrypted, UntrustedArtifact, "schema.json is encrypted"),
    Row(
        "a method whose size nobody can bound",
        lambda b: b.zip(("schema.json", "{}"), method=zipfile.ZIP_LZMA),
        UntrustedArtifact,
        "compressed by method 14",
    ),
    Row(
        "a bomb, by its ratio",
        lambda b: declaring(b, 300 << 20),
        UntrustedArtifact,
        f"unpacks to {300 << 20} bytes, and at most {256 << 20} are expected",
    ),
    Row(
        "a bomb, by the limit that was set",
        lambda b: b.beside(("1.bin", bytes(2 << 20))),
        UntrustedArtifact,
        "at most 1048576 are expected here; if that is right, allow it with --max-model-bytes",
        limit_bytes=1 << 20,
    ),
    Row("a bomb in a sparse matrix", sparse_bomb, UntrustedArtifact, "unpacks to", limit_bytes=1 << 20),
    Row(
        "a member that inflates to more than it says",
        lambda b: declaring(b, 10, data=bytes(1 << 20)),
        UnusableModel,
        "Bad CRC-32",
    ),
    Row(
        "an array of pickled objects",
        lambda b: b.schema(
            array("1.npy"), ("1.npy", npy(np.array([Payload(b.command)], dtype=object), allow_pickle=True))
        ),
        UnusableModel,
        "Object arrays cannot be loaded",
    ),
    Row("an array that is none", lambda b: b.schema(array("1.npy"), ("1.npy", "x")), UnusableModel, "cannot be read"),
    Row(
        "an array that is a pickle",
        lambda b: b.schema(array("1.npy"), ("1.npy", pickle.dumps(Payload(b.command)))),
        UnusableModel,
        "cannot be read",
    ),
    Row(
        "an array with less in it than it says",
        lambda b: b.schema(array("1.npy"), ("1.npy", npy(X)[:-8])),
        UnusableModel,
        "cannot be read",
    ),
    Row(
        "a model of another scikit-learn",
        lambda b: linear(b, "1.2.2"),
        VersionMismatch,
        "made with scikit-learn 1.2.2, this predictor has",
    ),
]

UNFIT = [
    Row(
        "a dict", lambda b: b.saved({"model": 1}), UnusableModel, "dict has no predict(): not a scikit-learn predictor"
    ),
    Row("an array", lambda b: b.saved(X), UnusableModel, "ndarray has no predict()"),
    Row("a sparse matrix", lambda b: b.saved(csr_matrix(X)), UnusableModel, "csr_matrix has no predict()"),
    Row("a transformer", lambda b: b.saved(StandardScaler().fit(X)), UnusableModel, "StandardScaler has no predict()"),
    Row("a pipeline of nothing", lambda b: b.saved(Pipeline([])), UnusableModel, "Pipeline has no predict()"),
    Row(
        "a model of no known features",
        lambda b: b.saved(LinearRegression()),
        UnusableModel,
        "does not know its features",
    ),
    Row(
        "a model of a word of features",
        lambda b: linear(b, n_features_in_=plain("many")),
        UnusableModel,
        "LinearRegression cannot be asked what it is: ValueError",
    ),
    Row(
        "a model of more features than memory holds",
        lambda b: linear(b, n_features_in_=plain(10**15)),
        UnusableModel,
        "says it takes 1000000000000000 features",
    ),
    Row(
        "a model of features that are no names",
        lambda b: linear(b, feature_names_in_=plain(7)),
        UnusableModel,
        "LinearRegression cannot be asked what it is: TypeError",
    ),
]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path / "files", tmp_path / "marker")
    made.folder.mkdir()
    # A module that a file may name, and whose import alone would be seen.
    importable = tmp_path / "importable"
    importable.mkdir()
    (importable / "imported_trap.py").write_text(f"{made.code}\nclass Model: pass\n")
    monkeypatch.syspath_prepend(importable)
    return made


def refused(bench: Bench, error: type[RollcastError], says: str, act: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        act()
    text = str(caught.value)
    assert says in text
    assert text.isprintable(), "one line, and nothing that steers a terminal"
    assert len(text) <= 2000
    assert not bench.marker.exists(), "code of the file ran"
    assert "imported_trap" not in sys.modules


@pytest.mark.parametrize("row", [*PICKLES, *TYPES, *ZIPS], ids=lambda row: row.name)
def test_refused_before_it_is_an_object(bench: Bench, row: Row) -> None:
    path = row.make(bench)
    refused(
        bench,
        row.error,
        row.says,
        lambda: load_model(path, row.format, allow_pickle=row.allow_pickle, max_unpacked_bytes=row.limit_bytes),
    )


@pytest.mark.parametrize("row", UNFIT, ids=lambda row: row.name)
def test_refused_because_it_is_no_predictor(bench: Bench, row: Row) -> None:
    model = load_model(row.make(bench), row.format)
    refused(bench, row.error, row.says, lambda: Scorer(model, None))


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's own word on what it is made to write here
def test_refused_because_it_says_two_things_under_one_name(bench: Bench) -> None:
    path = bench.beside(("schema.json", json.dumps(plain(1) | {"protocol": PROTOCOL})))
    refused(bench, UntrustedArtifact, "holds entry schema.json twice", lambda: load_model(path, "skops"))


def test_the_payload_works_where_nothing_stops_it(bench: Bench) -> None:
    """Or the table would prove nothing."""
    load_model(bench.file(pickle.dumps(Payload(bench.command)), "m.pkl"), "pickle", allow_pickle=True)
    assert bench.marker.exists()


@pytest.mark.parametrize(
    "make",
    [
        lambda b: b.schema(called("subprocess", "getoutput", b.command)),
        lambda b: b.schema(node("ListNode", "builtins", "eval", content=[plain(b.code)])),
        lambda b: b.saved(Boobytrap(str(b.marker))),
    ],
    ids=["a call", "a list", "a class"],
)
def test_a_forged_schema_is_what_skops_would_obey(bench: Bench, make: Make) -> None:
    """Trusting the file's own word is the mistake that the rows above rely on nobody making."""
    path = make(bench)
    types = skops.io.get_untrusted_types(file=path)
    try:
        load_model(path, "skops", trusted_types=types)
    except UnusableModel:  # eval of a list is a TypeError, after it was called
        assert types == ["builtins.eval"]
    else:
        assert bench.marker.exists()


def test_a_good_file_unpacks_to_as_much_as_is_allowed(bench: Bench) -> None:
    path = bench.saved(Pipeline([("scale", StandardScaler()), ("fit", LinearRegression())]).fit(X, Y))
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    assert load_model(path, "skops", max_unpacked_bytes=size).predict(X).shape == (4,)
    with pytest.raises(UntrustedArtifact, match="unpacks to"):
        load_model(path, "skops", max_unpacked_bytes=size - 1)


GOLDEN = GoldenRow(row=msgspec.Raw(b'{"x": 1.0}'), prediction=msgspec.Raw(b"2.0"))

CARD = ModelCard(
    model="wine",
    version="1",
    task="regression",
    estimator="LinearRegression",
    trained_at=1,
    artifact_sha256="a" * 64,
    artifact_size_bytes=1,
    input=InputSchema(features=(Feature(name="x", type="number"),)),
    metrics={},
    baseline_metrics={},
    data=DataFacts(
        source="s", sha256="b" * 64, rows=2, unique_rows=2, train_rows=1, test_rows=1, split="s", target="y"
    ),
    libraries={},
    golden_rows=(GOLDEN,),
    predictions=PredictionHistogram(counts=()),
)


def card(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(CARD)) | changes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "model card of wine@1: "),
        (b"\x80\x04]q\x00.", "JSON is malformed"),
        (b'{"schema": "1.0"', "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"x":' + b"[" * 200_000, "ecursion"),
        (card(schema="2.0"), "schema 2.0 is not known here (majors read: 1)"),
        (card(schema="1.0\nmodel ready"), "expected"),
        (card(task="regression\nmodel ready"), "Invalid enum value"),
        (card(golden_rows=[{"row": {}}]), "missing required field `prediction`"),
        (card(input={"features": [{"name": "x", "type": "code"}]}), "Invalid enum value"),
        (card(artifact_size_bytes="1" * 5000), "Expected `int`"),
    ],
    ids=range(11),
)
def test_a_card_that_is_none(bench: Bench, data: bytes, says: str) -> None:
    refused(bench, ContractError, says, lambda: decode_card(data, source="of wine@1"))


@pytest.mark.parametrize("digest", ["b" * 64, "A" * 64, "", None])
def test_a_card_of_another_file(bench: Bench, digest: str | None) -> None:
    says = f"expected {'a' * 64}: the card beside it is about another file"
    refused(bench, DigestMismatch, says, lambda: check_card_is_of(CARD, digest, source="wine@1"))
    check_card_is_of(CARD, "a" * 64, source="wine@1")


def test_a_card_of_another_scikit_learn(bench: Bench) -> None:
    says = "wine@1: made with scikit-learn 0.24 model ready, this predictor has"
    refused(bench, VersionMismatch, says, lambda: check_sklearn_version("0.24\nmodel ready", "wine@1"))


class Doubler:
    def predict(self, frame: Any) -> Any:
        return frame["x"].to_numpy() * 2


@pytest.mark.parametrize(
    ("row", "prediction", "says"),
    [
        (b'{"x": 1.0}', b"3.0", "golden row 0: the card promises 3.0, this model says 2.0"),
        (b'{"x": 1.0}', b'"2.0"', "the card promises '2.0'"),
        (b'{"x": 1.0}', b"[2.0]", "the card promises [2.0]"),
        (b'{"x": 1.0}', b"1" + b"0" * 400, "the card promises 1"),
        (b'{"x": 1.0}', b"[" + b"1," * 100_000 + b"1]", "the card promises [1, 1"),
        (b'{"x": 1.0}', b'"\\n\\u001b[2J"', "the card promises '"),
        (b'{"x": 1.0}', b'"\xff"', "the card's prediction cannot be read"),
        (b'{"x": 1.0}', b"", "the card's prediction cannot be read"),
        (b"{}", b"2.0", "golden row 0: missing-feature: feature x is missing"),
        (b"[1.0]", b"2.0", "golden row 0: not-an-object: "),
        (b"null", b"2.0", "golden row 0: not-an-object: "),
        (b'{"x": "many"}', b"2.0", "golden row 0: wrong-type: "),
        (b'{"x": 1e999}', b"2.0", "golden row 0: wrong-type: "),
        (b"", b"2.0", "golden row 0: empty: "),
    ],
    ids=range(14),
)
def test_golden_rows_that_the_model_does_not_keep(bench: Bench, row: bytes, prediction: bytes, says: str) -> None:
    golden = GoldenRow(row=msgspec.Raw(row), prediction=msgspec.Raw(prediction))
    scorer = Scorer(Doubler(), CARD.input)
    check_golden_rows(scorer, [GOLDEN])
    refused(bench, GoldenRowsMismatch, says, lambda: check_golden_rows(scorer, [golden]))
