"""Run folders that are written once, because no test of this room writes into them."""

from pathlib import Path

import pytest

from pipeline.results.summary.run_summary import SweepRun
from tests.results.examples import make_sweep


@pytest.fixture(scope="session")
def sweep_runs(tmp_path_factory: pytest.TempPathFactory) -> list[SweepRun]:
    folder: Path = tmp_path_factory.mktemp("runs")
    return make_sweep(folder)
