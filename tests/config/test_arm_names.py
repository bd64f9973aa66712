"""Tests of the name of the arm of a run."""

import pytest

from pipeline.config.arm_names import SEED, UNNAMED_ARM, arm_name


@pytest.mark.parametrize(
    ("label", "settings", "name"),
    [
        ("mel, seed 3", {"features.spectrum": "mel", SEED: 3}, "mel"),
        ("mel, seed 13", {"features.spectrum": "mel", SEED: 13}, "mel"),
        ("seed 3", {SEED: 3}, UNNAMED_ARM),
        ("as is", {}, "as is"),
        ("mine", {"model.clamp": None, SEED: 3}, "model.clamp null"),  # the seed has its own label
        ("mine", {SEED: 3}, UNNAMED_ARM),
    ],
)
def test_an_arm_is_named_by_the_label_or_the_settings_without_the_seed(
    label: str, settings: dict[str, object], name: str
):
    assert arm_name(label, settings) == name
