"""Fixtures: the spoken letters, or other utterances, as a feature set on disk."""

from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from tests.training.letters import FeatureSetFactory, make_utterances, write_feature_set


@pytest.fixture
def make_feature_set(tmp_path: Path) -> FeatureSetFactory:
    return lambda utterances: write_feature_set(utterances, tmp_path / "features")


@pytest.fixture
def features(make_feature_set: FeatureSetFactory) -> FeatureSet:
    return make_feature_set(make_utterances())


@pytest.fixture(scope="module")
def letter_features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return write_feature_set(make_utterances(), tmp_path_factory.mktemp("letters") / "features")
