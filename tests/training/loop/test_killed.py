"""A run that is killed twenty times, at any line, ends as if it had never been killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.network import AverageSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from tests.training.loop.event_files import event_files, read_points
from tests.training.loop.killed_run import KILLS
from tests.training.loop.training_runs import RESTLESS, assert_same, fit, with_train

EPOCHS = 12

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


@pytest.mark.parametrize(
    ("options", "train"),
    # Save before each batch; or less often, so that updates are repeated.
    [
        ({"save_interval_s": 0.0}, {"ema": 0.9}),
        (
            {"save_interval_s": 0.05, "resident_gb": 0.0, "workers": 2},
            {"average": AverageSettings(best=3)},
        ),
    ],
    ids=["resident, moving average", "mapped, two workers, mean of epochs"],
)
def test_killed_twenty_times_it_ends_with_the_same_bits(
    options: dict[str, Any], train: dict[str, Any], letter_features: FeatureSet, tmp_path: Path
):
    settings = with_train(RESTLESS, epochs=EPOCHS, **train)
    undisturbed = fit(settings, letter_features, RunFolder(tmp_path / "undisturbed"))
    killed = RunFolder(tmp_path / "killed")
    killed.path.mkdir()
    (killed.path / "settings.json").write_text(settings.model_dump_json())
    program = [sys.executable, "-m", "tests.training.loop.killed_run"]
    subprocess.run(
        [*program, str(letter_features.folder), str(killed.path), json.dumps(options)],
        cwd=Path(__file__).resolve().parents[3],
        check=True,
        timeout=300,
    )
    kills = json.loads((killed.path / "kills.json").read_text())
    assert len(kills) == KILLS
    assert kills.count("SIGKILL -9") > 5
    assert any(kill.endswith(" 75") for kill in kills)
    assert_same(killed, undisturbed)
    assert event_files(killed.path)
    for split in ("train", "dev"):
        steps = [step for step, _ in read_points(killed.path, f"cer/{split}")]
        final = [4 * EPOCHS] if split == "dev" and settings.train.average else []
        assert steps == [4 * epoch for epoch in range(1, EPOCHS + 1)] + final
    assert len(read_points(killed.path, "cer/test")) == 1
