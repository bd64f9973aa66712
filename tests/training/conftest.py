"""Fixtures: the spoken letters, or other utterances, as a feature set on disk."""

from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from tests.training.letters import MakeFeatures, corpus, stored


@pytest.fixture
def make_features(tmp_path: Path) -> MakeFeatures:
    return lambda utterances: stored(utterances, tmp_path / "features")


@pytest.fixture
def features(make_features: MakeFeatures) -> FeatureSet:
    return make_features(corpus())


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return stored(corpus(), tmp_path_factory.mktemp("letters") / "features")
