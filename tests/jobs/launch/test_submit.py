"""Submission to SLURM: which arrays sbatch gets, what waits for what, and what the ledger says."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from jobs.commands import parser
from jobs.exit_codes import INTERRUPTED
from jobs.launch import submit
from jobs.launch.submit import slurm_arrays, without_exclusion
from jobs.node.task_file import FeatureTask, ReportTask, Run, RunTask, Slice
from jobs.profile import SlurmProfile
from jobs.profile_fields import FeatureJobs
from jobs.slurm.resources import ResourceOverride
from jobs.sweep.folder import SweepFolder
from jobs.sweep.plan import JobArray, Plan
from jobs.sweep.record import load_record
from pipeline.files import InputError
from pipeline.runs.folder import Failure

REPOSITORY = Path(__file__).parents[3]
SITE = "scheduler: slurm\nmax_submit: 10\nmax_running: 5\nmax_array_size: 9\nmax_minutes: 240\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


@pytest.fixture(autouse=True)
def login_node(fake_slurm, monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    fake_slurm("squeue")
    fake_slurm("srun")
    fake_slurm("sbatch", "Submitted batch job 42\n")
    fake_slurm("scancel")


def sweep(project, site: Path) -> int:
    words = ["sweep", project.sweep_file, "--work", project.work, "--cluster", site]
    return parser.main([str(word) for word in words])


def test_arrays_come_in_the_order_features_runs_report_with_what_each_requests(tmp_path):
    profile = SlurmProfile(
        scheduler="slurm",
        cpus=4,
        gpus=1,
        memory_gb=8,
        minutes=30,
        runs_per_gpu=2,
        features=FeatureJobs(cpus=3, memory_gb=2, minutes=20, partition="cpu"),
        report_memory_gb=6,
        report_minutes=10,
    )
    plan = Plan(
        features=(
            JobArray(((Slice("m", 0, ("mel",)),),), 3, override=ResourceOverride(4.0, ("node1",))),
        ),
        runs=(
            JobArray(((Run("a", "mel"), Run("b", "mel")), (Run("c", "mel"),)), 2, 45),
            JobArray(((Run("d", "mel"),),), 1, override=ResourceOverride(16.0, ("node2",))),
        ),
        report=True,
    )
    arrays = list(slurm_arrays(plan, profile, SweepFolder(tmp_path, "s"), ("make report",)))
    assert [array.kind for array in arrays] == ["features", "runs", "runs", "report"]
    assert [array.run_ids for array in arrays] == [[], ["a", "b", "c"], ["d"], []]
    assert [array.throttle for array in arrays] == [3, 2, 1, None]
    assert [(array.memory_gb, array.exclude) for array in arrays] == [
        (4.0, ("node1",)),
        (8.0, ()),
        (16.0, ("node2",)),
        (6.0, ()),
    ]
    requested = [array.job_parameters for array in arrays]
    assert [each["mem"] for each in requested] == ["4096MB", "8192MB", "16384MB", "6144MB"]
    assert [each["time"] for each in requested] == [20, 45, 30, 10]
    assert [each["cpus_per_task"] for each in requested] == [3, 4, 4, 1]
    assert [each["partition"] for each in requested] == ["cpu", None, None, "cpu"]
    assert [each.get("exclude") for each in requested] == ["node1", None, "node2", None]
    features, runs, _, report = (array.tasks[0] for array in arrays)
    assert isinstance(features, FeatureTask)
    assert features.verify
    assert isinstance(runs, RunTask)
    assert (runs.threads, runs.at_once) == (2, 2)
    assert isinstance(report, ReportTask)
    assert (report.sweep, report.commands) == ("s", ("make report",))


def test_runs_start_after_features_and_the_report_after_runs(
    make_project, site, fake_slurm, tmp_path, capsys
):
    project = make_project("csv")
    number = tmp_path / "number"
    script = tmp_path / "bin" / "sbatch"
    script.write_text(  # job 1, then 2, then 3
        f"#!/bin/sh\necho x >> {number}\n"
        f'n=0; while read -r line; do n=$((n+1)); done < {number}\necho "Submitted batch job $n"\n'
    )
    assert sweep(project, site) == 1  # one recording is refused
    jobs = project.sweep_folder.jobs
    after = [
        [
            line
            for line in (jobs / f"{n}_submission.sh").read_text().splitlines()
            if "afterany" in line
        ]
        for n in (1, 2, 3)
    ]
    assert after == [
        [],
        ["#SBATCH --dependency=afterany:1"],
        ["#SBATCH --dependency=afterany:2"],
    ]
    entries = project.sweep_folder.ledger.entries()
    assert [(entry.kind, entry.job) for entry in entries] == [
        ("features", "1"),
        ("runs", "2_0"),
        ("runs", "2_1"),
        ("report", "3"),
    ]
    assert [entry.memory_gb for entry in entries] == [4.0, 16.0, 16.0, 4.0]
    printed = capsys.readouterr().out
    assert "submitted features: job 1, 1 task\n" in printed
    assert "submitted runs: job 2, 2 tasks, after job 1\n" in printed
    assert "submitted the report: job 3, 1 task, after job 2\n" in printed
    assert f"make status SWEEP={project.sweep_file} CLUSTER={site}" in printed


def test_nodes_without_which_no_job_can_run_are_used_again(
    make_project, site, fake_slurm, tmp_path, capsys
):
    project = make_project("csv")
    fake_slurm("sinfo")  # does not say which nodes are up
    assert sweep(project, site) == 1
    record = load_record(project.sweep_folder)
    failures = dict(zip([run.run_id for run in record.runs], ("node1", "node2"), strict=True))
    for run_id, node in failures.items():
        project.sweep_folder.run(run_id).write_failure(
            Failure(cause="node failure", message=node, node=node)
        )
    script = tmp_path / "bin" / "sbatch"
    script.write_text(  # one node is enough for no job, as in a partition of two of other types
        "#!/bin/sh\nwhile read -r line; do case $line in *--exclude*)\n"
        'echo "sbatch: error: Batch job submission failed: Requested node configuration is not '
        'available" >&2; exit 1;; esac; done < "$1"\necho Submitted batch job 43\n'
    )
    before = len(project.sweep_folder.ledger.entries())
    capsys.readouterr()
    assert sweep(project, site) == 1
    again = [e for e in project.sweep_folder.ledger.entries()[before:] if e.kind == "runs"]
    assert sorted(item for entry in again for item in entry.items) == sorted(failures)
    assert {entry.exclude for entry in again} == {()}
    assert "no node is left without node1: they are used again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "kept"), [({}, None), ({"exclude": "node[1-2],node9"}, "node[1-2],node9")]
)
def test_nodes_that_the_profile_excludes_stay_excluded(tmp_path, options, kept):
    profile = SlurmProfile(scheduler="slurm", sbatch=options)
    failed = ResourceOverride(exclude=("node3", "node4"))
    plan = Plan(runs=(JobArray(((Run("a", "mel"),),), 1, override=failed),))
    (array,) = slurm_arrays(plan, profile, SweepFolder(tmp_path, "s"), ())
    assert array.job_parameters["exclude"] == ",".join(filter(None, [kept, "node3,node4"]))
    again = without_exclusion(array)
    assert (again.job_parameters.get("exclude"), again.exclude) == (kept, ())


def test_features_that_another_command_finishes_meanwhile_are_not_submitted(
    make_project, site, run_tasks_in_process, monkeypatch
):
    project, lock = make_project("csv"), submit.submission_lock

    @contextmanager
    def lock_after_features(folder: SweepFolder) -> Iterator[None]:
        words = ["features", "--sweep", project.sweep_file, "--work", project.work]
        parser.main([str(word) for word in words])
        with lock(folder):
            yield

    monkeypatch.setattr(submit, "submission_lock", lock_after_features)
    assert sweep(project, site) == 1
    entries = project.sweep_folder.ledger.entries()
    submitted = [entry.kind for entry in entries if entry.scheduler == "slurm"]
    assert submitted == ["runs", "runs", "report"]


def test_an_interruption_between_arrays_leaves_the_submitted_ones_in_the_ledger(
    make_project, site, monkeypatch
):
    project = make_project("csv")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "time", SimpleNamespace(sleep=interrupt))
    assert sweep(project, site) == INTERRUPTED
    (entry,) = project.sweep_folder.ledger.entries()
    assert (entry.kind, entry.job) == ("features", "42")


def test_a_job_that_cannot_be_written_into_the_ledger_is_cancelled(
    make_project, site, fake_slurm, monkeypatch
):
    project = make_project("csv")
    cancelled = fake_slurm("scancel")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("jobs.sweep.ledger.Ledger.append", fail)
    assert sweep(project, site) == 2
    assert cancelled.read_text().split() == ["42"]


def test_the_ledger_says_why_the_last_attempt_of_a_run_failed(make_project, site, fake_slurm):
    project = make_project("csv")
    assert sweep(project, site) == 1
    record = load_record(project.sweep_folder)
    first = record.runs[0].run_id
    run = project.sweep_folder.run(first)
    run.write_failure(Failure(cause="node failure", message="node7", job="42_0"))
    assert sweep(project, site) == 1
    assert run.failure() is None
    causes = {
        item: cause
        for entry in project.sweep_folder.ledger.entries()
        for item, cause in zip(entry.items, entry.causes, strict=True)
    }
    assert causes[first] == "node failure"


def test_a_sweep_that_was_refused_leaves_no_folder_and_a_recorded_one_stays(tmp_path):
    refused, recorded = SweepFolder(tmp_path, "refused"), SweepFolder(tmp_path, "recorded")
    recorded.path.mkdir(parents=True)
    recorded.record_file.write_text("{}")
    for folder in (refused, recorded):
        with pytest.raises(InputError, match="no such corpus"), submit.submission_lock(folder):
            raise InputError("no such corpus")
    assert not refused.path.exists()
    assert recorded.record_file.exists()


def test_the_way_from_the_command_to_sbatch_is_as_contributing_says(make_project, site):
    """Each of its modules is called by at most two functions of other modules."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    section = text.split("## The way of `make sweep`")[1].split("\n## ")[0]
    way = re.findall(r"^\d+\. `(jobs/\S+)`", section, re.MULTILINE)
    assert len(way) == 10
    callers: dict[str, set[str]] = {}
    project = make_project("csv")

    def notice(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename.removeprefix(f"{REPOSITORY}/")
        if event != "call" or path not in way or frame.f_code.co_name.startswith("<"):
            return  # also an import, or an expression that the caller was given
        caller = frame.f_back
        while caller and not caller.f_code.co_filename.startswith(f"{REPOSITORY}/jobs/"):
            caller = caller.f_back
        if caller:
            code = caller.f_code
            if (source := code.co_filename.removeprefix(f"{REPOSITORY}/")) != path:
                name = code.co_qualname.split(".<locals>")[0]
                callers.setdefault(path, set()).add(f"{source}:{name}")

    sys.setprofile(notice)
    try:
        sweep(project, site)
    finally:
        sys.setprofile(None)
    assert set(callers) == set(way)
    assert {path: names for path, names in callers.items() if len(names) > 2} == {}


@pytest.mark.parametrize("name", ["50%j", "lr=0\\=0"])
def test_a_folder_whose_name_slurm_would_change_is_refused(tmp_path, name):
    folder = SweepFolder(tmp_path, name)
    with pytest.raises(InputError, match=r"SLURM replaces . in the names of output files"):
        submit.make_submission(SlurmProfile(scheduler="slurm"), folder, tmp_path)
