"""The cost of runs from measured minutes, and the first run alone, which measures them."""

import re

import pytest

from jobs.commands import parser
from jobs.launch.preview.cost import MeasuredMinutes, cost_line
from jobs.profile import LocalProfile, SlurmProfile

TWO_MINUTES = MeasuredMinutes(2.0, "the median of its finished runs")
FIRST = "make sweep SWEEP=s.yaml FIRST=1"


@pytest.mark.parametrize(
    ("runs_per_gpu", "hours"),
    [(1, "about 4.0 GPU-hours, 8.0 CPU-hours"), (2, "about 2.0 GPU-hours, 4.0 CPU-hours")],
)
def test_the_cost_is_that_of_measured_runs_however_often_their_jobs_are_requeued(
    runs_per_gpu, hours
):
    """60 runs of 2 min are 2 hours; each job has 2 GPUs and 4 CPUs."""
    profile = SlurmProfile(scheduler="slurm", cpus=4, gpus=2, minutes=30, runs_per_gpu=runs_per_gpu)
    assert cost_line(60, profile, TWO_MINUTES, FIRST) == (
        f"cost: {hours}: 60 runs x 2 min 00 s, the median of its finished runs"
    )


def test_on_this_machine_the_cost_is_the_time_of_one_slot():
    assert cost_line(3, LocalProfile(), TWO_MINUTES, FIRST) == (
        "cost: about 6 min 00 s of one slot: 3 runs x 2 min 00 s, the median of its finished runs"
    )


def test_without_a_measured_run_one_run_tells():
    unknown = "unknown, no run of this or a like sweep is finished"
    assert cost_line(9, LocalProfile(), None, FIRST) == (
        f"cost of 9 runs: {unknown}; one run will tell: {FIRST}"
    )
    assert cost_line(1, LocalProfile(), None, FIRST) == f"cost of 1 run: {unknown}"


def test_the_first_run_alone_tells_what_the_others_cost(make_project, run_tasks_in_process, capsys):
    project = make_project(epochs=1)
    place = ["--work", str(project.work), "--cluster", "cluster/local.yaml"]

    def printed(*words: str, sweep=project.sweep_file) -> str:
        assert parser.main(["sweep", str(sweep), *place, *words]) == 0
        return capsys.readouterr().out

    assert "no run of this or a like sweep is finished; one run will tell" in printed("--dry-run")
    first = printed("--first")
    assert "2 runs: 1 finished, 1 waiting" in first
    assert re.search(r"the first run, \S+, is finished\n", first)
    assert re.search(r"of one slot: 1 run x [\d.]+ s, the median of its finished runs\n", first)
    assert re.search(r"make sweep SWEEP=\S+tiny.yaml WORK=\S+ submits the other run\n", first)
    assert "submits the other run" in printed("--first")  # and trains nothing

    others = project.configs / "sweeps" / "rates.yaml"
    others.write_text(
        "base: ../experiments/tiny.yaml\n"
        "axes: {features.spectrum: [power], train.learning_rate: [0.1, 0.2]}\n"
    )
    assert re.search(
        r"2 runs x [\d.]+ s, the median of finished runs of tiny with the same features, network, "
        r"epochs and batch\n",
        printed("--dry-run", sweep=others),
    )
    assert "unknown, no run" in printed("--dry-run", "--set", "train.epochs=9", sweep=others)

    assert "2 runs: 2 finished" in printed()
    assert "nothing to do: 2 of 2 runs are finished" in printed("--first")
