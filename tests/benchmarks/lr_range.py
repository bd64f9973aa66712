"""Learning rates: what `make lr-range` suggests for several recipes, beside real trainings.

In:   AN4.   Out: a line per recipe: the suggested rate, the dev loss of a training at each rate.
Not here: the test (pipeline/training/diagnosis/lr_range_test.py).

Each recipe changes the baseline. The trainings have EPOCHS epochs, nearly twice as many updates as
those of the test, and one seed.
"""

import os
import subprocess
import sys
import tempfile
import time
from csv import DictReader
from pathlib import Path

from rich.console import Console

from pipeline.runs.folder import RunFolder
from pipeline.runs.health.lr_range import LRRangeResult, ShortTraining
from pipeline.runs.rows import rows_of_split
from tests.benchmarks.measure import ONE_THREAD, REPOSITORY

EXPERIMENT = "configs/experiments/baseline.yaml"
EPOCHS = 10
ADAM_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SGD_RATES = (3e-2, 1e-1, 3e-1, 1.0, 3.0)
RECIPES: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "sgd": ("train.optimiser=sgd",),
    "no batch norm": ("model.batch_norm=none",),
    "adam without warm-up": ("train.optimiser=adam", "train.warmup_updates=0"),
    "no normalisation of the input": ("input.normalisation=none",),
    "batch 4": ("train.batch=4",),
    "layer norm": ("model.batch_norm=none", "model.layer_norm=true"),
    "hidden 256": ("model.hidden=256",),
}


def measure_learning_rates(console: Console) -> dict[str, object]:
    """Test each recipe, and train it at each rate in a folder that is removed afterwards."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="blankslate-lr-range-") as folder:
        for name, changes in RECIPES.items():
            began = time.monotonic()
            result = suggest(changes, Path(folder))
            seconds, suggestion = time.monotonic() - began, result.suggestion
            rates = SGD_RATES if name == "sgd" else ADAM_RATES
            losses = {rate: train(changes, rate, Path(folder)) for rate in rates}
            best = min(losses, key=lambda rate: losses[rate])
            found[name] = {"suggestion": suggestion, "losses": losses, "seconds": seconds}
            listed = ", ".join(f"{rate:g}: {loss:.2f}" for rate, loss in losses.items())
            console.print(
                f"{name}: suggested {suggestion:g} by {result.best.updates} updates, "
                f"{seconds:.0f} s; "
                f"best of {EPOCHS} epochs {best:g}; dev losses {listed}"
            )
    return found


def suggest(changes: tuple[str, ...], work: Path) -> LRRangeResult:
    """Return what the test found."""
    _run("lr-range", changes, work)
    (table,) = work.glob("reports/*/lr-range.csv")
    with table.open(encoding="utf-8") as file:
        lines = [{name: float(value) for name, value in each.items()} for each in DictReader(file)]
    table.unlink()
    return LRRangeResult(
        tuple(ShortTraining(**{**line, "updates": int(line["updates"])}) for line in lines)
    )


def train(changes: tuple[str, ...], rate: float, work: Path) -> float:
    """Return the last dev loss of a training, in nats per character."""
    before = set(work.glob("runs/*"))
    settings = (*changes, f"train.epochs={EPOCHS}", f"train.learning_rate={rate}")
    _run("train", settings, work)
    (run,) = set(work.glob("runs/*")) - before
    *_, last = rows_of_split(RunFolder(run).rows(), "dev")
    return float(last["loss_per_character"])


def _run(verb: str, changes: tuple[str, ...], work: Path) -> None:
    words = [sys.executable, "-m", "jobs", verb, EXPERIMENT, "--work", str(work)]
    words += [word for change in changes for word in ("--set", change)]
    environment = os.environ | ONE_THREAD
    subprocess.run(words, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, env=environment)
