"""Train step: one batch, or several, update the weights and are added to the metrics.

In:   an evaluator, its optimizer; batches; the state, which counts the updates.
Out:  the weights after one update; losses, texts and output statistics, added to the state's
metrics; DivergedError when a loss or a gradient is not finite.
Not here: which batch comes next, rows, saving (trainer.py).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad_norm_, get_total_norm

from pipeline.config.experiment import Experiment
from pipeline.files import InputError
from pipeline.shapes import Float
from pipeline.training.data.batches import Batch
from pipeline.training.loop import devices
from pipeline.training.loop.checkpoint import TrainingState
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loop.metrics import EpochMetrics
from pipeline.training.loss import ctc, regularised_loss
from pipeline.training.network.model import NetworkOutput
from pipeline.training.optim import averaging, schedule

MIN_LOSS_SCALE = 1.0  # of float16: a gradient that overflows even at this scale is not finite
# The size of an update and the activations at the ends of the clamp are measured in one of this
# many updates: that takes a copy of the weights and a pass over all activations.
UPDATE_RATIO_INTERVAL = 10


class DivergedError(InputError):
    """A loss or a gradient is NaN or infinite."""


@dataclass(frozen=True)
class TrainStep:
    experiment: Experiment
    evaluator: Evaluator
    optimizer: torch.optim.Optimizer
    # Scales the loss, because small gradients are zero in float16. An update with a gradient that
    # overflows is skipped, and the scale is halved.
    scaler: GradScaler = field(default_factory=partial(GradScaler, enabled=False))

    @property
    def learning_rate(self) -> float:
        """The learning rate of the latest update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batches: Sequence[Batch], state: TrainingState, updates: int) -> None:
        """Make the next of `updates` updates; the state's position in the epoch does not change.

        The gradient is that of all batches together. DivergedError where a loss or a gradient is
        not finite.
        """
        network, metrics = self.evaluator.network, state.train_metrics
        self._prepare_update(state, updates)
        self.optimizer.zero_grad()
        labels = sum(batch.target_lengths.sum() for batch in batches)
        outputs = [self._add_gradient(batch, state, labels) for batch in batches]
        self.scaler.unscale_(self.optimizer)
        clip = self.experiment.train.clip
        norm = float(clip_grad_norm_(network.parameters(), math.inf if clip is None else clip))
        losses = [losses_B.tolist() for _, _, losses_B in outputs]
        self._require_finite(batches, list(chain(*losses)), norm, state.update)
        with self._track_update_ratio(metrics):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if limit := self.experiment.train.ema:
            state.ema = state.ema or averaging.copy_weights(network)
            averaging.update_ema(state.ema, network, averaging.ema_factor(limit, state.update))
        for batch, (output, logs, _), each in zip(batches, outputs, losses, strict=True):
            texts = self.evaluator.decode_output(output)
            self.evaluator.update_metrics(metrics, batch, output, logs, losses=each, texts=texts)
        if math.isfinite(norm):
            metrics.grad_norm += norm
            metrics.normed += 1
        metrics.rates += self.learning_rate
        metrics.updates += 1

    def _add_gradient(
        self, batch: Batch, state: TrainingState, labels: Tensor | int
    ) -> tuple[NetworkOutput, Float[Tensor, "B S C"], Float[Tensor, " B"]]:
        """Add the gradient of a batch, per label of the update.

        Return the output, the log-probabilities and the losses, in nats, without their graph.
        """
        output = self.evaluator.run_network(batch)
        logs = ctc.log_probabilities(output.logits)
        losses_B = ctc.loss_from_log_probabilities(
            logs, output.lengths, batch.targets, batch.target_lengths
        )
        objective_B, settings = losses_B, self.experiment.ctc
        if settings.weighs_alignments:
            objective_B = regularised_loss.training_loss(
                output.logits,
                output.lengths,
                batch.targets,
                batch.target_lengths,
                settings=settings,
                prior_C=state.prior,
            )
            state.prior = regularised_loss.update_prior(state.prior, output.logits, output.lengths)
        if settings.consistency:
            difference_B = regularised_loss.inconsistency(logs, output.lengths)
            objective_B = objective_B + settings.consistency * difference_B
        torch.autograd.backward(self.scaler.scale(objective_B.sum() / labels))
        return output._replace(logits=output.logits.detach()), logs.detach(), losses_B.detach()

    def _prepare_update(self, state: TrainingState, updates: int) -> None:
        """Count the update, and set the seed, the learning rate and what the network measures."""
        settings, network = self.experiment.train, self.evaluator.network
        if not network.training:
            network.train()  # slow: it visits every layer
        state.update += 1
        # Dropout draws from torch's generator.
        devices.seed_torch(fold_seed(settings.seed, state.update), self.evaluator.device)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(settings, state.update, updates, state.dev_losses)
        measured = state.train_metrics.updates % UPDATE_RATIO_INTERVAL == 0
        network.clamp.count_in_training = measured

    @contextmanager
    def _track_update_ratio(self, metrics: EpochMetrics) -> Iterator[None]:
        """Measure how far the weights move in the block, relative to their norm before it."""
        if metrics.updates % UPDATE_RATIO_INTERVAL:
            yield
            return
        weights = [weight.detach() for weight in self.evaluator.network.parameters()]
        before = [weight.clone() for weight in weights]
        yield
        moved = [now - then for now, then in zip(weights, before, strict=True)]
        metrics.update_size += float(get_total_norm(moved) / get_total_norm(before))
        metrics.sized += 1

    def _require_finite(
        self, batches: Sequence[Batch], losses: list[float], norm: float, update: int
    ) -> None:
        """Raise DivergedError, unless a smaller loss scale can make the gradient finite."""
        can_rescale = self.scaler.is_enabled() and self.scaler.get_scale() > MIN_LOSS_SCALE
        finite = list(map(math.isfinite, losses))
        if all(finite) and (can_rescale or math.isfinite(norm)):
            return
        ids = [utterance.id for batch in batches for utterance in batch.utterances]
        wrong = [name for name, ok in zip(ids, finite, strict=True) if not ok]
        what = f"loss of {', '.join(wrong)}" if wrong else f"gradient of {', '.join(ids)}"
        raise DivergedError(
            f"after {update - 1} updates, at learning rate {self.learning_rate:g}: the {what} is "
            "NaN or infinite; lower train.learning_rate, or clip the gradient with train.clip"
        )


def fold_seed(seed: int, update: int) -> int:
    """Return torch's seed for an update; update 0 stands for the initial weights."""
    return int(np.random.SeedSequence([seed, update]).generate_state(1, np.uint64)[0])


def require_updates(metrics: EpochMetrics) -> None:
    """Raise InputError if an epoch made no update, because no training input is finite."""
    if not metrics.updates:
        raise InputError(
            f"the input of all {len(metrics.nonfinite)} training utterances (the first: "
            f"{', '.join(metrics.nonfinite[:3])}) has NaN or infinity; set features.storage: "
            "float32, or leave them out with exclude: in the corpus file"
        )
