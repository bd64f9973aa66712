"""Learner: a batch moves the weights, and says how that went.

In:   a recogniser, its optimiser; a batch; the state, which counts the updates.
Out:  weights after one step; its losses, texts and signs of health, added to the state's tally;
DivergedError when a loss or a gradient is no number.
Not here: which batch comes next, rows, saving (trainer.py).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad_norm_, get_total_norm

from pipeline.config.experiment import Experiment
from pipeline.files import InputError
from pipeline.training.data.batches import Batch
from pipeline.training.loop import devices, schedule
from pipeline.training.loop.checkpoint import TrainingState
from pipeline.training.loop.evaluator import Evaluator, update_metrics
from pipeline.training.loop.metrics import EpochMetrics
from pipeline.training.loss import ctc, regularised_loss

MIN_LOSS_SCALE = 1.0  # of a float16 loss: below it the gradient itself is no number
# In one of so many updates the move is sized, which takes a copy of the weights, and the clamp's
# ends are counted, a hundred thousand activations of a layer.
UPDATE_RATIO_INTERVAL = 10


class DivergedError(InputError):
    """A loss or a gradient is no finite number."""


@dataclass(frozen=True)
class TrainStep:
    experiment: Experiment
    evaluator: Evaluator
    optimizer: torch.optim.Optimizer
    # Small gradients would vanish in float16. An update of which one overflows is left out, and
    # the scale halved.
    scaler: GradScaler = field(default_factory=partial(GradScaler, enabled=False))

    @property
    def learning_rate(self) -> float:
        """Of the latest update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Batch, state: TrainingState, updates: int) -> None:
        """The next of `updates` updates. The state moves on, all but its place in the epoch."""
        settings, network, tally = (
            self.experiment.train,
            self.evaluator.network,
            state.train_metrics,
        )
        if not network.training:
            network.train()  # goes through every layer
        state.update += 1
        devices.seed_torch(
            fold_seed(settings.seed, state.update), self.evaluator.device
        )  # dropout's
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(settings, state.update, updates, state.dev_losses)
        network.clamp.count_in_training = tally.updates % UPDATE_RATIO_INTERVAL == 0
        output = self.evaluator.run_network(batch)
        logs = ctc.log_probabilities(output.logits)
        losses = ctc.loss_from_log_probabilities(
            logs, output.lengths, batch.targets, batch.target_lengths
        )
        minimised = losses
        if not self.experiment.ctc.is_unregularised:
            minimised = regularised_loss.training_loss(
                output, batch, self.experiment.ctc, state.prior
            )
            state.prior = regularised_loss.update_prior(state.prior, output)
        self.optimizer.zero_grad()
        total = minimised.sum() / batch.target_lengths.sum()
        torch.autograd.backward(self.scaler.scale(total))
        self.scaler.unscale_(self.optimizer)
        limit = math.inf if settings.clip is None else settings.clip
        norm = float(clip_grad_norm_(network.parameters(), limit))
        each = losses.tolist()
        self._require_finite(batch, each, norm, state.update)
        with self._track_update_ratio(tally):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        texts = self.evaluator.decode_output(output)
        update_metrics(tally, batch, output, logs.detach(), losses=each, texts=texts)
        if math.isfinite(norm):
            tally.grad_norm += norm
            tally.normed += 1
        tally.rates += self.learning_rate
        tally.updates += 1

    @contextmanager
    def _track_update_ratio(self, metrics: EpochMetrics) -> Iterator[None]:
        """How far the weights move in the block, relative to where they stood."""
        if metrics.updates % UPDATE_RATIO_INTERVAL:
            yield
            return
        weights = [weight.detach() for weight in self.evaluator.network.parameters()]
        before = [weight.clone() for weight in weights]
        yield
        moved = [now - then for now, then in zip(weights, before, strict=True)]
        metrics.update_size += float(get_total_norm(moved) / get_total_norm(before))
        metrics.sized += 1

    def _require_finite(self, batch: Batch, losses: list[float], norm: float, update: int) -> None:
        curable = self.scaler.is_enabled() and self.scaler.get_scale() > MIN_LOSS_SCALE
        finite = list(map(math.isfinite, losses))
        if all(finite) and (curable or math.isfinite(norm)):
            return
        ids = [utterance.id for utterance in batch.utterances]
        wrong = [name for name, well in zip(ids, finite, strict=True) if not well]
        what = f"loss of {', '.join(wrong)}" if wrong else f"gradient of {', '.join(ids)}"
        raise DivergedError(
            f"after {update - 1} updates, at learning rate {self.learning_rate:g}: the {what} is "
            "no finite number; lower train.learning_rate, or clip the gradient with train.clip"
        )


def fold_seed(seed: int, update: int) -> int:
    """A seed for torch; update 0 is the beginning, the weights."""
    return int(np.random.SeedSequence([seed, update]).generate_state(1, np.uint64)[0])
