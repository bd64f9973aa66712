"""Helpers: an experiment with all that is random or stateful, and how to compare its runs."""

from collections.abc import Callable
from typing import Any

import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import TRAIN_FILE
from pipeline.runs.rows import Row
from pipeline.training.loop.fit import fit as fit_run
from tests.training.letters import make_experiment

TIMES = {"seconds", "frames_per_second", "loader_wait", "peak_memory_bytes", "run_id"}
# Batch order, dropout, masks of two views, BatchNorm's averages, Adam's moments, the label prior.
RESTLESS = make_experiment(
    input={"stack": 2, "normalisation": "utterance"},
    model={"dropout": 0.3, "batch_norm": "sequence", "layers": 2},
    ctc={"prior": 0.4, "entropy": 0.05, "consistency": 0.2},
    train={
        "epochs": 4,
        "schedule": "warmup-cosine",
        "warmup_updates": 3,
        "clip": 1.0,
        "shift": True,
        "tempo": 0.1,
        "time_masks": 1,
        "time_mask_frames": 3,
        "frequency_masks": 1,
        "frequency_mask_bins": 2,
    },
)


def fit(settings: Experiment, features: FeatureSet, run: RunFolder, **options: Any) -> RunFolder:
    fit_run(settings, features, run, device="cpu", threads=1, **options)
    return run


def with_train(settings: Experiment, **changes: Any) -> Experiment:
    """Return the experiment with some settings of `train` changed, validated."""
    train = {**settings.train.model_dump(), **changes}
    return Experiment.model_validate({**settings.model_dump(), "train": train})


def stop_after(calls: int) -> Callable[[], bool]:
    """Make a `should_stop` that returns False for this many calls, then True."""
    made = 0

    def should_stop() -> bool:
        nonlocal made
        made += 1
        return made > calls

    return should_stop


def settled(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows without the columns that depend on the clock; as text, because nan != nan."""
    return [{k: repr(v) for k, v in row.items() if k not in TIMES} for row in rows]


def saved_state(run: RunFolder) -> dict[str, Any]:
    return torch.load(run.state_file, weights_only=True)


def assert_same(one: RunFolder, other: RunFolder) -> None:
    """Rows, weights, hypotheses and posteriors are equal bit for bit."""
    assert settled(one.rows()) == settled(other.rows())
    states = [saved_state(run) for run in (one, other)]
    torch.testing.assert_close(*[state["network"] for state in states], rtol=0, atol=0)
    torch.testing.assert_close(*[state["best"]["weights"] for state in states], rtol=0, atol=0)
    assert one.hypotheses() == other.hypotheses()
    assert (one.path / TRAIN_FILE).read_text() == (other.path / TRAIN_FILE).read_text()
    assert one.posteriors_file.read_bytes() == other.posteriors_file.read_bytes()
