"""Failures: each error, exit code and state of SLURM has a cause, and each cause a remedy."""

import errno

import pytest

from jobs.exit_codes import DISK_FULL
from jobs.node.failures import (
    DISK_FULL_MESSAGE,
    EXCEPTION_CAUSES,
    REMEDIES,
    SLURM_STATES,
    MissingFeaturesError,
    classify_error,
    classify_exit_code,
    classify_job_end,
    classify_slurm_state,
    remedy,
)
from pipeline.files import InputError, atomic_write


class OutOfMemoryError(RuntimeError):
    """Has the name of torch.cuda.OutOfMemoryError."""


class DivergedError(RuntimeError):
    """Has the name of the trainer's error."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InputError("x.yaml: no such file"), "bad configuration"),
        (MissingFeaturesError("shard 3 is missing"), "missing features"),
        (OSError(errno.ENOSPC, "No space left on device", "state.pt"), "disk full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk full"),
        (OSError(errno.EROFS, "Read-only file system"), "disk full"),
        # As h5py writes it, without errno.
        (
            OSError("Can't write data (errno = 28, error message = 'No space left on device')"),
            "disk full",
        ),
        (MemoryError(), "out of memory"),
        (OutOfMemoryError("tried to allocate 2 GiB"), "GPU out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "GPU out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory"),
        (OSError(errno.ESTALE, "Stale file handle", "shard.h5"), "node failure"),
        (OSError(errno.EIO, "Input/output error"), "node failure"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "node failure"),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), "node failure"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "code error"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "node failure"),
        (ModuleNotFoundError("No module named 'jobs.x'", name="jobs.x"), "code error"),
        (DivergedError("loss is nan in epoch 3"), "divergence"),
        (ZeroDivisionError("division by zero"), "code error"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "code error"),
    ],
)
def test_an_error_has_its_cause(error: Exception, cause: str):
    assert classify_error(error)[0] == cause


def test_the_message_is_one_line_with_the_notes():
    error = OSError(errno.ENOSPC, "No space left on device")
    error.add_note("while writing work/runs/1/state.pt")
    message = classify_error(error)[1]
    assert message == "[Errno 28] No space left on device while writing work/runs/1/state.pt"
    assert classify_error(ValueError("two\nlines"))[1] == "ValueError: two lines"


def test_each_cause_has_a_remedy():
    causes = {*EXCEPTION_CAUSES.values(), *(cause for cause, _ in SLURM_STATES.values())}
    causes |= {classify_exit_code(code)[0] for code in (-9, -11, 1, 137)} | {"disk full"}
    assert causes <= set(REMEDIES)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("TIMEOUT", "timeout"),
        ("OUT_OF_MEMORY", "out of memory"),
        ("NODE_FAIL", "node failure"),
        ("PREEMPTED", "preemption"),
        ("CANCELLED by 1000", "cancelled"),
        ("FAILED", "code error"),
    ],
)
def test_a_state_of_slurm_has_its_cause(state: str, cause: str):
    found = classify_slurm_state(state)
    assert found is not None
    assert found[0] == cause


@pytest.mark.parametrize("state", ["COMPLETED", "", "RUNNING"])
def test_a_state_that_is_no_failure_has_no_cause(state: str):
    assert classify_slurm_state(state) is None


def test_a_killed_process_and_an_exit_code_have_different_causes():
    assert classify_exit_code(-9)[0] == "killed"
    assert "memory" in classify_exit_code(-9)[1]
    assert classify_exit_code(3) == ("code error", "the process ended with exit code 3")


# Lines that slurmstepd of SLURM 22.05 writes.
LOST = "slurmstepd-node1: error: *** STEP 343.0 ON node1 CANCELLED AT 2026-11-22T23:04:51 {}***\n"
MEMORY = "slurmstepd-node1: error: StepId=343.0 exceeded memory limit (407800832 > 104857600), "
CGROUP = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=343.0. Some of your processes"


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED by 0", ""])
@pytest.mark.parametrize("output", [MEMORY, CGROUP, MEMORY + "\n" + LOST.format("")])
def test_the_output_shows_that_memory_ran_out_whatever_the_state(state, output):
    found = classify_job_end(state, 9, output, 0.0)
    assert found is not None
    assert found[0] == "out of memory"


def test_the_measured_memory_shows_that_it_ran_out():
    assert classify_job_end("FAILED", 9, "", 0.97) == classify_slurm_state("OUT_OF_MEMORY")
    killed = classify_job_end("FAILED", 9, "", 0.5)
    assert killed == ("killed", "the job was killed by signal 9")


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("DUE TO TIME LIMIT ", "timeout"),
        ("DUE TO PREEMPTION ", "preemption"),
        ("DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ", "node failure"),
        ("", "cancelled"),
    ],
)
def test_without_accounting_the_output_has_the_reason(reason, cause):
    found = classify_job_end(
        "", 0, "epoch 3\n" + LOST.format(reason) + "srun: error: node1: task 0: Killed", 0
    )
    assert found is not None
    assert found[0] == cause


def test_the_last_reason_counts_and_a_traceback_is_none():
    output = LOST.format("DUE TO PREEMPTION ") + LOST.format("DUE TO TIME LIMIT ")
    assert classify_job_end("", 0, output, 0)[0] == "timeout"
    assert classify_job_end("", 0, "RuntimeError: CUDA out of memory", 0) is None
    assert classify_job_end("FAILED", 0, "RuntimeError: out of memory", 0)[0] == "code error"
    assert classify_job_end("TIMEOUT", 0, LOST.format("DUE TO PREEMPTION "), 0)[0] == "timeout"
    assert classify_job_end("COMPLETED", 0, "", 0) is None


def test_an_exit_code_tells_a_full_disk_where_no_file_can():
    for code in (DISK_FULL, 120):  # 120: python could not write its last output
        assert classify_job_end("FAILED", 0, "", 0.0, code)[0] == "disk full"
    assert classify_exit_code(DISK_FULL)[0] == "disk full"
    output = "OSError: [Errno 122] Disk quota exceeded\nsrun: error: node1: task 0: Exited"
    assert classify_job_end("FAILED", 0, output.splitlines()[0], 0.0)[0] == "disk full"


def test_a_job_that_failed_before_python_started_has_its_last_error():
    # As srun of SLURM 22.05 writes it where the shell has SLURM_MEM_PER_CPU.
    output = (
        "a banner\nsrun: fatal: SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are "
        "mutually exclusive.\n"
    )
    cause, message = classify_job_end("FAILED", 0, output, 0.0, 1)
    assert cause == "code error"
    assert message.endswith(": " + output.splitlines()[1])


def test_what_to_do_is_said_once_and_names_the_run(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, atomic_write(tmp_path / "state.pt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert remedy(*classify_error(caught.value), "the log") == "then make sweep again"
    assert remedy("disk full", DISK_FULL_MESSAGE, "the log") == REMEDIES["disk full"]
    assert remedy("code error", "x", "make logs RUN=abc") == (
        "make logs RUN=abc shows the traceback"
    )
    assert remedy("no such cause", "x", "the log") == "the log shows more"
