"""Runs that have an illness say so, and say nothing of the illnesses that they do not have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.files import InputError
from pipeline.runs import plateau
from pipeline.runs.folder import RunFolder
from pipeline.runs.plateau import describe_status, escape_updates
from pipeline.training.loop import trainer
from pipeline.training.network.model import Network
from tests.training.letters import make_experiment, make_utterances, write_feature_set

# What no sentence says but that of its illness.
SIGNS = {
    "healthy": "escaped at update",
    "slow": "not learning: lr",
    "unlearnable": "on the blank plateau",
    "unscaled": "the input is not scaled",
    "diverging": "diverging",
    "non-finite": "are no finite numbers",
}

Change = Callable[[str, np.ndarray], np.ndarray]


def same(name: str, frames: np.ndarray) -> np.ndarray:
    return frames


def loud(name: str, frames: np.ndarray) -> np.ndarray:
    """As a power spectrum without a logarithm is: all of it positive, most small, some huge."""
    return np.exp(3 * frames).astype(np.float32)


def noise(name: str, frames: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(sum(name.encode()))
    return draw.normal(size=frames.shape).astype(np.float32)


def broken(name: str, frames: np.ndarray) -> np.ndarray:
    if name in {"train-03", "dev-01"}:
        frames[2, 1] = np.nan
    return frames


def doctor_output(
    folder: Path, change: Change, **sections: dict[str, object]
) -> tuple[str, RunFolder]:
    settings = make_experiment(**{"input": {"stack": 2}, **sections})
    run = RunFolder(folder / "run")
    features = write_feature_set(make_utterances(), folder / "features", change)
    trainer.fit(settings, features, run, device="cpu", threads=1)
    return describe_status(run.rows(), settings), run


def assert_only(words: str, *illnesses: str) -> None:
    assert {name for name, sign in SIGNS.items() if sign in words} == set(illnesses), words


LEARNS = {"epochs": 20, "batch": 2, "learning_rate": 3e-2}


def test_a_healthy_run_escapes_and_says_when(tmp_path: Path):
    words, run = doctor_output(tmp_path, same, train=LEARNS)
    assert_only(words, "healthy")
    assert f"escaped at update {escape_updates(run.rows())}: " in words


def test_a_rate_too_low_is_told_by_how_far_it_can_move_a_weight(tmp_path: Path):
    words, _run = doctor_output(
        tmp_path, same, train={"epochs": 30, "batch": 5, "learning_rate": 1e-6}
    )
    assert_only(words, "slow")
    assert "lr 1e-06 can move a weight by at most 9e-05 in 90 updates" in words


@pytest.mark.parametrize("schedule", ["warmup-cosine", "one-cycle"])
def test_a_schedule_that_ends_near_zero_is_no_rate_too_low(tmp_path: Path, schedule: str):
    train = {"epochs": 2, "batch": 1, "learning_rate": 1e-2, "schedule": schedule}
    words, run = doctor_output(tmp_path, same, train=train)
    assert SIGNS["slow"] not in words
    train_rows = [row for row in run.rows() if row["split"] == "train"]
    assert train_rows[-1]["learning_rate"] < 1e-4
    assert sum(row["learning_rate_sum"] for row in train_rows) == pytest.approx(0.14, rel=0.2)


def test_a_dev_split_that_cannot_be_aligned_leaves_the_choice_to_the_cer(tmp_path: Path):
    """Every dev utterance says a letter in each of its frames, of which two are joined."""
    spoken = [u for u in make_utterances() if u[1] != "dev"]
    short = [(f"dev-{n}", "dev", "ABCABC"[n:] + "ABC"[:n], 6) for n in range(3)]
    features = write_feature_set([*spoken, *short], tmp_path / "features")
    train = {**LEARNS, "schedule": "plateau", "plateau_epochs": 1}
    settings, run = make_experiment(input={"stack": 2}, train=train), RunFolder(tmp_path / "run")
    trainer.fit(settings, features, run, device="cpu", threads=1)
    dev = [row for row in run.rows() if row["split"] == "dev"]
    assert dev[-1]["infeasible"] == 3
    assert run.rows()[-1]["cer"] < 0.8
    assert run.rows()[-1]["epoch"] == min(dev, key=lambda row: row["cer"])["epoch"]
    assert run.rows()[-3]["learning_rate"] == LEARNS["learning_rate"]
    assert "no utterance of dev can be aligned" in describe_status(run.rows())


def test_what_cannot_be_learnt_stays_on_the_plateau_and_nothing_is_wrong_yet(tmp_path: Path):

    words, _run = doctor_output(
        tmp_path, noise, train={"epochs": 12, "learning_rate": 5e-3, "batch": 2}
    )
    assert_only(words, "unlearnable")
    assert "nothing is wrong yet" in words


def test_what_stays_on_the_plateau_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(plateau, "MAX_PLATEAU_UPDATES", 60)
    words, _run = doctor_output(
        tmp_path, noise, train={"epochs": 12, "learning_rate": 5e-3, "batch": 2}
    )
    assert_only(words, "unlearnable")
    assert "longer than usual" in words


def test_a_layer_that_is_dead_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Dead(Network):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            torch.nn.init.constant_(self.fc1.bias, -100.0)

    monkeypatch.setattr(trainer, "Network", Dead)
    words, _run = doctor_output(tmp_path, same)
    assert "clamp: 100 % of fc1 at zero: it passes no gradient" in words


def test_an_input_that_is_not_scaled_stands_at_the_clamp(tmp_path: Path):
    words, run = doctor_output(
        tmp_path,
        loud,
        input={"stack": 2, "normalisation": "none"},
        train={"epochs": 12, "batch": 2, "learning_rate": 5e-3},
    )
    assert SIGNS["unscaled"] in words
    assert SIGNS["diverging"] not in words
    assert SIGNS["slow"] not in words
    last = run.rows()[-2]
    shares = {layer: last[f"saturation_{layer}_ceiling"] for layer in ("fc1", "fc2")}
    layer = max(shares, key=shares.get)
    assert f"clamp: {100 * shares[layer]:.0f} % of {layer} at the ceiling" in words
    assert last["largest_z"] > 100


def test_a_rate_too_high_diverges(tmp_path: Path):
    """It rises from one that learns to one that no network bears."""
    rising = {"optimiser": "adam", "learning_rate": 5.0, "warmup_updates": 98}
    words, _ = doctor_output(
        tmp_path, same, model={"clamp": None}, train={"epochs": 14, "batch": 2, **rising}
    )
    assert_only(words, "diverging")


@pytest.mark.parametrize("batch_norm", ["none", "sequence"])
def test_an_utterance_that_is_no_number_is_named_and_spoils_no_other(
    tmp_path: Path, batch_norm: str
):
    words, run = doctor_output(
        tmp_path,
        broken,
        input={"stack": 2, "normalisation": "utterance"},
        model={"batch_norm": batch_norm},
    )
    assert SIGNS["slow"] not in words
    assert SIGNS["unscaled"] not in words
    assert "left out of the epoch: train-03: 1 of 14 training utterances" in words
    for row in run.rows():
        named = {"train": "train-03", "dev": "dev-01", "test": ""}[row["split"]]
        assert row["nonfinite_ids"] == named
        assert np.isfinite([row["loss_per_character"], row["largest_z"], row["cer"]]).all()
    dev = next(h for h in run.hypotheses() if h.utterance_id == "dev-01")
    assert (dev.hypothesis, dev.char_errors) == ("", dev.chars)


def test_where_no_utterance_is_a_number_there_is_nothing_to_train_on(tmp_path: Path):
    nothing = {"input": {"normalisation": "none"}}
    with pytest.raises(InputError, match=r"all 14 training utterances.* no finite numbers; set"):
        doctor_output(tmp_path, lambda name, frames: frames * np.nan, **nothing)
