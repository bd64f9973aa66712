"""A whole sweep through SLURM: the same rows as on this machine, with the code of the snapshot."""

import csv
import shutil
import time
from pathlib import Path

from jobs.sweep.queue_cache import invalidate_cache

USED = (
    *("cpus_asked", "memory_gib_asked", "cpus_used", "peak_memory_gib"),
    *("queue_seconds", "gpu_hours"),
)


def state_of(bench, name: str) -> list[str]:
    return [run["state"] for run in bench.run_states(name).values()]


def test_a_sweep_in_slurm_has_the_same_rows_as_on_this_machine(
    slurm_project, reference_runs, unreachable_slurm_env
):
    profile = slurm_project.write_profile(gated=True, memory_gb=None, default_memory_per_cpu_gb=4)
    printed = slurm_project.submit_sweep("three", profile=profile)
    features, runs = slurm_project.array_job_ids("three")
    assert [line for line in printed.splitlines() if line.startswith("submitted")] == [
        f"submitted features: job {features}, 2 tasks",
        f"submitted runs: job {runs}, 3 tasks, after job {features}",
    ]
    # The command has returned, although no job can start yet.
    assert state_of(slurm_project, "three") == ["queued"] * 3
    reason = "waits for earlier jobs (Dependency)"
    slurm_project.wait_until(
        lambda: {run["detail"] for run in slurm_project.run_states("three").values()} == {reason}
    )
    submitted = slurm_project.sweep_folder("three").ledger.path.read_bytes()
    assert "nothing to submit" in slurm_project.submit_sweep("three", profile=profile)
    assert slurm_project.sweep_folder("three").ledger.path.read_bytes() == submitted

    slurm_project.gate_file.touch()
    slurm_project.wait_until(
        lambda: any(run.rows() for run in slurm_project.run_folders("three").values())
    )
    shown = slurm_project.run_verb("status", "three", "--once")
    assert (shown.code, shown.errors) == (0, "")
    assert "3 runs: " in shown.out
    assert "/40" in shown.out
    invalidate_cache(slurm_project.sweep_folder("three"))  # so that SLURM is queried
    without_slurm = slurm_project.run_verb(
        "status", "three", "--once", environment=unreachable_slurm_env
    )
    assert (without_slurm.code, without_slurm.errors) == (0, "")
    assert "3 runs: " in without_slurm.out
    report = slurm_project.run_verb("report", "three")
    assert (report.code, report.errors) == (0, "")

    slurm_project.await_jobs()
    assert state_of(slurm_project, "three") == ["finished"] * 3
    reference_runs.assert_same_results(slurm_project.run_folders("three"))
    jobs = {run.heartbeat().job for run in slurm_project.run_folders("three").values()}
    assert jobs == {
        entry.job for entry in slurm_project.ledger_entries("three") if entry.kind == "runs"
    }
    assert "3 runs: 3 finished" in slurm_project.run_verb("status", "three", "--once").out
    assert {e.memory_gb for e in slurm_project.ledger_entries("three") if e.kind == "runs"} == {4}
    assert "test CER " in slurm_project.run_verb("report", "three").out
    summary = slurm_project.work / "reports" / "three" / "summary.csv"
    with summary.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["state"] for line in lines] == ["finished"] * 3
    since = time.time() - slurm_project.ledger_entries("three")[-1].time
    for line in lines:
        used = {name: float(line[name]) for name in USED}
        assert (used["cpus_asked"], used["memory_gib_asked"]) == (1, 4)
        assert used["cpus_used"] > 0
        assert 0 < used["peak_memory_gib"] < 4
        assert 0 < used["gpu_hours"] < since / 3600
        assert 0 < used["queue_seconds"] < since

    assert "nothing to do: 3 of 3 runs are finished" in slurm_project.submit_sweep(
        "three", profile=profile
    )
    assert slurm_project.sweep_folder("three").ledger.path.read_bytes() == submitted


def test_jobs_import_the_code_as_it_was_when_they_were_submitted(
    slurm_project, reference_runs, tmp_path
):
    copy = working_copy(slurm_project.REPOSITORY, tmp_path / "copy")
    seen = tmp_path / "seen"
    modules = ("pipeline/features/precompute.py", "pipeline/training/loop/trainer.py")
    for module in modules:
        with (copy / module).open("a") as file:
            file.write(
                f"\nwith open({str(seen)!r}, 'a') as seen:\n    print(__file__, file=seen)\n"
            )
    slurm_project.submit_sweep("two", profile=slurm_project.write_profile(gated=True), source=copy)
    seen.unlink(missing_ok=True)
    for path in copy.rglob("*.py"):
        path.write_text("raise SystemExit('edited after submission')\n")
    assert "edited after submission" in slurm_project.run_verb("status", "two", source=copy).errors

    slurm_project.gate_file.touch()
    slurm_project.await_jobs()
    reference_runs.assert_same_results(slurm_project.run_folders("two"))
    (code,) = (each for each in slurm_project.sweep_folder("two").code.iterdir() if each.is_dir())
    imported = {Path(line).relative_to(code).as_posix() for line in seen.read_text().splitlines()}
    assert imported == set(modules)


def working_copy(repository: Path, folder: Path) -> Path:
    for package in ("pipeline", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / package, folder / package, ignore=ignored)
    return folder


def test_the_first_run_goes_alone_and_the_plan_says_when_slurm_expects_a_start(slurm_project):
    profile = slurm_project.write_profile(gated=True)
    sweep = slurm_project.folder / "configs/sweeps/two.yaml"
    planned = slurm_project.run_verb("sweep", sweep, "--dry-run", profile=profile)
    assert (planned.code, planned.errors) == (0, "")
    assert "one run will tell: make sweep SWEEP=" in planned.out
    starts = [line for line in planned.out.splitlines() if line.startswith("start of ")]
    assert starts
    assert all(": SLURM expects it " in line for line in starts)

    for _ in range(2):  # the second time nothing is submitted
        answer = slurm_project.run_verb("sweep", sweep, "--first", profile=profile)
        assert (answer.code, answer.errors) == (0, "")
        assert "when the first run, mel, is finished: make sweep SWEEP=" in answer.out
    mel, power = slurm_project.planned_runs("two").values()
    items = [entry.items for entry in slurm_project.ledger_entries("two") if entry.kind == "runs"]
    assert items == [(mel.run_id,)]
    slurm_project.submit_sweep("two", profile=profile)
    items = [entry.items for entry in slurm_project.ledger_entries("two") if entry.kind == "runs"]
    assert items == [(mel.run_id,), (power.run_id,)]
