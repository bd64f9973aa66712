"""The status of runs with a known problem names that problem and no other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.files import InputError
from pipeline.runs import plateau
from pipeline.runs.folder import RunFolder
from pipeline.runs.plateau import describe_status, escape_updates
from pipeline.runs.posteriors import read_posteriors
from pipeline.training.loop import trainer
from pipeline.training.loop.fit import fit
from pipeline.training.network.model import Network
from tests.training.letters import make_experiment, make_utterances, write_feature_set

# A phrase that only the status of a run with this problem has.
PHRASES = {
    "healthy": "escaped at update",
    "slow": "not learning: learning rate",
    "unlearnable": "on the blank plateau",
    "unscaled": "the input is not scaled",
    "diverging": "diverging",
    "non-finite": "have NaN or infinity in their input",
}

Change = Callable[[str, np.ndarray], np.ndarray]


def same(name: str, frames: np.ndarray) -> np.ndarray:
    return frames


def loud(name: str, frames: np.ndarray) -> np.ndarray:
    """Like a power spectrum without a logarithm: positive, mostly small, sometimes huge."""
    return np.exp(3 * frames).astype(np.float32)


def noise(name: str, frames: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(sum(name.encode()))
    return draw.normal(size=frames.shape).astype(np.float32)


def broken(name: str, frames: np.ndarray) -> np.ndarray:
    if name in {"train-03", "dev-01", "test-02"}:
        frames[2, 1] = np.nan
    return frames


def train_and_describe(
    folder: Path, change: Change, **sections: dict[str, object]
) -> tuple[str, RunFolder]:
    settings = make_experiment(**{"input": {"stack": 2}, **sections})
    run = RunFolder(folder / "run")
    features = write_feature_set(make_utterances(), folder / "features", change)
    fit(settings, features, run, device="cpu", threads=1)
    return describe_status(run.rows(), settings), run


def assert_only(status: str, *problems: str) -> None:
    found = {name for name, phrase in PHRASES.items() if phrase in status}
    assert found == set(problems), status


LEARNS = {"epochs": 20, "batch": 2, "learning_rate": 3e-2}


def test_a_healthy_run_escapes_and_the_status_says_when(tmp_path: Path):
    status, run = train_and_describe(tmp_path, same, train=LEARNS)
    assert_only(status, "healthy")
    assert f"escaped at update {escape_updates(run.rows())}: " in status


def test_a_learning_rate_that_is_too_low_is_reported(tmp_path: Path):
    status, _run = train_and_describe(
        tmp_path, same, train={"epochs": 30, "batch": 5, "learning_rate": 1e-6}
    )
    assert_only(status, "slow")
    assert "learning rate 1e-06 can move a weight by at most 9e-05 in 90 updates" in status


@pytest.mark.parametrize("schedule", ["warmup-cosine", "one-cycle"])
def test_a_schedule_that_ends_near_zero_is_not_too_low(tmp_path: Path, schedule: str):
    train = {"epochs": 2, "batch": 1, "learning_rate": 1e-2, "schedule": schedule}
    status, run = train_and_describe(tmp_path, same, train=train)
    assert PHRASES["slow"] not in status
    train_rows = [row for row in run.rows() if row["split"] == "train"]
    assert train_rows[-1]["learning_rate"] < 1e-4
    assert sum(row["learning_rate_sum"] for row in train_rows) == pytest.approx(0.14, rel=0.2)


def test_if_dev_cannot_be_aligned_the_cer_selects_the_epoch(tmp_path: Path):
    """Each dev utterance has one letter per frame, and two frames are stacked."""
    usable = [u for u in make_utterances() if u[1] != "dev"]
    short = [(f"dev-{n}", "dev", "ABCABC"[n:] + "ABC"[:n], 6) for n in range(3)]
    features = write_feature_set([*usable, *short], tmp_path / "features")
    train = {**LEARNS, "schedule": "plateau", "plateau_epochs": 1}
    settings, run = make_experiment(input={"stack": 2}, train=train), RunFolder(tmp_path / "run")
    fit(settings, features, run, device="cpu", threads=1)
    dev = [row for row in run.rows() if row["split"] == "dev"]
    assert dev[-1]["infeasible"] == 3
    assert run.rows()[-1]["cer"] < 0.8
    assert run.rows()[-1]["epoch"] == min(dev, key=lambda row: row["cer"])["epoch"]
    assert run.rows()[-3]["learning_rate"] == LEARNS["learning_rate"]
    assert "no dev utterance can be aligned" in describe_status(run.rows())


def test_noise_stays_on_the_plateau_and_nothing_is_wrong_yet(tmp_path: Path):
    status, _run = train_and_describe(
        tmp_path, noise, train={"epochs": 12, "learning_rate": 5e-3, "batch": 2}
    )
    assert_only(status, "unlearnable")
    assert "nothing is wrong yet" in status


def test_a_long_plateau_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plateau, "MAX_PLATEAU_UPDATES", 60)
    status, _run = train_and_describe(
        tmp_path, noise, train={"epochs": 12, "learning_rate": 5e-3, "batch": 2}
    )
    assert_only(status, "unlearnable")
    assert "longer than usual" in status


def test_a_dead_layer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Dead(Network):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            torch.nn.init.constant_(self.fc1.bias, -100.0)

    monkeypatch.setattr(trainer, "Network", Dead)
    status, _run = train_and_describe(tmp_path, same)
    assert "clamp: 100 % of fc1 at zero: no gradient passes there" in status


def test_an_input_that_is_not_scaled_reaches_the_clamp(tmp_path: Path):
    status, run = train_and_describe(
        tmp_path,
        loud,
        input={"stack": 2, "normalisation": "none"},
        train={"epochs": 12, "batch": 2, "learning_rate": 5e-3},
    )
    assert PHRASES["unscaled"] in status
    assert PHRASES["diverging"] not in status
    assert PHRASES["slow"] not in status
    last = run.rows()[-2]
    shares = {layer: last[f"saturation_{layer}_ceiling"] for layer in ("fc1", "fc2")}
    layer = max(shares, key=shares.get)
    assert f"clamp: {100 * shares[layer]:.0f} % of {layer} at the ceiling" in status
    assert last["largest_z"] > 100


def test_a_learning_rate_that_is_too_high_diverges(tmp_path: Path):
    """The rate rises from one that learns to one at which every network diverges."""
    rising = {"optimiser": "adam", "learning_rate": 5.0, "warmup_updates": 98}
    status, _ = train_and_describe(
        tmp_path, same, model={"clamp": None}, train={"epochs": 14, "batch": 2, **rising}
    )
    assert_only(status, "diverging")


@pytest.mark.parametrize("batch_norm", ["none", "sequence"])
def test_an_utterance_with_nan_is_named_and_changes_no_other(tmp_path: Path, batch_norm: str):
    status, run = train_and_describe(
        tmp_path,
        broken,
        input={"stack": 2, "normalisation": "utterance"},
        model={"batch_norm": batch_norm},
    )
    assert PHRASES["slow"] not in status
    assert PHRASES["unscaled"] not in status
    assert "left out of the epoch: 1 of 14 training utterances" in status
    assert "in their input (train-03)" in status
    for row in run.rows():
        named = {"train": "train-03", "dev": "dev-01", "test": "test-02"}[row["split"]]
        assert row["nonfinite_ids"] == named
        assert np.isfinite([row["loss_per_character"], row["largest_z"], row["cer"]]).all()
    dev = next(h for h in run.hypotheses() if h.utterance_id == "dev-01")
    assert (dev.hypothesis, dev.char_errors) == ("", dev.chars)
    assert np.isnan(dev.loss)
    drawn = [each.utterance_id for each in read_posteriors(run.posteriors_file)]
    assert sorted(drawn) == ["test-00", "test-01", "test-03"]  # all but test-02


def test_audio_that_belongs_to_another_text_has_the_highest_losses(tmp_path: Path):
    wrong = {"test-01", "dev-03"}

    def swap_letters(name: str, frames: np.ndarray) -> np.ndarray:
        if name in wrong:
            frames[:, 1:4] = frames[:, [3, 1, 2]]  # A sounds as B, B as C, C as A
        return frames

    _, run = train_and_describe(tmp_path, swap_letters, train=LEARNS)
    ranked = sorted(run.hypotheses(), key=lambda h: -h.loss / h.chars)
    assert len(ranked) == 9
    assert {h.utterance_id for h in ranked[:2]} == wrong
    assert ranked[1].loss / ranked[1].chars > 3 * ranked[2].loss / ranked[2].chars


def test_if_every_utterance_has_nan_training_is_refused(tmp_path: Path):
    nothing = {"input": {"normalisation": "none"}}
    with pytest.raises(InputError, match=r"all 14 training utterances .* has NaN or infinity; set"):
        train_and_describe(tmp_path, lambda name, frames: frames * np.nan, **nothing)
