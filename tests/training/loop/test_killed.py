"""A run that is killed twenty times, at any line, ends as if it had never been killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from tests.training.loop.event_files import event_files, read_points
from tests.training.loop.killed_run import KILLS
from tests.training.loop.training_runs import RESTLESS, assert_same, fit

EPOCHS = 12
LONG = RESTLESS.model_copy(update={"train": RESTLESS.train.model_copy(update={"epochs": EPOCHS})})

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


@pytest.fixture(scope="module")
def undisturbed(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(LONG, letter_features, RunFolder(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize(
    "options",
    # Save before each batch; or less often, so that updates are repeated.
    [{"save_interval_s": 0.0}, {"save_interval_s": 0.05, "resident_gb": 0.0, "workers": 2}],
    ids=["resident", "mapped, two workers"],
)
def test_killed_twenty_times_it_ends_with_the_same_bits(
    options: dict[str, Any], letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    (tmp_path / "settings.json").write_text(LONG.model_dump_json())
    program = [sys.executable, "-m", "tests.training.loop.killed_run"]
    subprocess.run(
        [*program, str(letter_features.folder), str(tmp_path), json.dumps(options)],
        cwd=Path(__file__).resolve().parents[3],
        check=True,
        timeout=300,
    )
    kills = json.loads((tmp_path / "kills.json").read_text())
    assert len(kills) == KILLS
    assert kills.count("SIGKILL -9") > 5
    assert any(kill.endswith(" 75") for kill in kills)
    assert_same(RunFolder(tmp_path), undisturbed)
    assert event_files(tmp_path)
    for split in ("train", "dev"):
        steps = [step for step, _ in read_points(tmp_path, f"cer/{split}")]
        assert steps == [4 * epoch for epoch in range(1, EPOCHS + 1)]
    assert len(read_points(tmp_path, "cer/test")) == 1
