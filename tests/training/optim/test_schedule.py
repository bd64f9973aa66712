"""The learning rate of each update, compared with formulas and with torch's schedulers."""

import math

import numpy as np
import pytest
import torch

from pipeline.config.experiment import TrainSettings
from pipeline.training.optim.schedule import count_plateaus, learning_rate


def rates(updates: int = 110, **settings: object) -> list[float]:
    train = TrainSettings(learning_rate=0.5, **settings)
    return [learning_rate(train, update, updates) for update in range(1, updates + 1)]


def test_a_constant_rate_is_constant_after_the_warm_up():
    assert set(rates()) == {0.5}
    warm_up = rates(warmup_updates=10)
    assert warm_up[:10] == pytest.approx([0.05 * n for n in range(1, 11)])
    assert set(warm_up[10:]) == {0.5}


def test_warm_up_and_cosine_rise_to_the_rate_and_fall_towards_zero():
    found = rates(schedule="warmup-cosine", warmup_updates=10)
    assert max(found) == found[9] == found[10] == 0.5
    assert found[60] == pytest.approx(0.25)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert 0 < found[-1] < 0.001


def test_a_warm_up_longer_than_the_training_is_allowed():
    assert max(rates(5, schedule="warmup-cosine", warmup_updates=10)) == 0.25


def by_torch(scheduler: type, updates: int, **settings: object) -> list[float]:
    """The rates of the first `updates` steps of one of torch's schedulers."""
    steps = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    schedule = scheduler(steps, **settings)
    found = []
    for _ in range(updates):
        found.append(steps.param_groups[0]["lr"])
        steps.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("updates", "warmup"), [(100, 0), (100, 20), (10, 9)])
def test_one_cycle_equals_torchs(updates: int, warmup: int):
    ours = rates(updates, schedule="one-cycle", warmup_updates=warmup)
    theirs = by_torch(
        torch.optim.lr_scheduler.OneCycleLR,
        updates - 1,  # torch raises after the last rate
        max_lr=0.5,
        total_steps=updates,
        pct_start=(warmup or 30) / updates,
        cycle_momentum=False,
    )
    assert ours[:-1] == pytest.approx(theirs)
    assert ours[-1] == pytest.approx(0.5 / 25 / 1e4)
    assert ours.index(0.5) == (warmup or 30) - 1


def test_one_cycle_of_very_few_updates_is_allowed():
    assert rates(1, schedule="one-cycle") == [0.5]
    assert max(rates(5, schedule="one-cycle", warmup_updates=10)) < 0.5


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_plateau_lowers_the_rate_when_torch_would(patience: int):
    draw = np.random.default_rng(patience)
    losses = (3 / np.sqrt(np.arange(1, 80)) + draw.normal(scale=0.1, size=79)).tolist()
    losses[7] = math.nan
    steps = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    # torch lowers the rate one epoch after its patience has run out.
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        steps, factor=0.7, patience=patience - 1, eps=0
    )
    settings = TrainSettings(
        learning_rate=0.5, schedule="plateau", plateau_epochs=patience, plateau_factor=0.7
    )
    for epoch, loss in enumerate(losses, 1):
        theirs.step(loss)
        ours = learning_rate(settings, 1000, 2000, losses[:epoch])
        assert ours == pytest.approx(steps.param_groups[0]["lr"])
    assert count_plateaus(losses, patience) > 3


def test_without_a_dev_loss_there_is_no_plateau():
    assert count_plateaus([], 1) == 0
    assert rates(3, schedule="plateau", warmup_updates=2) == [0.25, 0.5, 0.5]


def test_losses_that_are_all_nan_lower_no_rate():
    assert count_plateaus([math.nan] * 9, 1) == 0
