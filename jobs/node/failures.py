"""Failures: the cause and message of an exception, an exit code or a state of SLURM.

In:   what Python, the operating system or SLURM reported.
Out:  a cause (a key of `REMEDIES`) and a message of one line.
Not here: recording it (sweep/run_status.py), deciding on a retry (sweep/retry_policy.py).
"""

import errno
import os
import re
import signal
import traceback

from jobs.exit_codes import DISK_FULL, UNFLUSHED
from jobs.node.usage import job_ran_out_of_memory
from pipeline.files import WRITE_ADVICE, InputError
from pipeline.runs.folder import Failure

LOG_COMMAND = "make logs RUN=…"

# Cause -> what to do about it.
REMEDIES = {
    "bad configuration": "correct what the message names, then run the same command again",
    "missing features": "make sweep again: it computes what is missing",
    "infeasible": "or raise train.max_infeasible, which leaves them out",
    "divergence": "lower train.learning_rate, or set train.clip",
    "out of memory": "make sweep again: the job requests twice the memory; or lower train.batch",
    "GPU out of memory": "lower train.batch, or request a larger GPU with gpu_type",
    "unusable GPU": "do what the message names, or choose another gpu_type",
    "disk full": "free disk space, or take another work folder (WORK=…); then make sweep again",
    "timeout": "make sweep again: it continues from the last save; or raise minutes",
    "preemption": "make sweep again: it continues from the last save",
    "node failure": "make sweep again: it continues from the last save, on another node",
    "cancelled": "make sweep again: it continues from the last save",
    "killed": "make sweep again; if it recurs, check the machine's memory",
    "damaged file": "make sweep again: it writes the file again",
    "code error": f"{LOG_COMMAND} shows the traceback",
}

# SLURM's job state -> cause, and what it means.
SLURM_STATES = {
    "TIMEOUT": ("timeout", "the job reached its time limit"),
    "DEADLINE": ("timeout", "the job reached its deadline"),
    "OUT_OF_MEMORY": ("out of memory", "the job used more memory than it requested"),
    "NODE_FAIL": ("node failure", "a node of the job failed"),
    "BOOT_FAIL": ("node failure", "the node of the job did not start"),
    "PREEMPTED": ("preemption", "another job took the node"),
    "REVOKED": ("preemption", "another cluster took the job"),
    "CANCELLED": ("cancelled", "the job was cancelled"),
    "FAILED": ("code error", "the job ended with an error before it could record one"),
}

# The disk is full, the quota is used up, or the folder is read-only on this node.
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
DISK_FULL_PATTERN = "|".join(map(os.strerror, sorted(DISK_FULL_ERRNOS)))
DISK_FULL_MESSAGE = (
    "no file could be written in the work folder: the disk is full, your quota is used up, or the "
    "folder is read-only on the node"
)

# What slurmstepd writes at the end of a job's output, also without accounting.
OUTPUT_PATTERNS = (
    (r"exceeded (?:job )?memory limit|oom[-_ ]kill|out of memory", "OUT_OF_MEMORY"),
    (r"DUE TO TIME LIMIT", "TIMEOUT"),
    (r"DUE TO PREEMPTION", "PREEMPTED"),
    (r"DUE TO NODE FAILURE", "NODE_FAIL"),
)
ERROR_LINE_PATTERN = r"(?!.*CANCELLED AT)(?:\w+: (?:error|fatal): |[\w.]*Error: )"
CANCELLED_PATTERN = r"(?:STEP|JOB) \S+ ON \S+ CANCELLED AT"  # comes with the reasons above, too
OOM_MEMORY_SHARE = 0.95  # SLURM samples the memory, and may miss the last peak

# Name of an exception's class -> cause. Names, because torch is not imported here.
EXCEPTION_CAUSES = {
    "MissingFeaturesError": "missing features",
    "InfeasibleError": "infeasible",
    "DivergedError": "divergence",
    "WorkerDiedError": "killed",
    "UnusableGpuError": "unusable GPU",
    "InputError": "bad configuration",
    "OutOfMemoryError": "GPU out of memory",
    "MemoryError": "out of memory",
}

# A file server that does not answer, a disk that fails.
DISK_LOST_ERRNOS = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
GPU_LOST_PATTERN = (
    "(?:CUDA|cuDNN|NCCL) error.*(?:ECC|no CUDA-capable|busy or unavailable|hardware stack)"
)


class MissingFeaturesError(InputError):
    """A run started before its feature set was complete."""


def make_failure(error: Exception) -> Failure:
    """Return the record of an exception, with its traceback and the name of the node."""
    cause, message = classify_error(error)
    if cause == "killed" and job_ran_out_of_memory():  # a process that read for the run
        cause, message = "out of memory", f"{SLURM_STATES['OUT_OF_MEMORY'][1]}: {message}"
    return Failure(
        cause=cause,
        message=message,
        traceback="".join(traceback.format_exception(error)),
        node=os.environ.get("SLURMD_NODENAME", ""),
    )


def classify_error(error: BaseException) -> tuple[str, str]:
    """Return (cause, message of one line)."""
    return _error_cause(error), describe_error(error)


def describe_error(error: BaseException) -> str:
    """Return a message of one line, with the exception's notes.

    The class is left out where the text suffices: an InputError, or an OSError, which has its file.
    """
    text = " ".join(str(error).split()) or "no message"
    name = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
    return " ".join([name + text, *getattr(error, "__notes__", [])])


def remedy(cause: str, message: str, log: str) -> str:
    """Return what to do about a failure; `log` shows more: a command, or a file."""
    if message.endswith(WRITE_ADVICE):
        return "then make sweep again"
    return REMEDIES.get(cause, f"{LOG_COMMAND} shows more").replace(LOG_COMMAND, log)


def classify_exit_code(exit_code: int) -> tuple[str, str]:
    """Return (cause, message) for a child process that recorded no failure itself."""
    if exit_code == DISK_FULL:
        return "disk full", DISK_FULL_MESSAGE
    if exit_code == -getattr(signal, "SIGKILL", 9):
        return "killed", (
            "the process was killed by signal 9, as the system does when memory runs out"
        )
    if exit_code < 0:
        return "killed", f"the process was killed by signal {-exit_code}"
    return "code error", f"the process ended with exit code {exit_code}"


def classify_job_end(
    state: str, killed_by: int, output_tail: str, memory_share: float, exit_code: int = 0
) -> tuple[str, str] | None:
    """Return (cause, message) for a job that left the queue; None if neither source has a reason.

    state: of sacct, "" without accounting.   killed_by: signal, 0 for none.
    output_tail: the last lines of the job's output.
    memory_share: peak memory as a share of the requested memory.

    Without cgroups SLURM calls a job that used too much memory FAILED or CANCELLED.
    """
    state_word = state.split(maxsplit=1)[0] if state else ""
    if exit_code in {DISK_FULL, UNFLUSHED}:
        return "disk full", DISK_FULL_MESSAGE
    if state_word in {"FAILED", "CANCELLED", ""}:
        if killed_by == 9 and memory_share >= OOM_MEMORY_SHARE:
            return SLURM_STATES["OUT_OF_MEMORY"]
        printed_state = _state_in_output(output_tail)
        if printed_state and (state_word != "CANCELLED" or printed_state == "OUT_OF_MEMORY"):
            return SLURM_STATES[printed_state]
    if state_word == "FAILED" and killed_by:
        return "killed", f"the job was killed by signal {killed_by}"
    last_error = _last_error(output_tail) if state_word == "FAILED" else ""
    if re.search(DISK_FULL_PATTERN, last_error):
        return "disk full", last_error
    ended = classify_slurm_state(state)
    return (ended[0], f"{ended[1]}: {last_error}") if ended and last_error else ended


def _last_error(output_tail: str) -> str:
    """Return the last line that names an error, of srun or of Python, if a job printed one."""
    lines = (line.strip() for line in reversed(output_tail.splitlines()))
    return next((line for line in lines if re.match(ERROR_LINE_PATTERN, line)), "")


def _state_in_output(output_tail: str) -> str | None:
    """Return the last state printed: a requeued job appends its output to the same file."""
    lines = [line for line in reversed(output_tail.splitlines()) if "error:" in line]
    for line in lines:
        for pattern, state in OUTPUT_PATTERNS:
            if re.search(pattern, line, re.IGNORECASE):
                return state
    return "CANCELLED" if any(re.search(CANCELLED_PATTERN, line) for line in lines) else None


def classify_slurm_state(state: str) -> tuple[str, str] | None:
    """Return (cause, message), or None if the state is no failure.

    Only the first word counts: sacct writes `CANCELLED by 1000`.
    """
    return SLURM_STATES.get(state.split(maxsplit=1)[0]) if state else None


def _error_cause(error: BaseException) -> str:
    for kind in type(error).__mro__:
        if kind.__name__ in EXCEPTION_CAUSES:
            return EXCEPTION_CAUSES[kind.__name__]
    if "CUDA out of memory" in str(error):
        return "GPU out of memory"
    if "not enough memory" in str(error):
        return "out of memory"
    if is_disk_full(error):
        return "disk full"
    if _is_node_fault(error):
        return "node failure"
    return "code error"


def is_disk_full(error: BaseException) -> bool:
    """Return whether no more can be written; HDF5 has the reason in its text only."""
    if not isinstance(error, OSError):
        return False
    return error.errno in DISK_FULL_ERRNOS or bool(re.search(DISK_FULL_PATTERN, str(error)))


def _is_node_fault(error: BaseException) -> bool:
    """Return whether another node may not have the error: its network disk, GPU or Python."""
    if isinstance(error, OSError):
        return error.errno in DISK_LOST_ERRNOS
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").split(".")[0] not in {"jobs", "pipeline"}
    return bool(re.search(GPU_LOST_PATTERN, str(error)))
