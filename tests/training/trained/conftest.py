"""A finished run on the letters, which tests decode and align."""

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import fit


@pytest.fixture(scope="module")
def finished(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    experiment = make_experiment(train={"epochs": 12})
    run.write_experiment(experiment)
    return fit(experiment, letter_features, run)
