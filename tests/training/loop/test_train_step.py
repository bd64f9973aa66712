"""One update: its gradient, its clipping, and the loss scale of float16.

float16 runs on a CPU here: it is slow, but the code is the same.
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
from pipeline.training.loop.fit import fit
from pipeline.training.loop.trainer import Trainer
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import stop_after

CPU = torch.device("cpu")
HALF = make_experiment(train={"epochs": 2, "precision": "float16"})


@pytest.fixture(autouse=True)
def _allow_float16_on_cpu(monkeypatch: pytest.MonkeyPatch):
    """Accept float16 on a CPU."""
    monkeypatch.setattr(
        devices, "select_dtype", lambda requested, device: getattr(torch, requested)
    )


def prepared(letters: FeatureSet, run: Path, scale: float) -> tuple[Trainer, Batch]:
    trainer = Trainer.prepare(HALF, letters, RunFolder(run), CPU)
    scaler = GradScaler("cpu", init_scale=scale)
    trainer.train_step = replace(trainer.train_step, scaler=scaler)
    return trainer, trainer.splits.train.make_batch(torch.arange(4).numpy())


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(trainer.evaluator.network.parameters()).detach()


def test_an_update_with_an_overflow_is_skipped_and_the_scale_halved(
    letter_features: FeatureSet, tmp_path: Path
):
    trainer, batch = prepared(letter_features, tmp_path, 2.0**127)
    before = weights(trainer).clone()
    trainer.train_step.step([batch], trainer.state, 9)
    assert torch.equal(weights(trainer), before)
    assert trainer.train_step.scaler.get_scale() == 2.0**126
    metrics = trainer.state.train_metrics
    assert (trainer.state.update, metrics.updates, metrics.normed, metrics.grad_norm) == (
        1,
        1,
        0,
        0.0,
    )
    trainer.train_step.scaler.update(2.0**4)
    trainer.train_step.step([batch], trainer.state, 9)
    row = trainer._row("train", metrics, 1, 2, "each update")
    assert (row["skipped_updates"], row["grad_norm"]) == (1, metrics.grad_norm)
    assert row["grad_norm"] > 0


def test_the_loss_scale_does_not_change_the_gradient(letter_features: FeatureSet, tmp_path: Path):
    norms = []
    for scale in (2.0**4, 2.0**10):
        trainer, batch = prepared(letter_features, tmp_path, scale)
        before = weights(trainer).clone()
        trainer.train_step.step([batch], trainer.state, 9)
        assert not torch.equal(weights(trainer), before)
        norms.append(trainer.state.train_metrics.grad_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


def test_a_gradient_that_is_nan_at_any_scale_is_an_error(
    letter_features: FeatureSet, tmp_path: Path
):
    trainer, batch = prepared(letter_features, tmp_path, train_step.MIN_LOSS_SCALE)
    trainer.evaluator.network.fc1.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(train_step.DivergedError, match="the gradient of train-"):
        trainer.train_step.step([batch], trainer.state, 9)


@pytest.mark.parametrize("clip", [1e-3, None])
def test_clipping_limits_the_size_of_an_update(
    clip: float | None, letter_features: FeatureSet, tmp_path: Path
):
    train = {"optimiser": "sgd", "learning_rate": 1e-2, "weight_decay": 0.0, "clip": clip}
    trainer = Trainer.prepare(
        make_experiment(train=train), letter_features, RunFolder(tmp_path), CPU
    )
    before = weights(trainer).clone()
    trainer.train_step.step(
        [trainer.splits.train.make_batch(torch.arange(4).numpy())], trainer.state, 9
    )
    norm = trainer.state.train_metrics.grad_norm
    assert norm > 0.1  # the norm before clipping
    moved = 1e-2 * 1.9 * (clip or norm)  # Nesterov's first step is 1 + 0.9 of the gradient
    assert float((weights(trainer) - before).norm()) == pytest.approx(moved, rel=1e-2)


def trained(settings: Experiment, letters: FeatureSet, run: RunFolder, stop: int) -> dict:
    try:
        fit(settings, letters, run, device="cpu", threads=1, should_stop=stop_after(stop))
    except Stopped:
        fit(settings, letters, run, device="cpu", threads=1)
    return torch.load(run.state_file, weights_only=True)


def test_a_stopped_run_continues_with_its_loss_scale(letter_features: FeatureSet, tmp_path: Path):
    whole, resumed = (
        trained(HALF, letter_features, RunFolder(tmp_path / str(n)), n) for n in (99, 3)
    )
    assert whole["scaler"] == resumed["scaler"]
    assert whole["scaler"]["_growth_tracker"] > 0
    torch.testing.assert_close(whole["network"], resumed["network"], rtol=0, atol=0)
