"""An update and its size. float16: a scaled loss, whose scale is part of the state.

That is tried on a CPU, slowly, by the same code.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.training.data.batches import Batch
from pipeline.training.loop import devices, train_step
from pipeline.training.loop.trainer import Trainer, fit
from tests.training.letters import make_experiment

CPU = torch.device("cpu")
HALF = make_experiment(train={"epochs": 2, "precision": "float16"})


@pytest.fixture(autouse=True)
def _allow_float16_on_cpu(monkeypatch: pytest.MonkeyPatch):
    """A CPU that takes float16."""
    monkeypatch.setattr(devices, "select_dtype", lambda wish, chosen: getattr(torch, wish))


def prepared(letters: FeatureSet, run: Path, scale: float) -> tuple[Trainer, Batch]:
    trainer = Trainer.prepare(HALF, letters, RunFolder(run), CPU)
    scaler = GradScaler("cpu", init_scale=scale)
    trainer.train_step = replace(trainer.train_step, scaler=scaler)
    return trainer, trainer.splits.train.make_batch(torch.arange(4).numpy())


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(trainer.evaluator.network.parameters()).detach()


def test_an_update_whose_gradient_overflows_is_left_out_and_the_scale_halved(
    letter_features: FeatureSet, tmp_path: Path
):
    trainer, batch = prepared(letter_features, tmp_path, 2.0**127)
    before = weights(trainer).clone()
    trainer.train_step.step(batch, trainer.state, 9)
    assert torch.equal(weights(trainer), before)
    assert trainer.train_step.scaler.get_scale() == 2.0**126
    tally = trainer.state.train_metrics
    assert (trainer.state.update, tally.updates, tally.normed, tally.grad_norm) == (1, 1, 0, 0.0)
    trainer.train_step.scaler.update(2.0**4)
    trainer.train_step.step(batch, trainer.state, 9)
    row = trainer._row("train", tally, 1, 2)
    assert (row["skipped_updates"], row["grad_norm"]) == (1, tally.grad_norm)
    assert row["grad_norm"] > 0


def test_the_scale_leaves_the_gradient_as_it_is(letter_features: FeatureSet, tmp_path: Path):
    norms = []
    for scale in (2.0**4, 2.0**10):
        trainer, batch = prepared(letter_features, tmp_path, scale)
        before = weights(trainer).clone()
        trainer.train_step.step(batch, trainer.state, 9)
        assert not torch.equal(weights(trainer), before)
        norms.append(trainer.state.train_metrics.grad_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


def test_a_gradient_that_no_scale_cures_is_an_error(letter_features: FeatureSet, tmp_path: Path):
    trainer, batch = prepared(letter_features, tmp_path, train_step.MIN_LOSS_SCALE)
    trainer.evaluator.network.fc1.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(train_step.DivergedError, match="the gradient of train-"):
        trainer.train_step.step(batch, trainer.state, 9)


@pytest.mark.parametrize("clip", [1e-3, None])
def test_clipping_bounds_the_gradient_by_which_an_update_moves(
    clip: float | None, letter_features: FeatureSet, tmp_path: Path
):
    train = {"optimiser": "sgd", "learning_rate": 1e-2, "weight_decay": 0.0, "clip": clip}
    trainer = Trainer.prepare(
        make_experiment(train=train), letter_features, RunFolder(tmp_path), CPU
    )
    before = weights(trainer).clone()
    trainer.train_step.step(
        trainer.splits.train.make_batch(torch.arange(4).numpy()), trainer.state, 9
    )
    norm = trainer.state.train_metrics.grad_norm
    assert norm > 0.1  # as it was before clipping
    moved = 1e-2 * 1.9 * (clip or norm)  # Nesterov's first step is 1 + 0.9 of the gradient
    assert float((weights(trainer) - before).norm()) == pytest.approx(moved, rel=1e-2)


def halted(calls: int):
    """Asks to stop at one of the calls."""
    left = iter(range(calls, -1, -1))
    return lambda: next(left, 1) == 0


def trained(settings: Experiment, letters: FeatureSet, run: RunFolder, stop: int) -> dict:
    try:
        fit(settings, letters, run, device="cpu", threads=1, should_stop=halted(stop))
    except Stopped:
        fit(settings, letters, run, device="cpu", threads=1)
    return torch.load(run.state_file, weights_only=True)


def test_a_stopped_run_goes_on_with_its_scale(letter_features: FeatureSet, tmp_path: Path):
    whole, resumed = (
        trained(HALF, letter_features, RunFolder(tmp_path / str(n)), n) for n in (99, 3)
    )
    assert whole["scaler"] == resumed["scaler"]
    assert whole["scaler"]["_growth_tracker"] > 0
    torch.testing.assert_close(whole["network"], resumed["network"], rtol=0, atol=0)
