"""The learning-rate range test (Smith, 2017): one short training with a growing learning rate.

In:   an experiment, its features.   Out: the loss at each rate.
Not here: the rate that follows (pipeline/runs/health/lr_range.py), its figure
(results/figures/lr_curve.py).

The rate grows by the same factor with each update. The losses of the batches are smoothed with an
exponential moving average. The test ends early if the smoothed loss exceeds DIVERGENCE_FACTOR times
its lowest value, or if a loss is not finite.
"""

import math
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.health.lr_range import LRRangeResult, LRStep
from pipeline.training.data import batches
from pipeline.training.data.batches import Batch
from pipeline.training.loop import devices
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import drop_nonfinite
from pipeline.training.loop.metrics import EpochMetrics
from pipeline.training.loop.train_step import DivergedError, TrainStep
from pipeline.training.loop.trainer import Trainer
from pipeline.training.network.output_stats import OutputStats

MIN_TEST_LR, MAX_TEST_LR = 1e-6, 1e-2
TEST_UPDATES = 200
SMOOTHING = 0.95  # weight of the old average at each update
DIVERGENCE_FACTOR = 4.0  # times the lowest smoothed loss


def range_learning_rates(updates: int) -> list[float]:
    """Return MIN_TEST_LR … MAX_TEST_LR, each larger than the one before by the same factor."""
    steps = max(updates - 1, 1)
    return [
        MIN_TEST_LR * (MAX_TEST_LR / MIN_TEST_LR) ** (update / steps) for update in range(updates)
    ]


def smooth_losses(losses: list[float]) -> list[float]:
    """Return the exponential moving average at each loss, with Adam's correction for its start."""
    smoothed, average = [], 0.0
    for count, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**count))
    return smoothed


def run_lr_range_test(
    experiment: Experiment,
    features: FeatureSet,
    *,
    device: Device = "auto",
    threads: int | None = None,
    updates: int = TEST_UPDATES,
) -> LRRangeResult:
    """Run the test; it ignores the experiment's own learning rate and schedule.

    InputError if the first update already has no finite loss.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch_device = devices.select_device(device)
    with tempfile.TemporaryDirectory(prefix="blankslate-") as scratch:
        runs = features.folder.parent.parent / "runs"  # where train.init finds its run
        run = RunFolder(Path(scratch))
        trainer = Trainer.prepare(experiment, features, run, torch_device, runs=runs)
        losses = list(_train_until_divergence(trainer, updates))
    if not losses:
        raise InputError(
            f"the loss of the first update, at learning rate {MIN_TEST_LR:g}, is NaN or infinite; "
            "run make doctor to find the cause"
        )
    rates = range_learning_rates(updates)[: len(losses)]
    steps = tuple(map(LRStep, rates, losses, smooth_losses(losses)))
    reference = trainer.splits.reference_loss("train")
    return LRRangeResult(steps, reference, diverged=len(losses) < updates)


def _train_until_divergence(trainer: Trainer, updates: int) -> Iterator[float]:
    """Yield the loss of each update, up to the one at which training diverges."""
    losses: list[float] = []
    with closing(_endless_batches(trainer)) as loaded:
        groups = batches.group_updates(loaded)
        for rate, group in zip(range_learning_rates(updates), groups, strict=False):
            loss = _update_loss(trainer, group, rate, updates)
            losses.append(loss)
            averages = smooth_losses(losses)
            if not math.isfinite(loss) or averages[-1] > DIVERGENCE_FACTOR * min(averages):
                return
            yield loss


def _endless_batches(trainer: Trainer) -> Generator[Batch, None, None]:
    """Yield epoch after epoch, in the experiment's order."""
    settings, epoch = trainer.experiment.train, 0
    while True:
        epoch += 1
        plan = batches.plan_epoch(trainer.splits.train, settings, epoch, trainer.splits.is_feasible)
        with closing(trainer.train_loader.batches(plan)) as loaded:
            yield from loaded


def _update_loss(
    trainer: Trainer, group: Sequence[Batch], learning_rate: float, updates: int
) -> float:
    """Make one update; return its loss in nats per character, or NaN if it is not finite."""
    state = trainer.state
    metrics = EpochMetrics(OutputStats.empty(trainer.evaluator.alphabet.size))
    state.train_metrics = metrics
    finite = [each for batch in group if (each := drop_nonfinite(metrics, batch))]
    try:
        if finite:
            _with_learning_rate(trainer.train_step, learning_rate).step(finite, state, updates)
    except DivergedError:
        return math.nan
    return metrics.loss_per_label / metrics.aligned if metrics.aligned else math.nan


def _with_learning_rate(train_step: TrainStep, learning_rate: float) -> TrainStep:
    changes = {"learning_rate": learning_rate, "schedule": "constant", "warmup_updates": 0}
    experiment = train_step.experiment
    train = experiment.train.model_copy(update=changes)
    return replace(train_step, experiment=experiment.model_copy(update={"train": train}))
