"""The learning rate that a range test suggests."""

import pytest

from pipeline.runs.health.lr_range import LRRangeResult, LRStep


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_smoothed_loss():
    steps = (LRStep(1e-4, 3.0, 3.0), LRStep(1e-3, 1.5, 2.0), LRStep(1e-2, 1.0, 2.5))
    assert LRRangeResult(steps, 3.0, False).suggestion == pytest.approx(1e-4)
