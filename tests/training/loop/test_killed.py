"""Killed twenty times, at whatever line it was, a run ends as if it never had been.

One process has torch loaded and forks each life of the run from itself: lives take milliseconds.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.node.signals import catch_stop_signals
from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.training.loop import trainer
from tests.training.letters import make_experiment
from tests.training.loop.test_tensorboard import points
from tests.training.loop.test_trainer import RESTLESS, assert_same, fit

KILLS = 20
# Without warning more often than not; the other two ask, and the state is saved first.
SIGNALS = ("SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGUSR2")
EPOCHS = 12
LONG = RESTLESS.model_copy(update={"train": RESTLESS.train.model_copy(update={"epochs": EPOCHS})})

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


def live(features: Path, run: RunFolder, options: dict[str, Any], told: int) -> int:
    """Until it ends or is ended; a byte at each step boundary says how far it is."""
    settings = Experiment.model_validate_json((run.path / "settings.json").read_text())
    trainer.SAVE_INTERVAL_S = options.pop("saves")
    with catch_stop_signals() as stop:

        def should_stop() -> bool:
            os.write(told, b".")
            return stop()

        try:
            fit(settings, FeatureSet.open(features), run, should_stop=should_stop, **options)
        except Stopped:
            return 75
    return 0


def lives(features: Path, folder: Path, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as warm:  # what torch loads at its first update
        fit(make_experiment(train={"epochs": 1}), FeatureSet.open(features), RunFolder(Path(warm)))
    run, draw, kills = RunFolder(folder), random.Random(str(options)), []
    while not run.finished:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os._exit(live(features, run, options, writing))
        os.close(writing)
        if len(kills) < KILLS:
            steps = draw.randint(1, 3)
            while steps and os.read(reading, 1):
                steps -= 1
            time.sleep(0.02 * draw.random())  # in a step, in a save, in an evaluation
            kills.append(draw.choice(SIGNALS))
            os.kill(child, getattr(signal, kills[-1]))
        _, status = os.waitpid(child, 0)
        kills[-1:] = [f"{kills[-1]} {os.waitstatus_to_exitcode(status)}"]
        os.close(reading)
    (folder / "kills.json").write_text(json.dumps(kills))


@pytest.fixture(scope="module")
def undisturbed(letter_features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(LONG, letter_features, RunFolder(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize(
    "options",
    # Saved at each step; or now and then, so that updates are done again.
    [{"saves": 0.0}, {"saves": 0.05, "resident_gb": 0.0, "workers": 2}],
    ids=["resident", "mapped, two workers"],
)
def test_killed_twenty_times_it_ends_with_the_same_bits(
    options: dict[str, Any], letter_features: FeatureSet, undisturbed: RunFolder, tmp_path: Path
):
    (tmp_path / "settings.json").write_text(LONG.model_dump_json())
    code = "import json, pathlib, sys; from tests.training.loop.test_killed import lives; "
    code += "lives(*map(pathlib.Path, sys.argv[1:3]), json.loads(sys.argv[3]))"
    subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(letter_features.folder),
            str(tmp_path),
            json.dumps(options),
        ],
        cwd=Path(__file__).resolve().parents[3],
        check=True,
        timeout=300,
    )
    kills = json.loads((tmp_path / "kills.json").read_text())
    assert len(kills) == KILLS
    assert kills.count("SIGKILL -9") > 5
    assert any(kill.endswith(" 75") for kill in kills)
    run = RunFolder(tmp_path)
    assert_same(run, undisturbed)
    steps = [step for step, _ in points(run.events_file, "cer/dev")]
    assert steps == [4 * epoch for epoch in range(1, EPOCHS + 1)]
