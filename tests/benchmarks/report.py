"""Report: the tables and the page of a sweep with a thousand runs: seconds and memory.

In:   nothing; the run folders are made up.   Out: the group report and Blankslate's jobs.
Not here: training (training.py), the error rates of the statistics.
"""

import json
import math
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from pipeline.results.summary.row_table import write_columns
from pipeline.results.summary.run_summary import SweepRun, read_runs
from pipeline.results.tables.write import write_results
from pipeline.runs.folder import Heartbeat, Hypothesis, RunFolder
from pipeline.runs.rows import Row
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import Case, CaseGroup
from tests.results.examples import NOW, RunScenario, make_hypotheses, make_row, make_run, sum_counts

RUNS, SEEDS = 1000, 4
EPOCHS = 150  # train and dev rows, as many as 100 epochs of three splits
UTTERANCES = {"dev": 100, "test": 130}  # as AN4
TEMPLATES = 25  # trainings whose numbers the runs vary
# Columns of rows that do not depend on how a network is trained.
SAME_COLUMNS = {
    *("epoch", "updates", "reference_loss", "chars", "words", "utterances", "infeasible"),
    *("learning_rate", "learning_rate_sum", "frames", "largest_z", "skipped_updates"),
}
MEGABYTES = "MB"
SWEEP_FILE = "sweep.json"


def report_groups(thin: int = 1) -> Iterator[CaseGroup]:
    """Make the group; `thin` 8: of an eighth of the runs."""
    runs = RUNS // thin
    cases = [
        Case(name, "report:write_from_many_runs", {"what": what, "runs": runs}, amount=1)
        for name, what in (("results.csv", "table"), ("the whole report", "report"))
    ]
    yield CaseGroup(
        title=f"{runs} runs of {2 * EPOCHS + 1} rows, {sum(UTTERANCES.values())} hypotheses each",
        unit="sweep",
        cases=cases,
        targets=[
            BenchmarkTarget(["results.csv"], at_most=5),
            BenchmarkTarget(["the whole report"], at_most=15),
            BenchmarkTarget(["the whole report"], at_most=500, quantity=MEGABYTES),
        ],
        warm_up=False,
    )


def write_from_many_runs(scratch: Path, *, what: str, runs: int) -> BenchmarkJob:
    """Time a fresh process, with its imports; its peak memory is its own."""
    make_large_sweep(scratch / "runs", runs)

    def job(folder: Path) -> dict[str, float]:
        command = [sys.executable, "-m", "tests.benchmarks.report"]
        done = subprocess.run(
            [*command, str(scratch / "runs"), str(folder), what],
            capture_output=True,
            check=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # as every verb has it
        )
        return {MEGABYTES: json.loads(done.stdout)}

    return job


def make_large_sweep(
    folder: Path, runs: int = RUNS, seeds: int = SEEDS, epochs: int = EPOCHS
) -> list[SweepRun]:
    """Write `runs` finished runs of arms with `seeds` seeds each: a random search."""
    templates = [_make_template(number, epochs) for number in range(TEMPLATES)]
    made = [
        _make_run(folder, number, seeds, *templates[number % TEMPLATES]) for number in range(runs)
    ]
    lines = [
        {"label": run.label, "settings": run.settings, "run_id": run.folder.run_id} for run in made
    ]
    (folder / SWEEP_FILE).write_text(json.dumps(lines), encoding="utf-8")
    return made


def _make_template(number: int, epochs: int) -> tuple[list[Row], list[Hypothesis]]:
    rng = random.Random(number)
    never = number % 5 == 4
    scenario = RunScenario(
        escape_updates=math.inf if never else rng.uniform(200, 2000),
        final_dev_cer=rng.uniform(0.05, 0.3),
        epochs=epochs,
        seed=number,
    )
    end = 1.0 if never else scenario.final_dev_cer
    found = {
        split: make_hypotheses(split, replace(scenario, utterances=count), end)
        for split, count in UTTERANCES.items()
    }
    scores = {split: sum_counts(hypotheses) for split, hypotheses in found.items()}
    rows = [
        make_row("", split, epoch, scenario, scores["dev"])
        for epoch in range(1, epochs + 1)
        for split in ("train", "dev")
    ]
    rows.append(make_row("", "test", epochs, scenario, scores["test"]))
    return rows, [*found["dev"], *found["test"]]


def _make_run(
    folder: Path, number: int, seeds: int, rows: list[Row], hypotheses: list[Hypothesis]
) -> SweepRun:
    """Write a run like the template, with other measurements."""
    rng = random.Random(number)
    settings = {
        "train.learning_rate": round(10 ** random.Random(number // seeds).uniform(-4, -2), 7),
        "model.hidden": 32 * (1 + number // seeds % 16),
        "train.seed": number % seeds,
    }
    names = [key.split(".")[1].replace("_", " ") for key in settings]
    label = ", ".join(
        f"{name} {value}" for name, value in zip(names, settings.values(), strict=True)
    )
    run = make_run(folder / f"{number:012x}", label, settings, state="waiting")
    factor = math.exp(rng.gauss(0, 0.01))
    run.folder.restore_rows([_vary_row(row, run.folder.run_id, factor) for row in rows])
    run.folder.write_environment({"python": "3.11.2", "torch": "2.11.0+cpu", "device": "cpu"})
    run.folder.write_heartbeat(Heartbeat(epoch=rows[-1]["epoch"], host="node-7", pid=7, time=NOW))
    run.folder.finish(hypotheses)
    write_columns(run.folder)  # as a job does
    return run


def _vary_row(row: Row, run_id: str, factor: float) -> Row:
    """Return a row that shares with the rows of other runs what it would share in a sweep."""
    varied = {
        name: type(value)(value * factor)
        for name, value in row.items()
        if name not in SAME_COLUMNS and isinstance(value, int | float) and math.isfinite(value)
    }
    return cast("Row", {**row, **varied, "run_id": run_id})


def write_report_of(runs: Path, folder: Path, what: str) -> float:
    """Write results.csv, or the whole report; return the peak memory of this process, in MB."""
    sweep = [
        SweepRun(settings["label"], settings["settings"], RunFolder(runs / settings["run_id"]))
        for settings in json.loads((runs / SWEEP_FILE).read_text(encoding="utf-8"))
    ]
    if what == "table":
        write_results(folder, read_runs(sweep, NOW, defer_hypotheses=True), None)
    else:
        # The page needs matplotlib, which takes half a second; results.csv does not.
        from pipeline.results.report import write_report_folder

        write_report_folder(
            "large", "", sweep, folder, remedies={}, commands=["make report"], refused=[], now=NOW
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(write_report_of(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
