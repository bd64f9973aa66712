"""The result of a learning-rate range test: its updates, and the rate that they suggest.

In:   learning rates and losses.   Out: `Range`.   Not here: the test
(training/diagnosis/lr_range_test.py), its figure (results/figures/lr_curve.py). Free of torch.
"""

from dataclasses import dataclass

SUGGESTION_FACTOR = 0.1  # of the rate at the lowest smoothed loss


@dataclass(frozen=True)
class LRStep:
    """One update."""

    learning_rate: float
    loss: float  # nats per character, of its batch
    smoothed: float


@dataclass(frozen=True)
class Range:
    tried: tuple[LRStep, ...]
    reference_loss: float  # per character, of the best output that ignores the input
    diverged: bool

    @property
    def lowest(self) -> LRStep:
        return min(self.tried, key=lambda tried: tried.smoothed)

    @property
    def suggestion(self) -> float:
        return self.lowest.learning_rate * SUGGESTION_FACTOR
