"""The messages on the topics, one contract a file; typed, versioned, tested against golden files.

A contract carries `schema`, "major.minor". Within a major, changes only add fields with defaults, so a
reader takes its own major and the one before; anything else is a ContractError.
"""

from rollcast_common.contracts.assignment import Assignment, PredictionBins, ServedVersion
from rollcast_common.contracts.dead_letter import DeadLetter, DeadLetterReason
from rollcast_common.contracts.ground_truth import GroundTruth
from rollcast_common.contracts.model_trained import ArtifactFormat, ModelTrained, parse_model_trained
from rollcast_common.contracts.prediction import Prediction, Track, decode_prediction
from rollcast_common.contracts.predictor_status import PredictorStatus
from rollcast_common.contracts.receipt import Receipt, ReceiptState
from rollcast_common.contracts.request import REQUEST_ID_HEADER, request_id_of

__all__ = [
    "REQUEST_ID_HEADER",
    "ArtifactFormat",
    "Assignment",
    "DeadLetter",
    "DeadLetterReason",
    "GroundTruth",
    "ModelTrained",
    "Prediction",
    "PredictionBins",
    "PredictorStatus",
    "Receipt",
    "ReceiptState",
    "ServedVersion",
    "Track",
    "decode_prediction",
    "parse_model_trained",
    "request_id_of",
]
