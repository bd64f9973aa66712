"""SLURM's commands: one call for many jobs, and an output that may hold other lines."""

from typing import Any

import pytest

from jobs.slurm import client
from jobs.slurm.client import QueuedJob, SchedulerError
from tests.jobs.conftest import FakeClock

SQUEUE = """\
welcome to the cluster
12_0|RUNNING|None|main|lab|normal|1700000000|a comment|with a bar
12_1|PENDING|Resources|main|lab|normal|N/A|(null)
13|PENDING|DependencyNeverSatisfied|main|lab|normal|N/A|(null)
14|SUSPENDED|None|main|lab|normal|N/A|(null)
"""


def test_the_queue_is_read_task_by_task_and_other_lines_are_ignored(fake_slurm):
    calls = fake_slurm("squeue", SQUEUE)
    queue = client.squeue()
    place = ("main", "lab", "normal")
    assert queue["12_0"] == QueuedJob("12_0", "RUNNING", "", *place, "a comment|with a bar", 1.7e9)
    assert queue["12_1"] == QueuedJob("12_1", "PENDING", "Resources", *place, "(null)")
    assert [job.id for job in queue.values() if job.dependency_failed] == ["13"]
    assert [job.id for job in queue.values() if job.is_pending] == ["12_1", "13"]
    assert calls.read_text().count("\n") == 1
    assert "--array" in calls.read_text()


def test_only_an_unreachable_scheduler_is_said_to_be_down(fake_slurm):
    fake_slurm("squeue", complains="squeue: unrecognized option '--x'", code=1)
    with pytest.raises(SchedulerError, match=r"unrecognized option '--x'$"):
        client.squeue()
    calls = fake_slurm("squeue")
    client.squeue()
    client.squeue(users={"b", "a"})
    own, others = calls.read_text().splitlines()[-2:]
    assert "--me" not in own  # SLURM before 20.02 has no such option
    assert "--user=" in own
    assert "--user=a,b" in others


def test_a_missing_command_is_an_error_that_says_where_to_type_it(fake_slurm):
    with pytest.raises(SchedulerError, match=r"squeue is not on PATH: type this on a login node"):
        client.squeue()


def test_an_unreachable_controller_is_quoted_in_one_line(fake_slurm):
    fake_slurm(
        "squeue",
        complains="slurm_load_jobs error: Unable to contact slurm controller\n(connect failure)",
        code=1,
    )
    with pytest.raises(SchedulerError) as refusal:
        client.squeue()
    assert "Unable to contact slurm controller (connect failure)" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "message",
    ["Unable to contact slurm controller (connect failure)", "Connection reset by peer"],
)
def test_a_busy_scheduler_is_retried_only_where_that_is_requested(fake_slurm, message):
    calls = fake_slurm("squeue", complains=f"slurm_load_jobs error: {message}", code=1)
    with pytest.raises(SchedulerError):
        client.squeue()
    assert calls.read_text().count("\n") == 1
    with pytest.raises(SchedulerError):
        client.squeue(retry=True)
    assert calls.read_text().count("\n") == 4
    fake_slurm("squeue", complains="Invalid user: x", code=1)
    with pytest.raises(SchedulerError):
        client.squeue(retry=True)
    assert calls.read_text().count("\n") == 5


def test_retries_print_one_line_and_end_after_the_time_limit(fake_slurm, monkeypatch, capsys):
    line = "squeue: SLURM does not answer; trying again for 15 s\n"
    calls = fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    with pytest.raises(SchedulerError):
        client.squeue(retry=True)
    assert capsys.readouterr().out == line  # once
    clock = FakeClock()
    monkeypatch.setattr(client, "time", clock)
    run_once = client._run_once

    def run_slowly(*words: Any) -> str:
        clock.sleep(8)
        return run_once(*words)

    monkeypatch.setattr(client, "_run_once", run_slowly)
    calls.unlink()
    with pytest.raises(SchedulerError):
        client.squeue(retry=True)
    assert calls.read_text().count("\n") == 2
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "JobId=7 JobState=RUNNING PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=None",
            "",
        ),
        ("JobId=7 JobState=RUNNING PreemptTime=2026-01-01T00:00:00 Partition=main", "preemption"),
        ("JobId=7 JobState=COMPLETING Reason=TimeLimit PreemptTime=None", "timeout"),
        ("JobId=7 JobState=COMPLETING Reason=None PreemptTime=None", ""),  # a person cancelled it
    ],
)
def test_the_reason_why_a_job_ends_is_read_from_scontrol(fake_slurm, monkeypatch, output, expected):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    calls = fake_slurm("scontrol", output)
    assert client.termination_reason() == expected
    assert calls.read_text().split()[-1] == "7"
    fake_slurm("scontrol", complains="Invalid job id specified", code=1)
    assert not client.termination_reason()


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, ""),
        ({"JOB_ID": "14"}, "14"),
        ({"JOB_ID": "14", "ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "0"}, "12_0"),
    ],
)
def test_the_id_of_the_current_job_is_written_as_squeue_prints_it(monkeypatch, variables, job):
    for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert client.current_job_id() == job


def test_squeue_and_sacct_filters_of_the_user_hide_no_job(fake_slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("SQUEUE_PARTITION", "ai")
    monkeypatch.setenv("SACCT_STATE", "FAILED")
    fake_slurm("squeue")
    (tmp_path / "bin" / "squeue").write_text(
        '#!/bin/sh\necho "12|RUNNING|None|main|lab|normal|N/A|$SQUEUE_PARTITION$SACCT_STATE"\n'
    )
    assert client.squeue()["12"].comment == ""
