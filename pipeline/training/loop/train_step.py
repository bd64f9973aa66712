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
from pipeline.training.loop.checkpoint import State
from pipeline.training.loop.evaluator import Recogniser, count
from pipeline.training.loop.metrics import Tally
from pipeline.training.loss import ctc, regularised_loss

LEAST_SCALE = 1.0  # of a float16 loss: below it the gradient itself is no number
# In one of so many updates the move is sized, which takes a copy of the weights, and the clamp's
# ends are counted, a hundred thousand activations of a layer.
UPDATES_PER_SIZE = 10


class DivergedError(InputError):
    """A loss or a gradient is no finite number."""


@dataclass(frozen=True)
class Learner:
    experiment: Experiment
    recogniser: Recogniser
    optimiser: torch.optim.Optimizer
    # Small gradients would vanish in float16. An update of which one overflows is left out, and
    # the scale halved.
    scaler: GradScaler = field(default_factory=partial(GradScaler, enabled=False))

    @property
    def learning_rate(self) -> float:
        """Of the latest update."""
        return float(self.optimiser.param_groups[0]["lr"])

    def learn(self, batch: Batch, state: State, updates: int) -> None:
        """The next of `updates` updates. The state moves on, all but its place in the epoch."""
        settings, network, tally = self.experiment.train, self.recogniser.network, state.tally
        if not network.training:
            network.train()  # goes through every layer
        state.update += 1
        devices.sow(derived(settings.seed, state.update), self.recogniser.device)  # dropout's
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate(settings, state.update, updates, state.dev_losses)
        network.clamp.counts = tally.updates % UPDATES_PER_SIZE == 0
        output = self.recogniser.output(batch)
        logs = ctc.log_probabilities(output.logits)
        losses = ctc.of_log_probabilities(logs, output.lengths, batch.targets, batch.target_lengths)
        minimised = losses
        if not self.experiment.ctc.plain:
            minimised = regularised_loss.minimised(output, batch, self.experiment.ctc, state.prior)
            state.prior = regularised_loss.moved(state.prior, output)
        self.optimiser.zero_grad()
        total = minimised.sum() / batch.target_lengths.sum()
        torch.autograd.backward(self.scaler.scale(total))
        self.scaler.unscale_(self.optimiser)
        limit = math.inf if settings.clip is None else settings.clip
        norm = float(clip_grad_norm_(network.parameters(), limit))
        each = losses.tolist()
        self._check(batch, each, norm, state.update)
        with self._sized(tally):
            self.scaler.step(self.optimiser)
        self.scaler.update()
        texts = self.recogniser.texts(output)
        count(tally, batch, output, logs.detach(), losses=each, texts=texts)
        if math.isfinite(norm):
            tally.grad_norm += norm
            tally.normed += 1
        tally.rates += self.learning_rate
        tally.updates += 1

    @contextmanager
    def _sized(self, tally: Tally) -> Iterator[None]:
        """How far the weights move in the block, relative to where they stood."""
        if tally.updates % UPDATES_PER_SIZE:
            yield
            return
        weights = [weight.detach() for weight in self.recogniser.network.parameters()]
        before = [weight.clone() for weight in weights]
        yield
        moved = [now - then for now, then in zip(weights, before, strict=True)]
        tally.update_size += float(get_total_norm(moved) / get_total_norm(before))
        tally.sized += 1

    def _check(self, batch: Batch, losses: list[float], norm: float, update: int) -> None:
        curable = self.scaler.is_enabled() and self.scaler.get_scale() > LEAST_SCALE
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


def derived(seed: int, update: int) -> int:
    """A seed for torch; update 0 is the beginning, the weights."""
    return int(np.random.SeedSequence([seed, update]).generate_state(1, np.uint64)[0])
