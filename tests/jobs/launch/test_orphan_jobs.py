"""Orphan jobs: jobs that no ledger knows are cancelled; jobs of others are not touched."""

from types import SimpleNamespace

import pytest

from jobs.launch import orphan_jobs, submit
from jobs.node import folder_lock
from jobs.slurm.client import QueuedJob, sweep_tag
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from pipeline.files import InputError


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    made = SweepFolder(tmp_path, "spectrum")
    made.ledger.append(
        LedgerEntry(time=1.0, scheduler="slurm", job=job, kind="runs", items=(), task="t", code="c")
        for job in ("12_0", "12_1", "13")
    )
    return made


def queue(*jobs: QueuedJob) -> Queue:
    return Queue({job.id: job for job in jobs})


def test_a_job_without_a_line_in_the_ledger_is_cancelled_and_others_are_left(
    folder, fake_slurm, capsys
):
    cancelled = fake_slurm("scancel")
    ours, other = sweep_tag(folder.jobs), sweep_tag(folder.work / "another" / "jobs")
    waits = ("PENDING", "Priority", "main", "lab", "normal")
    left = orphan_jobs.cancel_orphan_jobs(
        folder,
        queue(
            QueuedJob("12_0", *waits, f"{ours}1"),
            QueuedJob("20_0", *waits, f"{ours}2"),
            QueuedJob("20_1", *waits, f"{ours}2"),
            QueuedJob("21", *waits, f"{other}3"),
            QueuedJob("22", *waits, "(null)"),
        ),
    )
    assert cancelled.read_text().split() == ["20_0", "20_1"]
    assert left.jobs.keys() == {"12_0", "21", "22"}
    assert "cancelled job 20 (2 tasks): it was left by a submission" in capsys.readouterr().out


def test_a_job_whose_dependency_failed_is_named_and_cancelled(folder, fake_slurm, capsys):
    cancelled = fake_slurm("scancel")
    left = orphan_jobs.cancel_orphan_jobs(
        folder,
        queue(
            QueuedJob("13", "PENDING", "DependencyNeverSatisfied"),
            QueuedJob("30", "PENDING", "DependencyNeverSatisfied"),  # not of this sweep
            QueuedJob("12_0", "PENDING", "Dependency"),
        ),
    )
    assert cancelled.read_text().split() == ["13"]
    assert left.jobs.keys() == {"12_0", "30"}
    assert "cancelled job 13 (1 task): it waits for a job that can no" in capsys.readouterr().out


def test_no_command_of_slurm_is_run_without_orphans(folder):
    assert orphan_jobs.cancel_orphan_jobs(folder, queue()).jobs == {}


def test_a_batch_job_may_not_submit_jobs_and_a_person_in_a_job_may(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    refusal = pytest.raises(InputError, match=r"inside job 77, .* or set BLANKSLATE_IN_JOB=1")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with refusal, submit.submission_lock(folder):
        pytest.fail("submitted")
    monkeypatch.setenv("BLANKSLATE_IN_JOB", "1")
    submit.refuse_inside_a_job()
    monkeypatch.delenv("BLANKSLATE_IN_JOB")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    submit.refuse_inside_a_job()


def test_two_terminals_do_not_submit_a_sweep_at_once(folder, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(folder_lock, "LOCK_REFRESH_INTERVAL_S", 0.05)
    monkeypatch.setattr(folder_lock, "LOCK_POLL_INTERVAL_S", 0.02)
    refusal = pytest.raises(InputError, match=r"spectrum: process .* submits it now")
    with submit.submission_lock(folder), refusal, submit.submission_lock(folder):
        pytest.fail("submitted twice")


def snapshots(folder: SweepFolder, *names: str) -> None:
    for name in names:
        (folder.code / name / "jobs").mkdir(parents=True)
        (folder.code / f"{name}.patch").touch()


def there(folder: SweepFolder) -> set[str]:
    return {path.name for path in folder.code.iterdir()}


def test_the_code_of_a_finished_sweep_goes_when_no_job_imports_it(folder, fake_slurm):
    snapshots(folder, "c")
    fake_slurm("squeue", "13|RUNNING|None|main|lab|normal|N/A|(null)\n")
    orphan_jobs.remove_unused_files(folder)
    assert there(folder) == {"c", "c.patch"}
    fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    orphan_jobs.remove_unused_files(folder)
    assert there(folder) == {"c", "c.patch"}
    fake_slurm("squeue", "14|RUNNING|None|main|lab|normal|N/A|(null)\n")
    orphan_jobs.remove_unused_files(folder)
    assert there(folder) == {"c.patch"}


def test_a_submission_clears_the_code_of_earlier_ones_that_no_live_job_imports(folder):
    snapshots(folder, "c", "older")
    orphan_jobs.cancel_orphan_jobs(folder, queue(QueuedJob("13", "RUNNING", "")))
    assert there(folder) == {"c", "c.patch", "older.patch"}
    orphan_jobs.cancel_orphan_jobs(folder, queue())
    assert there(folder) == {"c.patch", "older.patch"}


def test_code_stays_while_a_process_runs_its_tasks_on_a_machine(folder):
    snapshots(folder, "here", "older")
    entry = LedgerEntry(
        time=2.0, scheduler="local", job="1", kind="runs", items=(), task="t", code="here"
    )
    folder.ledger.append([entry])
    folder.owner_file.write_text("{}")
    orphan_jobs.cancel_orphan_jobs(folder, queue())
    assert there(folder) == {"here", "here.patch", "older.patch"}
    folder.owner_file.unlink()
    orphan_jobs.cancel_orphan_jobs(folder, queue())
    assert there(folder) == {"here.patch", "older.patch"}


HELD = (
    QueuedJob("12_0", "PENDING", "launch failed requeued held"),
    QueuedJob("13", "PENDING", "JobHoldMaxRequeue"),
    QueuedJob("12_1", "PENDING", "JobHeldUser"),  # by a person, who knows why
    QueuedJob("30", "PENDING", "launch failed requeued held"),  # not of this sweep
)


def test_a_job_held_after_a_failed_launch_is_released_and_stays_in_the_queue(
    folder, fake_slurm, capsys
):
    calls = fake_slurm("scontrol")
    left = orphan_jobs.cancel_orphan_jobs(folder, queue(*HELD))
    assert calls.read_text().split() == ["release", "12_0,13"]
    assert left.jobs.keys() == {job.id for job in HELD}
    assert "released 12_0, 13: held after a failed launch" in capsys.readouterr().out


def test_a_refused_release_is_printed_and_the_rest_goes_on(folder, fake_slurm, capsys):
    fake_slurm("scontrol", complains="Access/permission denied for job 12_0", code=1)
    assert orphan_jobs.cancel_orphan_jobs(folder, queue(*HELD)).jobs.keys() == {
        job.id for job in HELD
    }
    assert "Access/permission denied" in capsys.readouterr().out


def test_files_of_jobs_are_deleted_once_all_their_outputs_exist(folder):
    def entry(job: str, kind: str, *items: str) -> LedgerEntry:
        return LedgerEntry(
            time=2.0, scheduler="slurm", job=job, kind=kind, items=items, task="t", code="c"
        )

    folder.ledger.append(
        [
            entry("31_0", "features", "mel/0"),
            entry("31_1", "features", "mel/1"),
            entry("32_0", "runs", "a"),
            entry("32_1", "runs", "b", "c"),
            entry("33", "report"),
        ]
    )
    folder.jobs.mkdir(parents=True)
    (folder.jobs / "31_submission.sh").touch()
    (folder.jobs / ".submission_file_0a.sh").symlink_to(folder.jobs / "31_submission.sh")
    for job in ("31_0", "31_1", "32_0", "32_1", "33", "99"):
        (folder.jobs / f"{job}_submitted.pkl").touch()
        (folder.jobs / f"{job}_0_log.out").touch()
    features = folder.features("mel")
    features.mkdir(parents=True)

    def left(*queued: str) -> set[str]:
        orphan_jobs.remove_unused_files(folder, queued)
        return {path.name.split("_")[0] for path in folder.jobs.iterdir()}

    assert left() == {"31", "32", "33", "99", ".submission"}
    for index in range(2):
        (features / f"shard-0000{index}-of-00002.h5").touch()
    for name in ("a", "b"):
        folder.run(name).finish([])
    folder.report_file.parent.mkdir(parents=True)
    folder.report_file.touch()
    assert left("31_1", "33") == {"31", "32", "33", "99", ".submission"}
    assert left() == {"32", "99"}  # c is not finished; job 99 is in no ledger
    folder.run("c").finish([])
    assert left() == {"99"}
