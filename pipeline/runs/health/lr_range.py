"""The result of a learning-rate range test: its short trainings, the rate that they suggest.

In:   learning rates and dev losses.   Out: the rate to try next; `LRRangeResult`.
Not here: the trainings (training/diagnosis/lr_range_test.py), their figure
(results/figures/lr_curve.py). Free of torch.

The rates are 1 and 3 times the powers of ten. From the first rate the test goes to the neighbours
of the best rate so far, until both have a higher loss. The shorter a training, the higher its best
rate: of the rates that are about as good as the best one, the lowest is suggested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.runs.plateau import ESCAPE_MARGIN

# Half decades: step 2 n is 10^n, step 2 n + 1 is 3 x 10^n.
FIRST_STEP = {"adam": -5, "adamw": -5, "sgd": -1}  # 3e-3 and 3e-1
LOWEST_STEP, HIGHEST_STEP = -12, 2  # 1e-6; 10 is the largest that train.learning_rate allows
SHORT_UPDATES = 300  # of a training; the baseline escapes after 106 to 212
MAX_UPDATES = 4 * SHORT_UPDATES  # they are doubled while no rate leaves the blank plateau
SIMILAR_LOSS = 0.1  # nats per character above the lowest loss that count as about as good


def rate_at(step: int) -> float:
    """Return the learning rate of a half decade."""
    decade, half = divmod(step, 2)
    return float(f"{3 if half else 1}e{decade}")


def next_step(losses: Mapping[int, float]) -> int | None:
    """Return the half decade to try next; None where the neighbours of the best are known."""
    if all(map(math.isinf, losses.values())):  # all of them diverged
        lower = min(losses) - 1
        return lower if lower >= LOWEST_STEP else None
    best = min(losses, key=lambda step: losses[step])
    neighbours = (best + 1, best - 1)
    return next(
        (n for n in neighbours if n not in losses and LOWEST_STEP <= n <= HIGHEST_STEP), None
    )


@dataclass(frozen=True)
class ShortTraining:
    """One training of the test; its fields are the columns of lr-range.csv."""

    learning_rate: float  # the largest of the schedule
    updates: int
    loss: float  # nats per character of dev, after the last update; infinite if it diverged
    reference_loss: float  # of dev: of the best output that ignores the input

    @property
    def escaped(self) -> bool:
        return self.loss < self.reference_loss - ESCAPE_MARGIN


@dataclass(frozen=True)
class LRRangeResult:
    trainings: tuple[ShortTraining, ...]  # in the order in which they were made

    @property
    def longest(self) -> tuple[ShortTraining, ...]:
        """Those with the most updates, which are compared, by learning rate."""
        updates = max(each.updates for each in self.trainings)
        compared = [each for each in self.trainings if each.updates == updates]
        return tuple(sorted(compared, key=lambda each: each.learning_rate))

    @property
    def best(self) -> ShortTraining:
        return min(self.longest, key=lambda each: each.loss)

    @property
    def similar(self) -> tuple[ShortTraining, ...]:
        """Those that are about as good as the best one, which is among them."""
        return tuple(each for each in self.longest if each.loss <= self.best.loss + SIMILAR_LOSS)

    @property
    def suggestion(self) -> float:
        """The learning rate to train with, where the outcome is "found"."""
        return self.similar[0].learning_rate

    @property
    def outcome(self) -> Literal["found", "on the plateau", "diverged"]:
        if math.isinf(self.best.loss):
            return "diverged"
        return "found" if self.best.escaped else "on the plateau"
