"""The steps from settings to a saved and checked model, in order. Knows no S3 and no Kafka."""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # publishes no types

from rollcast_common.artifacts import sha256_of
from rollcast_common.errors import ConfigError, DataError
from rollcast_common.models.card import DataFacts, ModelCard, encode_card
from rollcast_common.models.files import load_model, save_model
from rollcast_common.models.scoring import Scorer, check_golden_rows
from rollcast_trainer.cards import describe_split, golden_rows, histogram, input_schema, libraries
from rollcast_trainer.datasets import Dataset, read_dataset
from rollcast_trainer.evaluation import evaluate
from rollcast_trainer.pipelines import build_pipeline
from rollcast_trainer.preparation import Examples, prepare
from rollcast_trainer.progress import Progress
from rollcast_trainer.settings import TrainSettings
from rollcast_trainer.splitting import Split, split_rows, units_of

__all__ = ["Trained", "train"]

_ONE_THREAD_UP_TO_CELLS = 200_000
"""Below, the threads of a fit wait for each other longer than they work: on two cores with one of them busy,
1,638 wines took 0.8 to 17 s with two threads and 0.25 s with one."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model file and its card, both on disk and checked."""

    model_path: Path
    card_path: Path
    card: ModelCard
    dropped_rows: int


def train(settings: TrainSettings, *, version: str, now: datetime, folder: Path, progress: Progress) -> Trained:
    """Leave `<version>.skops` and `<version>.card.json` in `folder`.

    Raises ConfigError or DataError for what the settings or the data get wrong, ArtifactError when the
    saved file does not load back to the same predictions.
    """
    with progress.step("reading") as notes:
        dataset = read_dataset(settings.dataset)
        examples = prepare(dataset, settings)
        pipeline = build_pipeline(settings, examples.features)
        notes.append(f"{examples.rows} rows, {examples.unique_rows} different")
        if examples.dropped_rows:
            notes.append(f"{examples.dropped_rows} without a usable {settings.target_name}")
    with progress.step("splitting") as notes:
        split = _split(examples, settings)
        notes.append(f"{len(split.train)} to train, {len(split.test)} to test")
    with progress.step("fitting") as notes:
        notes.append(settings.estimator.type)
        notes.extend(_fit(pipeline, examples, split, settings))
    test = examples.frame.iloc[split.test]
    with progress.step("evaluating"):
        result = evaluate(settings.task, pipeline, examples.target[split.train], test, examples.target[split.test])
        schema = input_schema(examples.frame.iloc[split.train], examples.features, settings.missing_values)
        golden = golden_rows(pipeline, schema, test, result.predictions)
    with progress.step("saving"):
        model_path = folder / f"{version}.skops"
        save_model(pipeline, model_path)
    with progress.step("checking") as notes:
        check_golden_rows(Scorer(load_model(model_path, "skops"), schema), golden)
        notes.append(f"the saved file gives all {len(golden)} golden rows their predictions")
    classes = pipeline.classes_ if settings.task == "classification" else None
    card = ModelCard(
        model=settings.model,
        version=version,
        task=settings.task,
        estimator=settings.estimator.type,
        trained_at=int(now.astimezone(UTC).timestamp() * 1000),
        artifact_sha256=sha256_of(model_path),
        artifact_size_bytes=model_path.stat().st_size,
        input=schema,
        classes=() if classes is None else tuple(classes.tolist()),
        metrics=result.metrics,
        baseline_metrics=result.baseline,
        data=_facts(dataset, examples, split, settings),
        libraries=libraries(),
        golden_rows=golden,
        predictions=histogram(result.predictions, classes),
    )
    card_path = folder / f"{version}.card.json"
    card_path.write_bytes(encode_card(card))
    return Trained(model_path, card_path, card, examples.dropped_rows)


def _split(examples: Examples, settings: TrainSettings) -> Split:
    return split_rows(
        units_of(examples.frame, examples.target, examples.groups),
        examples.target if settings.task == "classification" else None,
        test_size=settings.split.test_size,
        seed=settings.split.seed,
    )


def _fit(pipeline: Any, examples: Examples, split: Split, settings: TrainSettings) -> list[str]:
    """Fit in place, on the training rows alone. What scikit-learn warned about comes back as lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with threadpool_limits(1 if examples.frame.size <= _ONE_THREAD_UP_TO_CELLS else None):
                pipeline.fit(examples.frame.iloc[split.train], examples.target[split.train])
        except (ValueError, TypeError) as error:
            text = " ".join(str(error).split())
            raise ConfigError(f"{settings.estimator.type} cannot be fitted: {text}") from error
        except MemoryError:
            raise DataError(
                f"{settings.estimator.type} needs more memory than there is for {len(split.train)} rows; "
                "choose a smaller estimator, or encoding: target"
            ) from None
    texts = (" ".join(str(warning.message).split()) for warning in caught)
    return [f"warning: {text}" for text in dict.fromkeys(texts)]


def _facts(dataset: Dataset, examples: Examples, split: Split, settings: TrainSettings) -> DataFacts:
    return DataFacts(
        source=dataset.source,
        sha256=dataset.sha256,
        rows=examples.rows,
        unique_rows=examples.unique_rows,
        train_rows=len(split.train),
        test_rows=len(split.test),
        split=describe_split(settings.split),
        target=settings.target_name,
    )
