"""Ranging: the learning-rate range test (Smith, 2017), one short training at an ever larger rate.

In:   an experiment, its features.   Out: the loss at each rate; the rate that follows from them.
Not here: drawing it (results/rates.py).

The rate grows by the same factor with every update. The loss of each batch is smoothed, as an
average that forgets. The test ends early where the smoothed loss is many times its lowest one, or
no number. The suggestion is a tenth of the rate at which the smoothed loss was lowest: the last one
that went well, with the usual distance from the edge.
"""

import math
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.lr_range import LRRangeResult, LRStep
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
SMOOTHING = 0.95  # of the average: what it keeps with each update
DIVERGENCE_FACTOR = 4.0  # times the lowest smoothed loss


def range_learning_rates(updates: int) -> list[float]:
    """From the lowest to the highest, each larger by the same factor."""
    steps = max(updates - 1, 1)
    return [
        MIN_TEST_LR * (MAX_TEST_LR / MIN_TEST_LR) ** (update / steps) for update in range(updates)
    ]


def smooth_losses(losses: list[float]) -> list[float]:
    """An average that forgets, corrected for its beginning at nothing."""
    found, average = [], 0.0
    for count, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**count))
    return found


def run_lr_range_test(
    experiment: Experiment,
    features: FeatureSet,
    *,
    device: Device = "auto",
    threads: int | None = None,
    updates: int = TEST_UPDATES,
) -> Range:
    """The experiment's network, batches and optimiser; its own rate and schedule do not matter."""
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = devices.select_device(device)
    with tempfile.TemporaryDirectory(prefix="blankslate-") as scratch:
        trainer = Trainer.prepare(experiment, features, RunFolder(Path(scratch)), chosen)
        losses = list(_train_until_divergence(trainer, updates))
    if not losses:
        raise InputError(
            f"the very first update, at learning rate {MIN_TEST_LR:g}, had no finite loss"
        )
    tried = zip(range_learning_rates(updates), losses, smooth_losses(losses), strict=False)
    reference = trainer.splits.reference_loss("train")
    return LRRangeResult(tuple(LRStep(*each) for each in tried), reference, len(losses) < updates)


def _train_until_divergence(trainer: Trainer, updates: int) -> Iterator[float]:
    """Of the updates, until they diverge: the last one is then left out."""
    losses: list[float] = []
    with closing(_endless_batches(trainer)) as coming:
        for rate, batch in zip(range_learning_rates(updates), coming, strict=False):
            loss = _update_loss(trainer, batch, rate, updates)
            losses.append(loss)
            averages = smooth_losses(losses)
            if not math.isfinite(loss) or averages[-1] > DIVERGENCE_FACTOR * min(averages):
                return
            yield loss


def _endless_batches(trainer: Trainer) -> Generator[Batch, None, None]:
    """Epoch after epoch, as the experiment orders them."""
    settings, epoch = trainer.experiment.train, 0
    while True:
        epoch += 1
        plan = batches.plan_epoch(trainer.splits.train, settings, epoch, trainer.splits.is_feasible)
        with closing(trainer.train_loader.batches(plan)) as coming:
            yield from coming


def _update_loss(trainer: Trainer, batch: Batch, learning_rate: float, updates: int) -> float:
    """Of one update at this rate, per character; nan: it was no number."""
    state = trainer.state
    tally = state.train_metrics = EpochMetrics(OutputStats.empty(trainer.evaluator.alphabet.size))
    whole = drop_nonfinite(tally, batch)
    try:
        if whole is not None:
            _with_learning_rate(trainer.train_step, learning_rate).step(whole, state, updates)
    except DivergedError:
        return math.nan
    return tally.loss_per_label / tally.aligned if tally.aligned else math.nan


def _with_learning_rate(learner: TrainStep, learning_rate: float) -> TrainStep:
    changes = {"learning_rate": learning_rate, "schedule": "constant", "warmup_updates": 0}
    train = learner.experiment.train.model_copy(update=changes)
    return replace(learner, experiment=learner.experiment.model_copy(update={"train": train}))
