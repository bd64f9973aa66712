"""The result of a learning-rate range test: its updates, and the rate that they suggest.

In:   learning rates and losses.   Out: `LRRangeResult`.   Not here: the test
(training/diagnosis/lr_range_test.py), its figure (results/figures/lr_curve.py). Free of torch.
"""

from dataclasses import dataclass

SUGGESTION_FACTOR = 0.1  # times the learning rate at which the smoothed loss is lowest


@dataclass(frozen=True)
class LRStep:
    """One update of the test; its fields are the columns of lr-range.csv."""

    learning_rate: float
    loss: float  # nats per character, of this update's batch
    smoothed: float  # nats per character, averaged over this and earlier updates


@dataclass(frozen=True)
class LRRangeResult:
    steps: tuple[LRStep, ...]
    reference_loss: float  # nats per character, of the best output that ignores the input
    diverged: bool

    @property
    def lowest(self) -> LRStep:
        return min(self.steps, key=lambda step: step.smoothed)

    @property
    def suggestion(self) -> float:
        return self.lowest.learning_rate * SUGGESTION_FACTOR
