"""The checks of make doctor find each problem before training, and find none in a good set-up."""

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
CHECKS = ["alphabet", "feasibility", "scale", "reference loss", "network", "updates", "one batch"]


def all_results(features: FeatureSet, **sections: dict[str, Any]) -> dict[str, PreflightResult]:
    settings = make_experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return {one.check: one for one in run_preflight(settings, features, "cpu", threads=1)}


def first_result(
    features: FeatureSet, check: str, /, **sections: dict[str, Any]
) -> PreflightResult:
    """Stop after this check: the last one, overfitting a batch, takes seconds."""
    settings = make_experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return next(
        one for one in run_preflight(settings, features, "cpu", threads=1) if one.check == check
    )


def failures(results: dict[str, PreflightResult]) -> list[str]:
    return [name for name, result in results.items() if not result.ok]


def test_without_a_problem_each_result_is_ok_and_has_its_numbers(features: FeatureSet):
    results = all_results(features)
    assert list(results) == CHECKS
    assert failures(results) == []
    assert "3 of 37 letters occur in train; never trained: " in results["alphabet"].result
    assert "all 23 utterances can be aligned" in results["feasibility"].result
    assert "200 epochs of 4 updates are 800" in results["updates"].result
    assert results["one batch"].result.startswith(
        "8 utterances, at learning rate 0.003: CER 0 % after "
    )


def test_the_number_of_threads_is_set(features: FeatureSet):
    before = torch.get_num_threads()
    try:
        next(run_preflight(make_experiment(), features, "cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_too_short_utterances_are_named_with_the_stride_that_fits(
    make_feature_set: FeatureSetFactory,
):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "AABBCC", 9)])
    result = first_result(features, "feasibility")
    assert "more labels than steps: 1 of 15 train utterances (train-77); the log" in result.result
    strides = "lower input.stack or model.time_strides: their product must be at most 1"
    assert result.remedy == f"check the transcripts of those named; if they are right, {strides}"


def test_where_many_are_too_short_the_strides_are_the_likelier_cause(
    make_feature_set: FeatureSetFactory,
):
    many = [(f"train-7{n}", "train", "AABBCC", 9) for n in range(2)]  # of 16
    result = first_result(make_feature_set([*make_utterances(), *many]), "feasibility")
    assert result.remedy == (
        "lower input.stack or model.time_strides: their product must be at most 1"
    )


def test_what_cannot_be_aligned_is_counted_in_each_split(make_feature_set: FeatureSetFactory):
    short = [(f"dev-7{n}", "dev", "AABBCC", 12) for n in range(4)]
    result = first_result(make_feature_set([*make_utterances(), *short]), "feasibility")
    assert "4 of 9 dev utterances (dev-70, dev-71, dev-72, …); the log" in result.result


def test_three_utterances_that_cannot_be_aligned_are_all_named(make_feature_set: FeatureSetFactory):
    short = [(f"dev-7{n}", "dev", "AABBCC", 12) for n in range(3)]
    result = first_result(make_feature_set([*make_utterances(), *short]), "feasibility")
    assert "3 of 8 dev utterances (dev-70, dev-71, dev-72); the log" in result.result


def test_utterances_that_no_stride_can_align_are_to_be_excluded(
    make_feature_set: FeatureSetFactory,
):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "AABBCC", 8)])
    assert first_result(features, "feasibility").remedy.startswith("check their transcripts, ")


def test_an_input_that_is_not_scaled_is_found(tmp_path: Path):
    features = write_feature_set(
        make_utterances(), tmp_path / "f", lambda name, x: np.exp(3 * x).astype(np.float32)
    )
    result = first_result(features, "scale", input={"normalisation": "none"})
    assert "the input is not scaled: mean" in result.result
    assert result.remedy == "set input.normalisation: standardise"


def test_an_input_with_nan_is_found(tmp_path: Path):
    features = write_feature_set(make_utterances(), tmp_path / "f", lambda name, x: x * np.nan)
    scale = first_result(features, "scale", input={"normalisation": "none"})
    assert "the input has NaN or infinity" in scale.result


def test_a_letter_that_only_dev_has_is_found(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*make_utterances(), ("dev-77", "dev", "AD", 12)])
    assert "only in dev or test: D" in first_result(features, "alphabet").result


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"learning_rate": 1e-6},
            "at learning rate 1e-06 all of them together move a weight by at most 8e-04",
        ),
        ({"epochs": 2}, "are 8; runs usually escape the blank plateau after 300 to 1500"),
    ],
)
def test_too_few_or_too_small_updates_are_found(
    features: FeatureSet, changes: dict[str, Any], words: str
):
    result = first_result(features, "updates", train={**LONG, **changes})
    assert words in result.result
    assert result.remedy.startswith("raise train.")


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"learning_rate": 1e-5}, "raise train.learning_rate: 0.001"),
        ({"learning_rate": 1e-6, "warmup_updates": 100}, "raise train.learning_rate: 0.001"),
        ({"learning_rate": 3e-3, "epochs": 2}, "raise train.epochs"),
        ({"learning_rate": 1e-4, "epochs": 2}, "raise train.epochs"),
        ({"epochs": 10, "warmup_updates": 10_000}, "lower train.warmup_updates"),
        ({"warmup_updates": 10_000}, "lower train.warmup_updates"),
        ({"learning_rate": 10.0}, "lower train.learning_rate: 0.001"),
        ({"learning_rate": 0.2, "optimiser": "adam"}, "lower train.learning_rate: 0.001"),
        ({"learning_rate": 10.0, "optimiser": "sgd"}, ""),
    ],
)
def test_the_remedy_names_the_setting_that_causes_the_problem(
    features: FeatureSet, changes: dict[str, Any], remedy: str
):
    result = first_result(features, "updates", train={**LONG, **changes})
    assert result.remedy[: len(remedy)] == remedy
    assert result.ok == (not remedy)


def test_updates_are_counted_as_the_trainer_makes_them(features: FeatureSet):
    frames = max(u.frames for u in features.utterances) + 1
    train = {"epochs": 2, "batch": 100, "batch_frames": frames, "order": "sorted"}
    lengths = sorted(u.frames for u in features.utterances if u.split == "train")
    batches, held = 1, 0
    for length in lengths:  # ascending: a batch is as long as its last one; stacked in twos
        even = -(-length // 2) * 2
        if held and (held + 1) * even > frames:
            batches, held = batches + 1, 0
        held += 1
    assert batches > 1
    text = first_result(features, "updates", train=train).result
    assert f"2 epochs of {batches} updates are {2 * batches}" in text


def test_an_input_that_never_changes_is_found_and_its_floor_named(tmp_path: Path):
    features = write_feature_set(
        make_utterances(), tmp_path / "f", lambda name, x: np.full_like(x, 69.0)
    )
    settings = make_experiment(features={**FEATURE_SETTINGS.model_dump(), "floor": 1e30})
    checks = {each.check: each for each in run_preflight(settings, features, "cpu")}
    result = checks["scale"]
    assert "one batch" not in checks, "a thousand updates would learn nothing"
    assert "the input is the same in every frame: mean 0.00, deviation 0.00" in result.result
    assert result.remedy.startswith("lower features.floor, which is 1e+30")


def test_steps_per_second_use_the_rounded_hop_and_too_many_are_found(features: FeatureSet):
    settings = {**FEATURE_SETTINGS.model_dump(), "hop_ms": 0.1}
    result = first_result(features, "network", features=settings)
    assert "4000 steps per second" in result.result  # 16 000 samples / hop of 2 / stacks of 2
    assert "hop_ms 0.1 is rounded to 2 samples, 0.125 ms" in result.result
    assert result.remedy.startswith("raise features.hop_ms")
    ordinary = first_result(features, "network")
    assert ordinary.ok
    assert ordinary.result.endswith("; 50 steps per second")


def test_if_every_utterance_is_too_short_it_is_reported_once(make_feature_set: FeatureSetFactory):
    features = make_feature_set([("a", "train", "AABB", 3), ("b", "dev", "AB", 12)])
    settings = make_experiment(input={"stack": 2}, train=LONG)
    assert [
        one.check for one in run_preflight(settings, features, "cpu", threads=1) if not one.ok
    ] == ["feasibility"]


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"model": {"dropout": 0.95}}, "change model.dropout: 0.95 (lower it)"),
        ({"train": {**LONG, "weight_decay": 100.0}}, "change train.weight_decay: 100 (lower it)"),
    ],
    ids=str,
)
def test_dropout_and_weight_decay_are_tested_as_they_are_set(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], named: str
):
    monkeypatch.setattr(preflight, "OVERFIT_MAX_UPDATES", 400)
    result = first_result(features, "one batch", **sections)
    assert "not learnt, lowest CER" in result.result
    assert result.remedy == named


def test_a_setting_that_stands_out_is_wrong_although_a_batch_is_learnt_with_it(
    features: FeatureSet,
):
    result = first_result(features, "settings", model={"clamp": 0.01})
    assert result.remedy == "change model.clamp: 0.01 (raise it)"


def test_a_batch_is_learnt_with_usual_dropout_and_weight_decay(features: FeatureSet):
    train = {**LONG, "weight_decay": 0.01}
    assert first_result(features, "one batch", model={"dropout": 0.2}, train=train).ok


def test_a_batch_that_is_not_learnt_is_found(features: FeatureSet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight, "OVERFIT_MAX_UPDATES", 20)
    results = all_results(features)
    assert failures(results) == ["one batch"]
    assert (
        "8 utterances, at learning rate 0.003: not learnt, lowest CER"
        in results["one batch"].result
    )


def test_a_transcript_with_unknown_characters_is_an_error(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*make_utterances(), ("train-77", "train", "Ä", 12)])
    with pytest.raises(InputError, match="characters that the alphabet english-38 lacks"):
        all_results(features)
