"""Run status: from the run's folder first, then from SLURM."""

import cProfile
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.slurm.client import QueuedJob
from jobs.slurm.sacct import JobAttempt
from jobs.sweep import job_queue, run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedFeatures, PlannedRun, SweepRecord
from pipeline.files import write_json
from pipeline.runs.folder import Failure, Heartbeat, RunFolder, Usage
from tests.results.examples import make_run

RUN = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path, "spectrum")


@pytest.fixture
def run(folder: SweepFolder) -> RunFolder:
    return folder.run(RUN)


def sweep_record(*runs: str) -> SweepRecord:
    return SweepRecord(
        name="spectrum",
        question="",
        path="spectrum.yaml",
        digest="",
        runs=tuple(PlannedRun(f"run {name}", {}, name, "mel-0") for name in runs or (RUN,)),
        features=(PlannedFeatures("mel-0", "m.jsonl", 3, 60.0),),
    )


def state(folder: SweepFolder, queue: Queue | None = None) -> run_status.RunStatus:
    (found,) = run_status.run_statuses(sweep_record(), folder, queue or Queue())
    return found


def submitted(folder: SweepFolder, job: str = "12_0", when: float | None = None, **facts) -> None:
    entry = LedgerEntry(
        time=time.time() - 60 if when is None else when,
        scheduler="slurm",
        job=job,
        kind="runs",
        items=(RUN,),
        task="t.json",
        code="c",
        **facts,
    )
    folder.ledger.append([entry])


def make_heartbeat(age: float = 0.0, **facts) -> Heartbeat:
    return Heartbeat(**{"time": time.time() - age, "epoch": 3, "epochs": 40, **facts})


def exited_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_run_without_files_or_jobs_is_waiting(folder):
    assert state(folder).state == "waiting"


def test_a_finished_run_is_finished_whatever_the_queue_says(folder, run):
    run.write_heartbeat(make_heartbeat())
    run.finish([])
    submitted(folder)
    assert state(folder, Queue({"12_0": QueuedJob("12_0", "RUNNING", "None")})).state == "finished"


def test_a_failure_has_its_cause_and_message(folder, run):
    run.write_failure(Failure(cause="disk full", message="no space"))
    found = state(folder)
    assert (found.state, found.cause, found.detail) == ("failed", "disk full", "no space")


def test_a_live_process_on_this_host_is_a_running_run(folder, run):
    run.write_heartbeat(make_heartbeat(pid=os.getpid()))
    assert state(folder).state == "running"


@pytest.mark.parametrize("age", [0.0, 300.0])
def test_a_heartbeat_of_a_dead_process_of_this_host_is_a_stopped_run(folder, run, age):
    run.write_heartbeat(make_heartbeat(age, pid=exited_pid()))
    assert (state(folder).state, state(folder).cause) == ("stopped", "killed")


@pytest.mark.parametrize(("age", "expected"), [(10.0, "running"), (3600.0, "stopped")])
def test_on_another_host_a_heartbeat_counts_while_it_is_fresh(folder, run, age, expected):
    run.write_heartbeat(make_heartbeat(age, host="node7", pid=1))
    assert state(folder).state == expected


def test_a_run_that_saved_and_stopped_is_stopped(folder, run):
    run.write_heartbeat(make_heartbeat(3600.0, status="stopped"))
    assert state(folder).state == "stopped"


def test_a_waiting_job_is_queued_with_its_reason(folder):
    submitted(folder)
    found = state(folder, Queue({"12_0": QueuedJob("12_0", "PENDING", "Priority")}))
    assert (found.state, found.detail, found.job) == (
        "queued",
        "other jobs come first (Priority)",
        "12_0",
    )


def test_a_job_that_never_starts_says_what_to_do(folder):
    submitted(folder)

    def detail(reason: str) -> str:
        return state(folder, Queue({"12_0": QueuedJob("12_0", "PENDING", reason)})).detail

    advice = "; correct the profile, then make cancel and make sweep again"
    assert detail("BadConstraints").endswith(f"(BadConstraints){advice}")
    assert advice not in detail("Priority")
    assert advice not in detail("DependencyNeverSatisfied")


def test_a_waiting_job_says_when_it_may_start(folder):
    submitted(folder)
    soon = time.time() + 60
    job = QueuedJob("12_0", "PENDING", "Resources", starts=soon)
    clock = time.strftime("%H:%M", time.localtime(soon))
    found = state(folder, Queue({"12_0": job}))
    assert found.detail.startswith("starts when resources are free (Resources), starts about ")
    assert found.detail.endswith(clock)
    later = job._replace(starts=soon + 40 * 86400)
    days = time.strftime("%d %b %H:%M", time.localtime(soon + 40 * 86400))
    assert state(folder, Queue({"12_0": later})).detail.endswith(days)


def test_a_running_run_says_what_it_uses(folder, run):
    run.write_heartbeat(make_heartbeat(pid=os.getpid()))
    run.write_usages([Usage(began=0.0, seconds=10.0, cpu_seconds=13.0, gpu_busy=0.5)])
    record = state(folder).to_dict()
    assert (record["cpus_used"], record["gpu_busy"]) == (1.3, 0.5)
    run.finish([])
    assert "cpus_used" not in state(folder).to_dict()


def test_a_run_of_a_running_job_is_queued_until_it_starts(folder, run):
    submitted(folder)
    queue = Queue({"12_0": QueuedJob("12_0", "RUNNING", "None")})
    assert state(folder, queue).state == "queued"
    run.write_heartbeat(make_heartbeat(host="node7"))
    assert state(folder, queue).state == "running"


def test_a_run_without_a_recent_heartbeat_is_running_while_its_job_is(folder, run):
    submitted(folder, when=time.time() - 7200)
    run.write_heartbeat(make_heartbeat(3600.0, host="node7"))
    found = state(folder, Queue({"12_0": QueuedJob("12_0", "RUNNING", "None")}))
    assert found.state == "running"
    assert found.detail.startswith("no heartbeat for 36")


def test_a_heartbeat_of_an_earlier_job_is_ignored(folder, run):
    run.write_heartbeat(make_heartbeat(3600.0, host="node7"))
    submitted(folder)
    queue = Queue({"12_0": QueuedJob("12_0", "RUNNING", "None")})
    assert state(folder, queue).state == "queued"


def test_a_job_that_sacct_lists_as_ended_has_ended_however_fresh_its_heartbeat_is(folder, run):
    submitted(folder)
    run.write_heartbeat(
        make_heartbeat(-100.0, host="node7", job="12_0")
    )  # the clock of the node is ahead
    ended = Queue({}, {"12_0": [JobAttempt("TIMEOUT", ended=time.time())]})
    assert (state(folder, ended).state, state(folder, ended).cause) == ("failed", "timeout")
    for late in (Queue({}, {"12_0": [JobAttempt("RUNNING")]}), Queue({}), Queue(None)):
        assert state(folder, late).state == "running"
    run.write_heartbeat(make_heartbeat(host="node7", job="13_0"))  # another job trains the run now
    assert state(folder, ended).state == "running"


def test_a_run_on_a_node_whose_clock_is_behind_is_running(folder, run):
    submitted(folder)
    run.write_heartbeat(make_heartbeat(180.0, host="node7", job="12_0"))
    queue = Queue({"12_0": QueuedJob("12_0", "RUNNING", "None")})
    assert state(folder, queue).state == "running"
    run.write_heartbeat(
        make_heartbeat(-180.0, host="node7", status="stopped", job="11_0")
    )  # an earlier job
    assert state(folder, queue).state == "queued"


@pytest.mark.parametrize(
    ("slurm", "expected", "cause"),
    [
        ("TIMEOUT", "failed", "timeout"),
        ("OUT_OF_MEMORY", "failed", "out of memory"),
        ("NODE_FAIL", "failed", "node failure"),
        ("CANCELLED by 0", "stopped", "cancelled"),
        ("COMPLETED", "lost", ""),
        ("", "stopped", "cancelled"),  # without an output file: it never started
        ("PENDING", "stopped", "cancelled"),
    ],
)
def test_a_job_that_left_the_queue_is_explained_by_accounting(folder, slurm, expected, cause):
    submitted(folder)
    found = state(folder, Queue({}, {"12_0": [JobAttempt(slurm)]} if slurm else {}))
    assert (found.state, found.cause) == (expected, cause)


def test_a_job_that_started_and_is_gone_from_squeue_and_sacct_is_lost(folder):
    submitted(folder)
    folder.jobs.mkdir(parents=True)
    (folder.jobs / "12_0_0_log.out").write_text("")
    for attempts in ({}, {"12_0": [JobAttempt("PENDING")]}):
        assert state(folder, Queue({}, attempts)).state == "lost"


def test_a_job_that_failed_without_a_failure_file_is_named_with_its_output(folder):
    submitted(folder)
    found = state(folder, Queue({}, {"12_0": [JobAttempt("FAILED", code=1)]}))
    assert (found.state, found.cause) == ("failed", "code error")
    assert str(folder.jobs / "12_0_0_log.out") in found.detail


def test_a_job_over_its_memory_is_found_by_accounting_or_by_its_output(folder):
    submitted(folder, memory_gb=1.0)
    attempt = JobAttempt("FAILED", signal=9, peak_bytes=2**30)
    assert state(folder, Queue({}, {"12_0": [attempt]})).cause == "out of memory"
    assert (
        state(folder, Queue({}, {"12_0": [attempt._replace(peak_bytes=2**29)]})).cause == "killed"
    )
    folder.jobs.mkdir(parents=True)
    output = "x" * 10_000 + "\nslurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0\n"
    (folder.jobs / "12_0_0_log.out").write_text(output)
    assert state(folder, Queue({})).cause == "out of memory"


@pytest.mark.parametrize("slurm_state", ["OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "FAILED"])
def test_in_a_job_of_many_runs_only_the_run_that_had_started_failed(folder, slurm_state):
    names = ("a", "b", "c")
    entry = LedgerEntry(
        time=time.time() - 60, scheduler="slurm", job="12", kind="runs", items=names, task="t",
        code="c",
    )  # fmt: skip
    folder.ledger.append([entry])
    queue = Queue({}, {"12": [JobAttempt(slurm_state, signal=9)]})

    def states() -> list[str]:
        return [each.state for each in run_status.run_statuses(sweep_record(*names), folder, queue)]

    assert states() == ["failed"] * 3  # no run has started
    folder.run("a").write_heartbeat(make_heartbeat(30))
    folder.run("a").finish([])
    folder.run("b").write_heartbeat(make_heartbeat(20, pid=exited_pid()))
    folder.run("c").write_heartbeat(make_heartbeat(90, status="stopped"))  # of an earlier job
    assert states() == ["finished", "failed", "stopped"]
    assert (
        "ended before it started this run"
        in run_status.run_statuses(sweep_record(*names), folder, queue)[2].detail
    )


@pytest.mark.parametrize("code", [75, 76])
def test_a_job_that_saved_but_was_not_requeued_is_no_code_error(folder, run, code):
    submitted(folder)
    run.write_heartbeat(make_heartbeat(status="stopped"))
    found = state(folder, Queue({}, {"12_0": [JobAttempt("FAILED", code=code)]}))
    assert (found.state, found.cause) == ("stopped", "")


def test_a_failed_node_may_be_reported_by_the_run_or_by_slurm(folder, run):
    submitted(folder)
    run.write_failure(Failure(cause="node failure", message="ECC", node="node7"))
    assert state(folder, Queue({}, {"12_0": [JobAttempt("FAILED", code=1)]})).failed_nodes == (
        "node7",
    )
    run.write_failure(Failure(cause="disk full", message="no space", node="node7"))
    assert state(folder, Queue({}, {})).failed_nodes == ()


def test_nodes_that_failed_in_any_attempt_of_the_job_are_reported(folder):
    submitted(folder)
    attempts = [JobAttempt("NODE_FAIL", nodes="node2"), JobAttempt("FAILED", code=1, nodes="node1")]
    found = state(folder, Queue({}, {"12_0": attempts}))
    assert found.failed_nodes == ("node2",)
    found = state(folder, Queue({}, {"12_0": attempts[:1]}))
    assert found.detail == "a node of the job failed: node2"


def test_a_failure_that_slurm_reported_is_stored_in_the_run_folder(folder, run):
    submitted(folder)
    queue = Queue({}, {"12_0": [JobAttempt("TIMEOUT")]})
    run_status.record_scheduler_failures(
        run_status.run_statuses(sweep_record(), folder, queue), folder
    )
    kept = run.failure()
    assert (kept.cause, kept.message) == ("timeout", "the job reached its time limit")
    found = state(folder)
    assert (found.state, found.cause) == ("failed", "timeout")


def test_only_failures_are_stored_and_none_is_overwritten(folder, run):
    submitted(folder)
    for queue in (Queue({}, {"12_0": [JobAttempt("CANCELLED by 0")]}), Queue({}), Queue(None)):
        run_status.record_scheduler_failures(
            run_status.run_statuses(sweep_record(), folder, queue), folder
        )
    assert not run.path.exists()
    run.write_failure(Failure(cause="disk full", message="no space"))
    run_status.record_scheduler_failures(
        run_status.run_statuses(sweep_record(), folder, Queue()), folder
    )
    assert run.failure().cause == "disk full"


def test_an_empty_heartbeat_is_a_stopped_run(folder, run):
    run.path.mkdir(parents=True)
    run.heartbeat_file.write_text("")
    assert state(folder).state == "stopped"


def test_a_finished_run_whose_rows_have_changed_is_a_failed_one(folder, run):
    run.restore_rows([])
    run.finish([])
    assert state(folder).state == "finished"
    run.rows_file.write_text("{}\n")
    found = state(folder)
    assert (found.state, found.cause) == ("failed", "damaged file")
    assert str(run.path) in found.detail


def test_without_an_answer_of_slurm_a_submitted_run_counts_as_queued(folder):
    submitted(folder)
    found = state(folder, Queue(None))
    assert found.state == "queued"
    assert "does not answer" in found.detail


def test_a_run_submitted_again_on_this_machine_is_no_longer_a_lost_job(folder, run):
    submitted(folder)
    (old,) = folder.ledger.entries()
    folder.ledger.append([old._replace(scheduler="local", job="1")])
    assert state(folder).state == "waiting"


def test_slurm_is_queried_once_and_only_if_a_job_matters(folder, fake_slurm):
    squeue, sacct = (
        fake_slurm("squeue", "12_1|RUNNING|None\n"),
        fake_slurm("sacct", "12_0|FAILED|1:0|node1|3|"),
    )
    assert job_queue.try_query_slurm(folder, [RUN]) == Queue()
    assert not squeue.exists()
    submitted(folder, when=1.0)
    queue = job_queue.try_query_slurm(folder, [RUN])
    assert [attempt.state for attempt in queue.attempts_by_job["12_0"]] == ["FAILED"]
    assert [calls.read_text().count("\n") for calls in (squeue, sacct)] == [1, 1]
    assert job_queue.try_query_slurm(folder, []) == Queue()


def test_a_removed_run_that_failed_makes_no_command_query_slurm(folder, run):
    submitted(folder)
    assert job_queue.unfinished_removed_runs(["another"], folder) == [RUN]
    run.write_failure(Failure(cause="divergence", message="the loss is not a number"))
    assert job_queue.unfinished_removed_runs(["another"], folder) == []
    other = sweep_record("another")
    folder.run("another").write_heartbeat(Heartbeat(status="finished"))
    folder.report_file.parent.mkdir(parents=True)
    folder.report_file.touch()
    assert job_queue.unfinished_items(other, folder) == []


def test_an_error_of_squeue_is_part_of_the_result(folder, fake_slurm):
    fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    submitted(folder)
    queue = job_queue.try_query_slurm(folder, [RUN])
    assert queue.jobs is None
    assert "Unable to contact slurm controller" in queue.error_message


def test_a_record_is_json_without_nan(folder, run):
    run.write_heartbeat(make_heartbeat(dev_cer=0.25))
    record = json.loads(json.dumps(state(folder).to_dict(), allow_nan=False))
    assert record["dev_cer"] == 0.25
    assert record["loss_per_character"] is None
    assert record["state"] == "running"


def test_damaged_rows_do_not_hide_the_minutes_of_the_other_runs(tmp_path):
    runs = [make_run(tmp_path / name, name) for name in ("a", "b", "c")]
    folders = [each.folder for each in runs]
    whole = run_status.median_minutes(folders)
    assert whole
    assert whole > 0
    for damage in (b"[]\n", b'{"epoch": 1}\n', b"\xff\xfe\n"):
        folders[1].rows_file.write_bytes(damage)
        assert run_status.median_minutes(folders) == pytest.approx(whole)
    for folder in folders:
        folder.rows_file.write_bytes(b"[]\n")
    assert run_status.median_minutes(folders) is None


def test_the_status_of_many_runs_costs_as_much_per_run_as_that_of_few(folder):
    """Counted in calls: about 290, and 1,590 with the type checks of the tests."""
    names = [f"{index:012x}" for index in range(1000)]
    for name in names:
        folder.run(name).write_heartbeat(make_heartbeat(host="node7"))

    def calls_per_run(count: int) -> float:
        profile = cProfile.Profile()
        found = profile.runcall(
            run_status.run_statuses, sweep_record(*names[:count]), folder, Queue()
        )
        assert {run.state for run in found} == {"running"}
        return sum(each.callcount for each in profile.getstats()) / count

    assert calls_per_run(1000) < min(3000, 1.1 * calls_per_run(100))


def test_a_run_that_another_sweep_submitted_is_queued_there(folder):
    submitted(SweepFolder(folder.work, "seeds"))
    found = state(folder, Queue({"12_0": QueuedJob("12_0", "PENDING", "Priority")}))
    assert (found.state, found.job) == ("queued", "12_0")
    submitted(folder, "13_0", when=time.time())
    assert state(folder, Queue({"13_0": QueuedJob("13_0", "PENDING", "")})).job == "13_0"


def test_a_cancelled_job_counts_as_cancelled_while_it_is_still_in_the_queue(folder):
    """SLURM takes seconds to remove it, and a kept answer of squeue shows it for longer."""
    submitted(folder)
    queue = Queue({"12_0": QueuedJob("12_0", "COMPLETING", "None")})
    assert state(folder, queue).state == "queued"
    write_json(folder.cancellations_file, ["12"])
    found = state(folder, queue)
    assert (found.state, found.cause, found.detail) == (
        "stopped",
        "cancelled",
        "its job is leaving the queue",
    )
    submitted(folder, "13_0")
    again = Queue({"13_0": QueuedJob("13_0", "PENDING", "Priority")})
    assert state(folder, again).state == "queued"


def other_cluster(**facts) -> Queue:
    return Queue({}, {"12_0": [JobAttempt("CANCELLED by 0", ended=2e9)]}, cluster="here", **facts)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"cluster": "there"}, "on cluster there, whose jobs this SLURM does not list"),
        ({"user": "somebody else"}, "of user somebody else, and SLURM does not list it"),
        ({"cluster": "here"}, ""),
    ],
)
def test_a_job_that_this_slurm_may_hide_is_not_submitted_again(folder, facts, expected):
    submitted(folder, **facts)
    queue = other_cluster()
    if "user" in facts:
        queue = replace(queue, attempts_by_job={})
    found = state(folder, queue)
    (entry,) = folder.ledger.entries()
    assert queue.is_live(entry) == bool(expected)
    assert found.state == ("queued" if expected else "stopped")
    assert expected in found.detail


def test_a_job_that_its_user_cancelled_is_not_waited_for(folder):
    submitted(folder, user="somebody else")
    folder.add_cancelled(["12"])
    assert state(folder, Queue(cluster="here")).state == "stopped"


def test_a_process_that_writes_a_minute_after_the_end_of_its_job_is_not_of_that_job(folder, run):
    submitted(folder)
    run.write_heartbeat(make_heartbeat(host="node7", pid=1, job="12_0"))
    for ended, expected in ((time.time(), "stopped"), (time.time() - 90, "running")):
        queue = Queue({}, {"12_0": [JobAttempt("CANCELLED by 0", ended=ended)]})
        assert state(folder, queue).state == expected


def features_submitted(folder: SweepFolder, job: str = "11") -> None:
    entry = LedgerEntry(
        time=0.0,
        scheduler="slurm",
        job=job,
        kind="features",
        items=("mel-0/1",),
        task="f",
        code="c",
    )
    folder.ledger.append([entry])


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Priority", "waits for features, job 11: other jobs come first (Priority)"),
        (
            "PartitionTimeLimit",
            (
                "waits for features, job 11: never starts: minutes is above the partition's limit "
                "(PartitionTimeLimit); correct features: in the profile, then make cancel and make "
                "sweep again"
            ),
        ),
        (
            (
                "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
                "partitions"
            ),
            (
                "waits for features, job 11: its nodes are down, drained or kept for other "
                "partitions: sinfo -R says why (Nodes required for job are DOWN)"
            ),
        ),
    ],
)
def test_a_run_that_waits_for_features_shows_why_these_wait(folder, reason, expected):
    features_submitted(folder)
    submitted(folder)
    jobs = [QueuedJob("11", "PENDING", reason), QueuedJob("12_0", "PENDING", "Dependency")]
    assert state(folder, Queue({job.id: job for job in jobs})).detail == expected


def test_tasks_that_a_full_disk_stopped_early_say_so(folder):
    submitted(folder)
    other = "0123456789ff"
    submitted_other = LedgerEntry(
        time=0.0, scheduler="slurm", job="12_1", kind="runs", items=(other,), task="o", code="c"
    )
    folder.ledger.append([submitted_other])
    ended = {
        "12_0": [JobAttempt("FAILED", code=77, ended=2e9)],
        "12_1": [JobAttempt("CANCELLED by 0", ended=2e9)],
    }
    first, second = run_status.run_statuses(sweep_record(RUN, other), folder, Queue({}, ended))
    assert (first.state, first.cause) == ("failed", "disk full")
    assert (second.state, second.cause) == ("stopped", "disk full")


def test_a_disk_that_is_full_keeps_no_status_from_being_shown(folder, run, monkeypatch):
    submitted(folder)
    (failed,) = run_status.run_statuses(
        sweep_record(), folder, Queue({}, {"12_0": [JobAttempt("TIMEOUT", ended=2e9)]})
    )
    assert failed.state == "failed"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_failure", fail)
    run_status.record_scheduler_failures([failed], folder)


@pytest.mark.parametrize(
    ("slurm_state", "heartbeat", "expected"),
    [
        (
            "COMPLETING",
            make_heartbeat(status="stopped", job="12_0"),
            ("queued", "its job is ending"),
        ),
        (
            "SUSPENDED",
            make_heartbeat(700.0, job="12_0", host="node7"),
            ("running", "its job is suspended"),
        ),
        ("SUSPENDED", None, ("queued", "its job is suspended")),
        ("REQUEUE_HOLD", None, ("queued", "held by a user: scontrol release lets it start")),
    ],
)
def test_a_job_that_ends_is_suspended_or_held_is_shown_so(
    folder, run, slurm_state, heartbeat, expected
):
    submitted(folder)
    if heartbeat:
        run.write_heartbeat(heartbeat)
    found = state(folder, Queue({"12_0": QueuedJob("12_0", slurm_state, "JobHeldUser")}))
    assert found.state == expected[0]
    assert found.detail.startswith(expected[1])
