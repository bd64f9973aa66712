"""Optimizers: steps, momentum and weight decay, computed by hand."""

import math

import pytest
import torch

from pipeline.config.experiment import TrainSettings
from pipeline.training.optim.optimizer import make_optimizer


def weights_after(updates: int, gradient: float, **settings: object) -> tuple[float, float]:
    """Return a matrix and a bias that start at 1, after updates with a constant gradient."""
    weights = [torch.nn.Parameter(torch.ones(1, 1)), torch.nn.Parameter(torch.ones(1))]
    steps = make_optimizer(TrainSettings(learning_rate=0.1, **settings), weights)
    for _ in range(updates):
        for weight in weights:
            weight.grad = torch.full_like(weight, gradient)
        steps.step()
    return weights[0].item(), weights[1].item()


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_moves_a_weight_by_the_sum_of_the_rates_for_any_gradient(kind: str):
    for gradient in (1e-3, 1e3):
        assert weights_after(3, gradient, optimiser=kind) == pytest.approx((0.7, 0.7), abs=1e-3)


def test_sgd_has_nesterovs_momentum():
    # v = 0.9 v + g; w -= 0.1 (g + 0.9 v)
    assert weights_after(2, 1.0, optimiser="sgd")[0] == pytest.approx(
        1 - 0.1 * 1.9 - 0.1 * (1 + 0.9 * 1.9)
    )


@pytest.mark.parametrize(
    ("kind", "matrix"),
    [
        ("adamw", 1 - 0.1 * 0.5),  # decoupled: without a gradient the weight shrinks by lr * decay
        ("sgd", 1 - 0.1 * 0.5 * 1.9),  # decay acts as a gradient, with momentum
        ("adam", 0.9),  # decay acts as a gradient, rescaled to one step
    ],
)
def test_weight_decay_applies_to_matrices_only(kind: str, matrix: float):
    found, bias = weights_after(1, 0.0, optimiser=kind, weight_decay=0.5)
    assert found == pytest.approx(matrix)
    assert bias == 1
    assert math.isclose(weights_after(1, 0.0, optimiser=kind)[0], 1)
