"""The doctor finds what is wrong before a run is trained, and nothing where all is well."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.training import doctor
from pipeline.training.doctor import Finding, examine
from tests.training.letters import MakeFeatures, corpus, experiment, stored

LONG = {"epochs": 200, "learning_rate": 1e-2}
ABOUT = ["alphabet", "feasibility", "scale", "reference lines", "network", "updates", "one batch"]


def findings(features: FeatureSet, **sections: dict[str, Any]) -> dict[str, Finding]:
    settings = experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return {finding.about: finding for finding in examine(settings, features, "cpu")}


def found(features: FeatureSet, about: str, **sections: dict[str, Any]) -> Finding:
    """What comes behind it is not looked at: a batch takes seconds to learn."""
    settings = experiment(**{"input": {"stack": 2}, "train": LONG, **sections})
    return next(one for one in examine(settings, features, "cpu") if one.about == about)


def wrong(every: dict[str, Finding]) -> list[str]:
    return [name for name, finding in every.items() if not finding.well]


def test_where_all_is_well_each_finding_says_so_in_numbers(features: FeatureSet):
    every = findings(features)
    assert list(every) == ABOUT
    assert wrong(every) == []
    assert "3 of 37 letters occur" in every["alphabet"].what
    assert "all 14 training utterances" in every["feasibility"].what
    assert "200 epochs of 4 updates are 800" in every["updates"].what
    assert "8 utterances learnt by heart, CER 0 %" in every["one batch"].what


def test_utterances_that_are_too_short_are_named_with_the_stride_that_fits(
    make_features: MakeFeatures,
):
    features = make_features([*corpus(), ("train-77", "train", "AABBCC", 9)])
    finding = found(features, "feasibility")
    assert "1 of 15 training utterances have more labels than steps: train-77" in finding.what
    assert finding.remedy.startswith("take at most every 1. frame: lower input.stack")


def test_what_no_frame_rate_can_align_is_left_out(make_features: MakeFeatures):
    features = make_features([*corpus(), ("train-77", "train", "AABBCC", 8)])
    assert found(features, "feasibility").remedy.startswith("lower features.hop_ms, or list")


def test_an_input_that_is_not_scaled_is_found(tmp_path: Path):
    features = stored(corpus(), tmp_path / "f", lambda name, x: np.exp(3 * x).astype(np.float32))
    finding = found(features, "scale", input={"normalisation": "none"})
    assert "the input is not scaled: mean" in finding.what
    assert "features.scale: log" in finding.remedy


def test_an_input_that_is_no_number_is_found(tmp_path: Path):
    features = stored(corpus(), tmp_path / "f", lambda name, x: x * np.nan)
    scale = found(features, "scale", input={"normalisation": "none"})
    assert "no finite numbers" in scale.what


def test_a_letter_that_only_dev_has_is_found(make_features: MakeFeatures):
    features = make_features([*corpus(), ("dev-77", "dev", "AD", 12)])
    assert "letters that train has not: D" in found(features, "alphabet").what


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
    assert words in finding.what
    assert finding.remedy.startswith("raise train.")


def test_a_batch_that_cannot_be_learnt_is_found(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "MOST_UPDATES", 20)
    every = findings(features)
    assert wrong(every) == ["one batch"]
    assert "not learnt by heart: lowest CER" in every["one batch"].what


def test_a_transcript_that_no_alphabet_can_write_ends_it(make_features: MakeFeatures):
    features = make_features([*corpus(), ("train-77", "train", "Ä", 12)])
    with pytest.raises(InputError, match="characters that the alphabet english-38 lacks"):
        findings(features)
