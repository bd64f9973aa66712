"""DRY=1: what would be submitted, its cost, the limits, and the batch scripts."""

from jobs.launch.preview import dry_run
from jobs.node.task_file import Run, Slice
from jobs.profile import LocalProfile, SlurmProfile
from jobs.slurm.resources import JobPreferences, Limits
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import make_plan


def lines(tmp_path, *, minutes_per_run=None, limits=None, **settings) -> list[str]:
    profile = SlurmProfile(scheduler="slurm", cpus=4, gpus=2, minutes=30, **settings)
    limits = limits or Limits(tasks=10, array=8, running=3, feature_tasks=2, minutes=120)
    plan = make_plan(
        [Slice("corpus.jsonl", index, ("mel-0",)) for index in range(4)],
        [Run(f"r{index}", "mel-0") for index in range(60)],
        limits,
        JobPreferences(minutes=30, report=True),
        minutes_per_run,
    )
    return list(
        dry_run.dry_run_lines(
            plan, profile, limits, SweepFolder(tmp_path / "work", "spectrum"), "the cost"
        )
    )


def test_jobs_hours_and_limits_are_printed_and_nothing_is_written(tmp_path, fake_slurm):
    printed = lines(tmp_path)  # no srun on PATH
    preempted = printed.pop(6)
    assert preempted.startswith("a preempted run receives ")
    assert printed == [
        "features: 4 slices in 2 tasks of at most 2, 3 at once",
        "runs: 60 runs in 7 tasks of at most 9, 3 at once",
        "report: 1 task",
        "the cost",
        "10 jobs in 3 calls of sbatch",
        (
            "limits: 10 of 10 jobs that may be submitted; arrays of 7, 8 allowed; 3 at once; "
            "30 min each, 120 allowed"
        ),
        "srun is not on PATH: the scripts are written on a login node",
    ]
    assert not (tmp_path / "work").exists()


def test_features_alone_are_printed_with_their_own_limit_and_without_gpus(tmp_path):
    profile = SlurmProfile(scheduler="slurm", features={"minutes": 20}, minutes=90)
    plan = make_plan([Slice("corpus.jsonl", 0, ("mel-0",))], [], Limits(minutes=120))
    printed = list(
        dry_run.dry_run_lines(plan, profile, Limits(minutes=120), SweepFolder(tmp_path, "spectrum"))
    )
    assert printed[1] == "1 job in 1 call of sbatch"
    assert printed[2].endswith("20 min each, 120 allowed")


def test_the_scripts_are_those_that_sbatch_would_get(tmp_path, fake_slurm):
    fake_slurm("srun")
    features, runs, report = _scripts("\n".join(lines(tmp_path)))
    assert "#SBATCH --array=0-1%2" in features
    assert "gres" not in features
    assert "#SBATCH --array=0-6%3" in runs
    assert "#SBATCH --gres=gpu:2" in runs
    assert "#SBATCH --dependency=afterany:FEATURES" in runs
    assert "--array" not in report
    assert "#SBATCH --dependency=afterany:RUNS" in report
    assert not (tmp_path / "work").exists()


def _scripts(printed: str) -> list[str]:
    return printed.split("#!/bin/bash")[1:]


def test_more_time_is_requested_if_a_task_needs_it_and_too_long_a_task_is_named(tmp_path):
    assert any("75 min each" in line for line in lines(tmp_path, minutes_per_run=6.6))
    printed = lines(tmp_path, minutes_per_run=20.0)
    assert any("120 min each" in line for line in printed)
    assert any(
        "needs about 180 min, and 120 are allowed: it is requeued" in line for line in printed
    )


def test_the_plan_says_what_a_preempted_run_loses(tmp_path):
    assert "no run is preempted here" in lines(tmp_path, preemption="none")
    (line,) = (each for each in lines(tmp_path, grace_s=120) if "preempted" in each)
    assert " 120 s " in line


def test_a_plan_for_this_machine_has_no_limits(tmp_path):
    plan = make_plan([], [Run("r", "mel-0")], Limits())
    printed = list(
        dry_run.dry_run_lines(
            plan, LocalProfile(), Limits(), SweepFolder(tmp_path, "spectrum"), "the cost"
        )
    )
    assert printed == ["runs: 1 run in 1 task of at most 1", "the cost"]
