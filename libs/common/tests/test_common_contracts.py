"""Contracts, from both ends: a writer makes exactly the golden bytes, a reader understands them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rollcast_common.contracts import (
    Assignment,
    DeadLetter,
    DeadLetterReason,
    GroundTruth,
    ModelTrained,
    Prediction,
    PredictionBins,
    PredictorStatus,
    Receipt,
    ServedVersion,
    request_id_of,
)
from rollcast_common.contracts.assignment import decode_assignment, encode_assignment, salt_of
from rollcast_common.contracts.dead_letter import dead_letter_headers, parse_dead_letter
from rollcast_common.contracts.ground_truth import decode_ground_truth, encode_ground_truth
from rollcast_common.contracts.headers import header_texts
from rollcast_common.contracts.model_trained import encode_model_trained, parse_model_trained
from rollcast_common.contracts.prediction import decode_prediction, encode_prediction
from rollcast_common.contracts.predictor_status import (
    COST_BINS,
    Comparison,
    TrackCounts,
    VersionReport,
    cost_bin,
    cost_ratio,
    decode_predictor_status,
    encode_predictor_status,
)
from rollcast_common.contracts.receipt import decode_receipt, encode_receipt
from rollcast_common.contracts.versioning import check_schema
from rollcast_common.errors import ContractError
from rollcast_common.models.card import (
    DataFacts,
    Feature,
    GoldenRow,
    InputSchema,
    ModelCard,
    PredictionHistogram,
    card_key,
    decode_card,
    encode_card,
)

GOLDEN = Path(__file__).parent / "golden"

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

MODEL_TRAINED = ModelTrained(
    model="wine-price",
    version="2022-08-19",
    uri="s3://wines-models/models/2022-08-19.skops",
    format="skops",
    sha256=SHA256,
    size_bytes=1_742_113,
    version_id="3/L4kqtJlcpXroDTDmJ",
    card_uri="s3://wines-models/models/2022-08-19.card.json",
    card_sha256="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    trained_at=1_660_903_200_000,
    signature_uri="s3://wines-models/models/2022-08-19.skops.sig",
    signature_sha256="fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13",
    metrics={"mae": 12.5, "r2": 0.81},
)

PREDICTION = Prediction(
    prediction_id="local/default/wine-price:order-17",
    request_id="order-17",
    key="vega-sicilia",
    prediction=msgspec.Raw(b"412.25"),
    model="wine-price",
    version="2022-08-19",
    sha256=SHA256,
    track="candidate",
    fallback=True,
    generation=7,
    request_time=1_660_903_300_000,
    prediction_time=1_660_903_300_012,
    features=msgspec.Raw(b'{"winery":"Vega Sicilia \xc3\x9anico","year":2009}'),
    headers={"request-id": "order-17", "reply-to": "bob"},
)

DEAD_LETTER = DeadLetter(
    reason=DeadLetterReason.WRONG_TYPE,
    message="feature year: expected a number, was 'año'",
    source_topic="requests",
    source_partition=3,
    source_offset=1234,
    model="wine-price",
    version="2022-08-19",
    request_id="order-17",
    truncated=True,
    original_size_bytes=9_000_000,
)

STABLE = ServedVersion(
    version="2022-08-19",
    uri="s3://wines-models/models/2022-08-19.skops",
    format="skops",
    sha256=SHA256,
    size_bytes=1_742_113,
    version_id="3/L4kqtJlcpXroDTDmJ",
    card_uri="s3://wines-models/models/2022-08-19.card.json",
    card_sha256="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
)

CANDIDATE_SHA256 = "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"

ASSIGNMENT = Assignment(
    model="wine-price",
    generation=7,
    stable=STABLE,
    candidate=ServedVersion(
        version="2022-09-02",
        uri="s3://wines-models/models/2022-09-02.pkl",
        format="pickle",
        sha256=CANDIDATE_SHA256,
    ),
    weight=5.0,
    salt=salt_of(CANDIDATE_SHA256),
    rollout=5,
    bins=PredictionBins(edges=(10.5, 20.0, 31.25)),
)

STATUS = PredictorStatus(
    slot="rollcast.local.default.wine-price-1",
    ordinal=1,
    instance="0b0f7f0e-6c44-4c40-9d0c-0b4c0e8c9c1d",
    time=1_660_903_300_012,
    generation=7,
    partitions=3,
    stable=VersionReport(version="2022-08-19", sha256=SHA256, state="ready"),
    candidate=VersionReport(
        version="2022-09-02",
        sha256=CANDIDATE_SHA256,
        state="refused",
        reason="IncompatibleRuntime",
        message="made with scikit-learn 1.7.2, this is 1.9.1",
    ),
    serving=SHA256,
    rollout=5,
    stable_counts=TrackCounts(rows=950, predictions=950, bins=[200, 250, 250, 250]),
    candidate_counts=TrackCounts(rows=50, errors=1, fallbacks=2, predictions=49, timeouts=1, bins=[10, 15, 12, 12]),
    comparison=Comparison(rows=500, errors=2, disagreements=20, skipped=3),
    samples=[12.5, 30.25],
)

CARD = ModelCard(
    model="wine-price",
    version="2022-08-19",
    task="regression",
    estimator="HistGradientBoostingRegressor",
    trained_at=1_660_903_200_000,
    artifact_sha256=SHA256,
    artifact_size_bytes=1_742_113,
    input=InputSchema(
        features=(
            Feature(name="year", type="number", required=False, minimum=1910.0, maximum=2021.0),
            Feature(name="winery", type="string", categories=("Contino", "Artadi"), category_count=480),
        ),
        missing_values=("", "N.V."),
    ),
    metrics={"mae": 12.5},
    baseline_metrics={"mae": 44.0},
    data=DataFacts(
        source="wines_SPA.csv",
        sha256="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        rows=7500,
        unique_rows=2048,
        train_rows=1638,
        test_rows=410,
        split="20 % of the unique rows, by hash",
        target="price",
    ),
    libraries={"scikit-learn": "1.9.1"},
    golden_rows=(GoldenRow(row=msgspec.Raw(b'{"winery": "Artadi", "year": 2009}'), prediction=msgspec.Raw(b"412.25")),),
    predictions=PredictionHistogram(counts=(10, 390, 10), edges=(20.0, 300.5)),
)

GROUND_TRUTH = GroundTruth(
    prediction_id="local/default/wine-price:r-17",
    model="wine-price",
    version="2022-08-19",
    actual=msgspec.Raw(b"28.5"),
    prediction=msgspec.Raw(b"31.25"),
    source="mesibo:ann@example.com",
    time=1660903200000,
)

RECEIPT = Receipt(
    notification_id="0b6ee7b1f5d0b9b1c3ad0b4a3a4c7b10",
    prediction_id="local/default/wine-price:r-17",
    request_id="r-17",
    subscription="dear-wines",
    channel="mesibo",
    receiver="ann@example.com",
    state="failed",
    attempts=3,
    reason="the address is not known there",
    text="Artadi 2009: about 412.25",
    time=1660903200000,
)


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def golden_headers(name: str) -> list[tuple[str, bytes]]:
    return [(key, value.encode()) for key, value in json.loads(golden(name))]


def read_model_trained(data: bytes) -> ModelTrained:
    return parse_model_trained(b"wine-price", data, default_model="unused")


def read_card(data: bytes) -> ModelCard:
    return decode_card(data, source="models/2022-08-19.card.json")


class TestBothEnds:
    def test_model_trained(self) -> None:
        assert encode_model_trained(MODEL_TRAINED) + b"\n" == golden("model_trained.json")
        assert read_model_trained(golden("model_trained.json")) == MODEL_TRAINED

    def test_model_trained_of_the_minor_before_signatures(self) -> None:
        assert read_model_trained(golden("model_trained_1_0.json")) == msgspec.structs.replace(
            MODEL_TRAINED, schema="1.0", signature_uri=None, signature_sha256=None
        )

    def test_prediction(self) -> None:
        assert encode_prediction(PREDICTION) + b"\n" == golden("prediction.json")
        read = decode_prediction(golden("prediction.json"))
        assert encode_prediction(read) + b"\n" == golden("prediction.json")
        assert read.value() == 412.25
        assert read.headers == PREDICTION.headers
        assert read.prediction_id == PREDICTION.prediction_id

    def test_the_features_come_back_as_they_were_sent(self) -> None:
        assert bytes(decode_prediction(golden("prediction.json")).features) == bytes(PREDICTION.features)

    def test_a_prediction_without_features(self) -> None:
        fields = {name: value for name, value in msgspec.structs.asdict(PREDICTION).items() if name != "features"}
        bare = encode_prediction(Prediction(**fields))
        assert json.loads(bare)["features"] is None
        assert bytes(decode_prediction(bare).features) == b"null"

    def test_dead_letter(self) -> None:
        assert dead_letter_headers(DEAD_LETTER) == golden_headers("dead_letter_headers.json")
        assert parse_dead_letter(golden_headers("dead_letter_headers.json")) == DEAD_LETTER

    def test_assignment(self) -> None:
        assert encode_assignment(ASSIGNMENT) + b"\n" == golden("assignment.json")
        assert decode_assignment(golden("assignment.json")) == ASSIGNMENT

    def test_predictor_status(self) -> None:
        assert encode_predictor_status(STATUS) + b"\n" == golden("predictor_status.json")
        assert decode_predictor_status(golden("predictor_status.json")) == STATUS

    def test_ground_truth(self) -> None:
        assert encode_ground_truth(GROUND_TRUTH) + b"\n" == golden("ground_truth.json")
        read = decode_ground_truth(golden("ground_truth.json"))
        assert encode_ground_truth(read) + b"\n" == golden("ground_truth.json")
        assert (bytes(read.actual), bytes(read.prediction)) == (b"28.5", b"31.25")

    def test_receipt(self) -> None:
        assert encode_receipt(RECEIPT) + b"\n" == golden("receipt.json")
        assert decode_receipt(golden("receipt.json")) == RECEIPT

    def test_card(self) -> None:
        assert encode_card(CARD) == golden("model_card.json")
        read = read_card(golden("model_card.json"))
        assert encode_card(read) == golden("model_card.json")
        assert read.input == CARD.input
        assert read.data == CARD.data
        assert bytes(read.golden_rows[0].prediction) == b"412.25"


READERS: list[tuple[str, Callable[[bytes], Any]]] = [
    ("model_trained.json", read_model_trained),
    ("prediction.json", decode_prediction),
    ("model_card.json", read_card),
    ("assignment.json", decode_assignment),
    ("predictor_status.json", decode_predictor_status),
    ("ground_truth.json", decode_ground_truth),
    ("receipt.json", decode_receipt),
]


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
class TestVersions:
    def test_a_newer_minor_with_more_fields_is_read(self, name: str, read: Callable[[bytes], Any]) -> None:
        newer = json.loads(golden(name)) | {"schema": "1.7", "confidence": {"low": 1}}
        read(json.dumps(newer).encode())

    @pytest.mark.parametrize("schema", ["2.0", "0.9", "10.0"])
    def test_an_unknown_major_is_refused(self, name: str, read: Callable[[bytes], Any], schema: str) -> None:
        other = json.loads(golden(name)) | {"schema": schema}
        with pytest.raises(ContractError, match=f"schema {schema} is not known here"):
            read(json.dumps(other).encode())

    def test_of_another_shape_too_the_major_is_what_is_wrong(self, name: str, read: Callable[[bytes], Any]) -> None:
        del name
        with pytest.raises(ContractError, match=r"schema 2\.0 is not known here"):
            read(b'{"schema": "2.0", "name": "wine-price"}')

    @pytest.mark.parametrize("schema", ["1", "one.zero", "1.", ".1", "1.0.0", "-1.0", "²·0", "².0", "", "1.0\n"])
    def test_a_schema_that_is_no_version_is_refused(self, name: str, read: Callable[[bytes], Any], schema: str) -> None:
        other = json.loads(golden(name)) | {"schema": schema}
        with pytest.raises(ContractError, match=r'expected "major\.minor"'):
            read(json.dumps(other).encode())

    @pytest.mark.parametrize(
        "data",
        [b"{", b"{}", b'{"schema": 1}', b'{"model": "\xff"}', b'{"x":' + b"[" * 100_000, b'{"model": 7}'],
        ids=["cut", "empty", "schema a number", "not UTF-8", "nested without end", "wrong type"],
    )
    def test_what_cannot_be_read_is_a_contract_error(
        self, name: str, read: Callable[[bytes], Any], data: bytes
    ) -> None:
        del name
        with pytest.raises(ContractError):
            read(data)


def test_a_reader_takes_its_major_and_the_one_before() -> None:
    check_schema("X", "2.0", major=2)
    check_schema("X", "1.9", major=2)
    with pytest.raises(ContractError, match="majors read: 1 and 2"):
        check_schema("X", "3.0", major=2)


class TestModelTrained:
    @pytest.mark.parametrize(
        ("path", "version", "artifact_format"),
        [
            (b"models/2022-08-19.pkl", "2022-08-19", "pickle"),
            (b"models/2022-08-19.pickle", "2022-08-19", "pickle"),
            (b"models/2022-08-19.joblib", "2022-08-19", "pickle"),
            (b"models/2022-08-19.skops", "2022-08-19", "skops"),
            (b"  models/v1.2.skops\n", "v1.2", "skops"),
            (b"s3://wines/v3.skops", "v3", "skops"),
            ("models/año.skops".encode(), "año", "skops"),
        ],
    )
    def test_bare_paths(self, path: bytes, version: str, artifact_format: str) -> None:
        event = parse_model_trained(b"wine-price", path, default_model="other")
        assert event == ModelTrained(
            model="wine-price",
            version=version,
            uri=path.decode().strip(),
            format=artifact_format,  # type: ignore[arg-type]  # a literal, in the table a str
        )

    @pytest.mark.parametrize("key", [None, b""])
    def test_a_bare_path_without_a_key_is_the_default_models(self, key: bytes | None) -> None:
        assert parse_model_trained(key, b"m/1.skops", default_model="other").model == "other"

    @pytest.mark.parametrize(
        ("value", "what"),
        [
            (None, "empty"),
            (b"", "empty"),
            (b" \n", "empty"),
            (b"models/2022-08-19", "does not end in one of .joblib, .pickle, .pkl, .skops"),
            (b"models/2022-08-19.onnx", "does not end in one of"),
            (b"models/.skops", "does not end in one of"),
            (b"models/v1.skops/", "neither JSON nor a path"),
            (b"a new model is there.skops", "neither JSON nor a path"),
            (b"models/v1\x00.skops", "neither JSON nor a path"),
            (b"models/v1.skops\nmodels/v2.skops", "neither JSON nor a path"),
            (b"\xef\xbb\xbf{}.skops", "neither JSON nor a path"),
            (b"\xff\xfe.skops", "not UTF-8"),
            (b'["models/v1.skops"]', "does not end in one of"),
            (b'{"model": "m"}', "missing required field"),
            (b'{"model": "m", "version": "1", "uri": "u", "format": "exe"}', "Invalid enum value"),
            (b'{"model": "", "version": "1", "uri": "u", "format": "skops"}', "model is empty"),
            (b'{"model": "m", "version": "", "uri": "u", "format": "skops"}', "version is empty"),
            (b'{"model": "m", "version": "1", "uri": "", "format": "skops"}', "uri is empty"),
        ],
    )
    def test_refused(self, value: bytes | None, what: str) -> None:
        with pytest.raises(ContractError, match="ModelTrained: ") as refused:
            parse_model_trained(b"wine-price", value, default_model="m")
        assert what in str(refused.value)

    def test_written_by_hand_with_the_least(self) -> None:
        event = read_model_trained(b'{"model": "m", "version": "1", "uri": "m/1.skops", "format": "skops"}')
        assert event == ModelTrained(model="m", version="1", uri="m/1.skops", format="skops")

    def test_a_metric_that_json_cannot_say_is_left_out(self) -> None:
        event = msgspec.structs.replace(MODEL_TRAINED, metrics={"mae": 1.5, "r2": float("nan"), "x": float("inf")})
        assert read_model_trained(encode_model_trained(event)).metrics == {"mae": 1.5}


class TestAssignment:
    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"generation": 0}, "generation was 0, may be 1 or more"),
            ({"weight": 100.5}, "weight was 100.5, may be 0 to 100"),
            ({"weight": -1}, "weight was -1.0"),
            ({"salt": "7"}, "salt was '7', may be 16 hexadecimal digits"),
            ({"salt": None}, "a weight needs a salt"),
            ({"candidate": None}, "weight and shadow are a candidate's"),
            ({"stable": msgspec.to_builtins(STABLE) | {"sha256": "abc"}}, "stable.sha256 was 'abc', may be 64"),
            ({"bins": {"edges": [2, 1]}}, "in ascending order"),
            ({"bins": {"edges": [1], "classes": ["a"]}}, "either edges or classes"),
            ({"bins": {}}, "either edges or classes"),
        ],
    )
    def test_what_cannot_be_followed_is_refused(self, changes: dict[str, Any], what: str) -> None:
        with pytest.raises(ContractError, match="Assignment: ") as refused:
            decode_assignment(json.dumps(json.loads(golden("assignment.json")) | changes).encode())
        assert what in str(refused.value)

    def test_the_least(self) -> None:
        least = decode_assignment(encode_assignment(Assignment(model="m", generation=1, stable=STABLE)))
        assert (least.candidate, least.weight, least.seed) == (None, 0.0, 0)

    def test_the_seed_is_the_candidates_first_eight_bytes(self) -> None:
        assert ASSIGNMENT.seed == int.from_bytes(bytes.fromhex(CANDIDATE_SHA256)[:8], "big")


class TestCostBins:
    @pytest.mark.parametrize(
        ("ratio", "index"),
        [(0.0, 0), (0.01, 0), (0.125, 0), (1.0, 24), (1.0001, 25), (2.0, 32), (8.0, 48), (8.1, 49), (1e9, 49)],
    )
    def test_a_ratio_has_a_bin(self, ratio: float, index: int) -> None:
        assert cost_bin(ratio) == index

    def test_a_bins_middle_lies_in_it(self) -> None:
        assert [cost_bin(cost_ratio(index)) for index in range(COST_BINS - 1)] == list(range(COST_BINS - 1))
        assert cost_ratio(COST_BINS - 1) == 8


class TestDeadLetter:
    def test_a_whole_original_has_no_size_and_no_flag(self) -> None:
        whole = DeadLetter(DeadLetterReason.EMPTY, "m", "requests", 0, 0, "wine", "1", "r")
        headers = dead_letter_headers(whole)
        assert {"rollcast-truncated", "rollcast-original-size"}.isdisjoint(dict(headers))
        assert parse_dead_letter(headers) == whole

    def test_truncated_without_a_size_can_be_read(self) -> None:
        letter = DeadLetter(DeadLetterReason.TOO_LARGE, "m", "requests", 0, 0, "wine", "1", "r", truncated=True)
        assert parse_dead_letter(dead_letter_headers(letter)) == letter

    def test_a_long_message_is_cut_and_a_lone_surrogate_replaced(self) -> None:
        letter = DeadLetter(DeadLetterReason.MODEL_ERROR, "\ud800" + "x" * 10_000, "t", 0, 0, "m", "1", "r")
        assert parse_dead_letter(dead_letter_headers(letter)).message == "?" + "x" * 499

    def test_the_records_own_headers_do_not_disturb(self) -> None:
        headers = [("request-id", b"\xff"), ("x", None), *golden_headers("dead_letter_headers.json")]
        assert parse_dead_letter(headers) == DEAD_LETTER

    def test_a_newer_minor_with_more_headers_is_read(self) -> None:
        headers = dict(golden_headers("dead_letter_headers.json")) | {"rollcast-schema": b"1.4", "rollcast-new": b"1"}
        assert parse_dead_letter(headers.items()) == DEAD_LETTER

    @pytest.mark.parametrize(
        ("name", "value", "what"),
        [
            ("rollcast-schema", b"2.0", "schema 2.0 is not known here"),
            ("rollcast-reason", b"bad-mood", "bad-mood"),
            ("rollcast-source-offset", b"three", "three"),
            ("rollcast-source-partition", b"", "invalid literal"),
        ],
    )
    def test_wrong_headers_are_refused(self, name: str, value: bytes, what: str) -> None:
        headers = dict(golden_headers("dead_letter_headers.json")) | {name: value}
        with pytest.raises(ContractError, match="DeadLetter: ") as refused:
            parse_dead_letter(headers.items())
        assert what in str(refused.value)

    @pytest.mark.parametrize(
        "name", [key for key in dict(golden_headers("dead_letter_headers.json")) if "truncated" not in key][:-1]
    )
    def test_each_header_is_needed(self, name: str) -> None:
        headers = [(key, value) for key, value in golden_headers("dead_letter_headers.json") if key != name]
        with pytest.raises(ContractError, match=f"header {name} is missing"):
            parse_dead_letter(headers)

    def test_no_headers_at_all(self) -> None:
        with pytest.raises(ContractError, match="is missing"):
            parse_dead_letter(None)


class TestCard:
    def test_a_metric_that_json_cannot_say_is_left_out(self) -> None:
        card = msgspec.structs.replace(CARD, metrics={"mae": 1.0, "r2": float("nan")}, baseline_metrics={})
        assert read_card(encode_card(card)).metrics == {"mae": 1.0}

    def test_a_card_that_nobody_could_read_is_not_written(self) -> None:
        card = msgspec.structs.replace(CARD, predictions=PredictionHistogram(counts=(1, 2), edges=(float("nan"),)))
        with pytest.raises(ContractError, match="wine-price 2022-08-19"):
            encode_card(card)

    def test_the_source_is_named(self) -> None:
        with pytest.raises(ContractError, match=r"model card models/2022-08-19\.card\.json"):
            read_card(b"[]")

    @pytest.mark.parametrize(
        ("artifact", "card"),
        [
            ("models/2022-08-19.skops", "models/2022-08-19.card.json"),
            ("models/v1.2.skops", "models/v1.2.card.json"),
            ("v1.skops", "v1.card.json"),
            ("a//b.skops", "a//b.card.json"),
            ("s3://wines/models/v1.pkl", "s3://wines/models/v1.card.json"),
        ],
    )
    def test_it_lies_beside_its_artifact(self, artifact: str, card: str) -> None:
        assert card_key(artifact) == card


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "request_id"),
        [
            (None, "requests-2-40"),
            ([], "requests-2-40"),
            ([("request-id", b"")], "requests-2-40"),
            ([("request-id", None)], "requests-2-40"),
            ([("Request-Id", b"x")], "requests-2-40"),
            ([("request-id", b"order-17")], "order-17"),
            ([("request-id", "order-17")], "order-17"),
            ([("request-id", b"a"), ("request-id", b"b")], "a"),
            ([("request-id", b"\xff")], "\ufffd"),
        ],
    )
    def test_request_id(self, headers: list[tuple[str, bytes | str | None]] | None, request_id: str) -> None:
        assert request_id_of(headers, "requests", 2, 40) == request_id

    def test_texts(self) -> None:
        assert header_texts([("a", b"1"), ("a", b"2"), ("b", None), ("c", b"\xff")]) == {
            "a": "1",
            "b": "",
            "c": "\ufffd",
        }
        assert header_texts(None) == {}
