"""The learning-rate range test: short trainings at several rates, compared by their dev loss.

In:   an experiment, its features.   Out: each short training when it ends.
Not here: which rate is next and which one is suggested (pipeline/runs/health/lr_range.py), their
figure (results/figures/lr_curve.py).

Each training starts from the same weights and gets the same batches, with the experiment's own
schedule over a few hundred updates: enough to leave the blank plateau, on which the losses of all
rates are alike. Smith's test (2017), one training whose rate grows from update to update, ends on
that plateau; it suggested one rate for recipes whose best rates are a hundred times apart.
"""

import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.health.lr_range import (
    FIRST_STEP,
    MAX_UPDATES,
    SHORT_UPDATES,
    ShortTraining,
    next_step,
    rate_at,
)
from pipeline.training.data import batches, epoch_plan
from pipeline.training.data.batches import Batch
from pipeline.training.loop import devices
from pipeline.training.loop.checkpoint import TrainingState
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import drop_nonfinite
from pipeline.training.loop.metrics import Evaluation
from pipeline.training.loop.train_step import DivergedError, TrainStep, require_updates
from pipeline.training.loop.trainer import MIN_EVALUATION_BATCH, Trainer
from pipeline.training.optim.averaging import Weights, copy_weights
from pipeline.training.optim.optimizer import make_optimizer

MAX_WARMUP_SHARE = 1 / 3  # of the updates of a short training
MAX_DEV_UTTERANCES = 200

OnUpdate = Callable[[float, int, int], None]  # learning rate, finished updates, all updates


def run_lr_range_test(
    experiment: Experiment,
    features: FeatureSet,
    *,
    device: Device = "auto",
    threads: int | None = None,
    updates: int = SHORT_UPDATES,
    max_updates: int = MAX_UPDATES,
    on_update: OnUpdate = lambda rate, done, updates: None,
) -> Iterator[ShortTraining]:
    """Yield each short training; the experiment's own learning rate changes nothing.

    No training has more updates than the experiment. InputError if no dev loss is finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="blankslate-") as scratch:
        runs = features.folder.parent.parent / "runs"  # where train.init finds its run
        one_epoch = _change_training(experiment, epochs=1)  # no shorter run can be its start
        trainer = Trainer.prepare(
            one_epoch, features, RunFolder(Path(scratch)), devices.select_device(device), runs=runs
        )
    splits = trainer.splits
    own_updates = epoch_plan.count_updates(splits.train, experiment.train, splits.is_feasible)
    test = _RangeTest(experiment, trainer, copy_weights(trainer.evaluator.network), on_update)
    best, length = FIRST_STEP[experiment.train.optimiser], updates
    longest = min(max_updates, own_updates)
    while True:
        length = min(length, longest)
        made: dict[int, ShortTraining] = {}
        following: int | None = best
        while following is not None:
            made[following] = test.train(rate_at(following), length)
            yield made[following]
            following = next_step({step: each.loss for step, each in made.items()})
        best = min(made, key=lambda step: made[step].loss)
        if made[best].escaped or math.isinf(made[best].loss) or length == longest:
            return
        length *= 2


@dataclass(frozen=True)
class _RangeTest:
    experiment: Experiment
    trainer: Trainer
    first_weights: Weights
    on_update: OnUpdate

    def train(self, learning_rate: float, updates: int) -> ShortTraining:
        reference = self.trainer.splits.reference_loss("dev")
        try:
            self._make_updates(learning_rate, updates)
            loss = self._dev_loss()
        except DivergedError:
            loss = math.inf
        return ShortTraining(learning_rate, updates, loss, reference)

    def _make_updates(self, learning_rate: float, updates: int) -> None:
        evaluator, train = self.trainer.evaluator, self.experiment.train
        evaluator.network.load_state_dict(self.first_weights)
        experiment = _change_training(
            self.experiment,
            learning_rate=learning_rate,
            warmup_updates=min(train.warmup_updates, int(MAX_WARMUP_SHARE * updates)),
            ema=None,  # it would still be near the first weights
        )
        optimizer = make_optimizer(experiment.train, evaluator.network.parameters())
        scaled = self.trainer.train_step.scaler.is_enabled()
        scaler = GradScaler(evaluator.device.type, enabled=scaled)
        step = TrainStep(experiment, evaluator, optimizer, scaler)
        state = TrainingState.initial(evaluator.alphabet.size)
        with closing(self._endless_batches()) as loaded:
            for group in islice(batches.group_updates(loaded), updates):
                metrics = state.train_metrics
                if finite := [each for batch in group if (each := drop_nonfinite(metrics, batch))]:
                    step.step(finite, state, updates)
                self.on_update(learning_rate, state.update, updates)
        require_updates(state.train_metrics)

    def _endless_batches(self) -> Generator[Batch, None, None]:
        """Yield epoch after epoch, in the experiment's order."""
        for epoch in count(1):
            plan = self.trainer.splits.plan_epoch(self.experiment, epoch)
            with closing(self.trainer.train_loader.batches(plan)) as loaded:
                yield from loaded

    def _dev_loss(self) -> float:
        """Return the loss in nats per character; infinite where it is no number."""
        evaluator, dev = self.trainer.evaluator, self.trainer.splits.dev
        dev = dev.take(dev.evenly_spaced_by_length(MAX_DEV_UTTERANCES))
        evaluation = Evaluation.initial(len(dev), evaluator.alphabet.size)
        evaluator.evaluate(dev, evaluation, MIN_EVALUATION_BATCH)
        metrics = evaluation.metrics
        if not metrics.aligned:
            raise InputError(
                f"no dev utterance of {len(dev)} can be aligned, so that there is no loss to "
                "compare; lower input.stack or model.time_strides"
            )
        loss = metrics.loss_per_label / metrics.aligned
        return loss if math.isfinite(loss) else math.inf


def _change_training(experiment: Experiment, **changes: object) -> Experiment:
    train = experiment.train.model_copy(update=changes)
    return experiment.model_copy(update={"train": train})
