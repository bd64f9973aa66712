"""The doctor finds what is wrong before a run is trained, and nothing where all is well."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.training.diagnosis import preflight
from pipeline.training.diagnosis.preflight import PreflightResult, run_preflight
from tests.training.letters import (
    FEATURE_SETTINGS,
    FeatureSetFactory,
    make_experiment,
    make_utterances,
    write_feature_set,
)

LONG = {"epochs": 200, "learning_rate": 1e-2}
ABOUT = ["alphabet", "feasibility", "scale", "reference lines", "network", "updates", "one batch"]


def findings(features: FeatureSet, **sections: dict[str, Any]) -> dict[str, PreflightResult]:
    settings = make_experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return {
        finding.check: finding for finding in run_preflight(settings, features, "cpu", threads=1)
    }


def found(features: FeatureSet, about: str, /, **sections: dict[str, Any]) -> PreflightResult:
    """What comes behind it is not looked at: a batch takes seconds to learn."""
    settings = make_experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return next(
        one for one in run_preflight(settings, features, "cpu", threads=1) if one.check == about
    )


def wrong(every: dict[str, PreflightResult]) -> list[str]:
    return [name for name, finding in every.items() if not finding.ok]


def test_where_all_is_well_each_finding_says_so_in_numbers(features: FeatureSet):
    every = findings(features)
    assert list(every) == ABOUT
    assert wrong(every) == []
    assert "3 of 37 letters occur" in every["alphabet"].result
    assert "all 23 utterances can be aligned" in every["feasibility"].result
    assert "200 epochs of 4 updates are 800" in every["updates"].result
    assert "a rate of its own, 0.003, 8 utterances learnt by heart, CER 0 %" in (
        every["one batch"].result
    )


def test_it_computes_with_as_many_threads_as_it_is_given(features: FeatureSet):
    before = torch.get_num_threads()
    try:
        next(run_preflight(make_experiment(), features, "cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_utterances_that_are_too_short_are_named_with_the_stride_that_fits(
    make_feature_set: FeatureSetFactory,
):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "AABBCC", 9)])
    finding = found(features, "feasibility")
    assert "more labels than steps: 1 of 15 training utterances (train-77); a run" in finding.result
    assert finding.remedy.startswith("take at most every 1. frame: lower input.stack")


def test_what_cannot_be_aligned_is_counted_in_each_split(make_feature_set: FeatureSetFactory):
    short = [(f"dev-7{n}", "dev", "AABBCC", 12) for n in range(4)]
    finding = found(make_feature_set([*make_utterances(), *short]), "feasibility")
    assert "4 of 9 dev utterances (dev-70, dev-71, dev-72, …); a run lists all" in finding.result


def test_what_no_frame_rate_can_align_is_left_out(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "AABBCC", 8)])
    assert found(features, "feasibility").remedy.startswith("lower features.hop_ms, or list")


def test_an_input_that_is_not_scaled_is_found(tmp_path: Path):
    features = write_feature_set(
        make_utterances(), tmp_path / "f", lambda name, x: np.exp(3 * x).astype(np.float32)
    )
    finding = found(features, "scale", input={"normalisation": "none"})
    assert "the input is not scaled: mean" in finding.result
    assert "features.scale: log" in finding.remedy


def test_an_input_that_is_no_number_is_found(tmp_path: Path):
    features = write_feature_set(make_utterances(), tmp_path / "f", lambda name, x: x * np.nan)
    scale = found(features, "scale", input={"normalisation": "none"})
    assert "no finite numbers" in scale.result


def test_a_letter_that_only_dev_has_is_found(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*make_utterances(), ("dev-77", "dev", "AD", 12)])
    assert "letters that train has not: D" in found(features, "alphabet").result


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 1e-6}, "at lr 1e-06 they move a weight by at most 8e-04"),
        ({"epochs": 2}, "are 8; escape from the blanks usually comes after 300 to 1500"),
    ],
)
def test_a_training_that_cannot_get_anywhere_is_found(
    features: FeatureSet, changes: dict[str, Any], words: str
):
    finding = found(features, "updates", train={**LONG, **changes})
    assert words in finding.result
    assert finding.remedy.startswith("raise train.")


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"learning_rate": 1e-5}, "raise train.learning_rate: 0.001"),
        ({"learning_rate": 3e-3, "epochs": 2}, "raise train.epochs"),
        ({"learning_rate": 1e-4, "epochs": 2}, "raise train.epochs"),
        ({"epochs": 10, "warmup_updates": 10_000}, "lower train.warmup_updates"),
        ({"warmup_updates": 10_000}, "lower train.warmup_updates"),
        ({"learning_rate": 10.0}, "lower train.learning_rate: 0.001"),
        ({"learning_rate": 0.2, "optimiser": "adam"}, "lower train.learning_rate: 0.001"),
        ({"learning_rate": 10.0, "optimiser": "sgd"}, ""),
    ],
)
def test_the_way_out_of_a_hopeless_training_is_the_setting_that_is_to_blame(
    features: FeatureSet, changes: dict[str, Any], way_out: str
):
    finding = found(features, "updates", train={**LONG, **changes})
    assert finding.remedy[: len(way_out)] == way_out
    assert finding.ok == (not way_out)


def test_updates_are_counted_as_training_makes_them(features: FeatureSet):
    frames = max(u.frames for u in features.utterances) + 1
    train = {"epochs": 2, "batch": 100, "batch_frames": frames, "order": "sorted"}
    lengths = sorted(u.frames for u in features.utterances if u.split == "train")
    batches, held = 1, 0
    for length in lengths:  # ascending: the last one is as long as the batch; joined in twos
        even = -(-length // 2) * 2
        if held and (held + 1) * even > frames:
            batches, held = batches + 1, 0
        held += 1
    assert batches > 1
    said = found(features, "updates", train=train).result
    assert f"2 epochs of {batches} updates are {2 * batches}" in said


def test_an_input_that_never_changes_is_found_and_its_floor_named(tmp_path: Path):
    features = write_feature_set(
        make_utterances(), tmp_path / "f", lambda name, x: np.full_like(x, 69.0)
    )
    finding = found(features, "scale", features={**FEATURE_SETTINGS.model_dump(), "floor": 1e30})
    assert "the input is the same in every frame: mean 0.00, deviation 0.00" in finding.result
    assert finding.remedy.startswith("lower features.floor, which is 1e+30")


def test_steps_a_second_are_those_of_whole_samples_and_too_many_are_found(features: FeatureSet):
    settings = {**FEATURE_SETTINGS.model_dump(), "hop_ms": 0.1}
    finding = found(features, "network", features=settings)
    assert "4000 steps a second" in finding.result  # of 16 000 / 2 samples, in twos
    assert "hop_ms 0.1 is rounded to 2 samples, 0.125 ms" in finding.result
    assert finding.remedy.startswith("raise features.hop_ms")
    ordinary = found(features, "network")
    assert ordinary.ok
    assert ordinary.result.endswith("; 50 steps a second")


def test_where_every_utterance_is_too_short_it_is_told_once(make_feature_set: FeatureSetFactory):
    features = make_feature_set([("a", "train", "AABB", 3), ("b", "dev", "AB", 12)])
    settings = make_experiment(input={"stack": 2}, train=LONG)
    assert [
        one.check for one in run_preflight(settings, features, "cpu", threads=1) if not one.ok
    ] == ["feasibility"]


def test_a_batch_for_which_there_was_no_time_is_undecided_and_not_wrong(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "OVERFIT_TIMEOUT_S", 1e-3)
    finding = findings(features)["one batch"]
    assert finding.ok
    assert not finding.conclusive
    assert "stopped after 0 s, lowest CER" in finding.result
    assert finding.result.endswith("; undecided")


def test_a_batch_that_cannot_be_learnt_is_found(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "OVERFIT_MAX_UPDATES", 20)
    every = findings(features)
    assert wrong(every) == ["one batch"]
    assert "not learnt by heart: lowest CER" in every["one batch"].result


def test_a_transcript_that_no_alphabet_can_write_ends_it(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "Ä", 12)])
    with pytest.raises(InputError, match="characters that the alphabet english-38 lacks"):
        findings(features)
