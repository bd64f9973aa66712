"""Usage: what is recorded for a process and its children equals what they really used."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.node import usage
from jobs.node.usage import Allocation, UsageMonitor
from pipeline.runs.folder import RunFolder, Usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")

BURN = "import time\nx = b'1' * 200_000_000\nwhile time.process_time() < 1.2: pass\n"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "a1")
    folder.path.mkdir()
    return folder


def test_the_cpu_time_and_memory_of_a_child_count_while_it_runs_and_afterwards(run, monkeypatch):
    monkeypatch.setattr(usage, "USAGE_SAMPLE_INTERVAL_S", 0.05)
    monkeypatch.setattr(usage, "USAGE_WRITE_INTERVAL_S", 0.05)
    own = time.process_time()
    with UsageMonitor(run, Allocation(4, 8.0, 1, 12.5)):
        with subprocess.Popen([sys.executable, "-c", BURN]) as child:
            while not (recorded := run.usages()) or recorded[-1].cpu_seconds < 0.6:
                assert child.poll() is None
                time.sleep(0.02)
        own = time.process_time() - own
    (used,) = run.usages()
    assert 1.2 <= used.cpu_seconds <= 1.2 + own + 0.5
    assert used.peak_bytes > 200_000_000
    assert (used.cpus, used.memory_gb, used.gpus, used.waited) == (4, 8.0, 1, 12.5)
    assert math.isnan(used.gpu_busy)


def test_each_process_adds_its_record(run):
    for cpus in (1, 2):
        with UsageMonitor(run, Allocation(cpus)):
            pass
    assert [used.cpus for used in run.usages()] == [1, 2]


def test_a_folder_that_cannot_be_written_does_not_end_the_run(run):
    with UsageMonitor(run, Allocation(1)):
        run.path.rmdir()
        run.path.write_text("a file")


def test_the_allocation_is_read_from_the_environment_of_the_job(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "CUDA_"))]:
        monkeypatch.delenv(name)
    allocation = Allocation.from_environment(2, 100.0)
    assert (allocation.cpus, allocation.memory_gb, allocation.gpus, allocation.waited) == (
        2,
        None,
        0,
        100.0,
    )
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "16384")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    # Four runs of two threads share the job.
    allocation = Allocation.from_environment(2)
    assert (allocation.memory_gb, allocation.gpus) == (4.0, 2)
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1024")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "1")
    allocation = Allocation.from_environment(8)
    assert (allocation.memory_gb, allocation.gpus) == (8.0, 1)


def test_the_queue_wait_counts_from_the_submission_or_the_requeue(run, tmp_path, monkeypatch):
    monkeypatch.delenv(usage.QUEUE_WAIT_VARIABLE, raising=False)
    now, other = time.time(), RunFolder(tmp_path / "a2")
    assert usage.queue_wait_seconds(now - 4000, [run, other]) == pytest.approx(4000, abs=60)
    # Before the requeue it trained one of its runs, until 400 s ago.
    run.write_usages([Usage(began=now - 3990, seconds=3590.0, cpu_seconds=1.0, waited=10.0)])
    assert usage.queue_wait_seconds(now - 4000, [run, other]) == pytest.approx(400, abs=60)
    assert usage.queue_wait_seconds(now - 100, [run, other]) == pytest.approx(100, abs=60)
    monkeypatch.setenv(usage.QUEUE_WAIT_VARIABLE, "7.5")  # set by the parent process of a run
    assert usage.queue_wait_seconds(now - 4000, [run]) == 7.5


def test_nvidia_smi_is_queried_for_the_gpus_of_the_process(fake_slurm, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert usage._query_gpu_utilisation() == []
    calls = fake_slurm("nvidia-smi", "90\n30\n")
    assert usage._query_gpu_utilisation() == [pytest.approx(0.6)]
    assert "--id=0,2" in calls.read_text()
    fake_slurm("nvidia-smi", "[N/A]\n")
    assert usage._query_gpu_utilisation() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fake_slurm("nvidia-smi", "90\n")
    assert usage._query_gpu_utilisation() == []


def test_only_a_slurm_job_can_exceed_its_memory(monkeypatch):
    monkeypatch.setattr(usage, "oom_kills", lambda: 1)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert not usage.job_ran_out_of_memory()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert usage.job_ran_out_of_memory()
    monkeypatch.setattr(usage, "oom_kills", lambda: 0)
    assert not usage.job_ran_out_of_memory()
