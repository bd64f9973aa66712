"""A program that trains one run and kills it again and again: see test_killed.py.

One process imports torch and forks each attempt from itself, so that an attempt takes milliseconds.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.node.signals import catch_stop_signals
from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder, Stopped
from pipeline.training.loop import trainer
from tests.training.letters import make_experiment
from tests.training.loop.training_runs import fit

KILLS = 20
# SIGKILL gives no warning; at the other two the trainer saves its state first.
SIGNALS = ("SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGUSR2")
STOPPED = 75


def train(features: Path, run: RunFolder, options: dict[str, Any], progress: int) -> int:
    """Train until the end or a signal; write a byte to `progress` before each batch."""
    settings = Experiment.model_validate_json((run.path / "settings.json").read_text())
    trainer.SAVE_INTERVAL_S = options.pop("save_interval_s")
    with catch_stop_signals() as stop:

        def should_stop() -> bool:
            os.write(progress, b".")
            return stop()

        try:
            fit(settings, FeatureSet.open(features), run, should_stop=should_stop, **options)
        except Stopped:
            return STOPPED
    return 0


def train_and_kill(features: Path, folder: Path, options: dict[str, Any]) -> None:
    """Restart until the run is finished; kills.json lists each signal and exit status."""
    with tempfile.TemporaryDirectory() as warm_up:  # what torch loads at its first update
        run = RunFolder(Path(warm_up))
        fit(make_experiment(train={"epochs": 1}), FeatureSet.open(features), run)
    run, draw, kills = RunFolder(folder), random.Random(str(options)), []
    while not run.finished:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os._exit(train(features, run, options, writing))
        os.close(writing)
        if len(kills) < KILLS:
            batches = draw.randint(1, 3)
            while batches and os.read(reading, 1):
                batches -= 1
            time.sleep(0.02 * draw.random())  # in an update, in a save, in an evaluation
            kills.append(draw.choice(SIGNALS))
            os.kill(child, getattr(signal, kills[-1]))
        _, status = os.waitpid(child, 0)
        kills[-1:] = [f"{kills[-1]} {os.waitstatus_to_exitcode(status)}"]
        os.close(reading)
    (folder / "kills.json").write_text(json.dumps(kills))


if __name__ == "__main__":
    train_and_kill(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
