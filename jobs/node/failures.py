"""Why it ended: an exception, an exit code or a scheduler's state -> cause, sentence, remedy.

In:   what Python, the operating system or SLURM said.   Out: a cause (one of `REMEDIES`), one line.
Not here: recording it (endings.py), acting on it (remedies.py).
"""

import errno
import re
import signal

from pipeline.files import InputError

# Cause -> what a person can do about it.
REMEDIES = {
    "bad configuration": "correct what the message names, then run the same command again",
    "missing features": "make sweep again: it computes what is missing",
    "infeasible": "lower input.stack or features.hop_ms, or leave the utterances out",
    "divergence": "lower train.learning_rate, or set train.clip",
    "out of memory": "make sweep again: a job asks for twice the memory; or lower train.batch",
    "GPU out of memory": "lower train.batch, or ask for a larger GPU with gpu_type",
    "disk full": "make sweep again when there is room",
    "timeout": "make sweep again: it goes on from the last save; or raise minutes",
    "preemption": "make sweep again: it goes on from the last save",
    "node failure": "make sweep again: it goes on from the last save, on another node",
    "cancelled": "make sweep again: it goes on from the last save",
    "killed": "make sweep again; if it recurs, look at the machine's memory",
    "damaged file": "make sweep again: it writes the file anew",
    "code error": "make logs RUN=… shows the traceback",
}

# SLURM's job state -> cause, and what it means.
SLURM_STATES = {
    "TIMEOUT": ("timeout", "the job reached its time limit"),
    "DEADLINE": ("timeout", "the job reached its deadline"),
    "OUT_OF_MEMORY": ("out of memory", "the job used more memory than it asked for"),
    "NODE_FAIL": ("node failure", "a node of the job failed"),
    "BOOT_FAIL": ("node failure", "the node of the job did not start"),
    "PREEMPTED": ("preemption", "another job took the node"),
    "REVOKED": ("preemption", "another cluster took the job"),
    "CANCELLED": ("cancelled", "the job was cancelled"),
    "FAILED": ("code error", "the job ended with an error before it could record one"),
}

# What slurmstepd writes at the end of a job's output, also where there is no accounting.
OUTPUT_PATTERNS = (
    (r"exceeded (?:job )?memory limit|oom[-_ ]kill|out of memory", "OUT_OF_MEMORY"),
    (r"DUE TO TIME LIMIT", "TIMEOUT"),
    (r"DUE TO PREEMPTION", "PREEMPTED"),
    (r"DUE TO NODE FAILURE", "NODE_FAIL"),
)
CANCELLED_PATTERN = r"(?:STEP|JOB) \S+ ON \S+ CANCELLED AT"  # also follows the reasons above
OOM_MEMORY_SHARE = 0.95  # memory peaks are sampled, and the last of them is missed


# Name of an exception's class -> cause, the most derived first; torch's errors are known by name
# because torch is not imported here.
EXCEPTION_CAUSES = {
    "MissingFeaturesError": "missing features",
    "InfeasibleError": "infeasible",
    "DivergedError": "divergence",
    "WorkerDiedError": "killed",
    "InputError": "bad configuration",
    "OutOfMemoryError": "GPU out of memory",
    "MemoryError": "out of memory",
}


# A server that went away, a disk that fails.
DISK_LOST_ERRNOS = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
GPU_LOST_PATTERN = (
    "(?:CUDA|cuDNN|NCCL) error.*(?:ECC|no CUDA-capable|busy or unavailable|hardware stack)"
)


class MissingFeaturesError(InputError):
    """A run started before its feature set was whole."""


def classify_error(error: BaseException) -> tuple[str, str]:
    """(cause, one line)."""
    return _error_cause(error), describe_error(error)


def describe_error(error: BaseException) -> str:
    """One line; an OSError brings its file, and the notes say during what it happened."""
    text = " ".join(str(error).split()) or "no message"
    name = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
    return " ".join([name + text, *getattr(error, "__notes__", [])])


def classify_exit_code(exit_code: int) -> tuple[str, str]:
    """What a child process's exit code says when the child itself could say nothing."""
    if exit_code == -getattr(signal, "SIGKILL", 9):
        return "killed", (
            "the process was killed by signal 9, which is what the system does when memory runs out"
        )
    if exit_code < 0:
        return "killed", f"the process was killed by signal {-exit_code}"
    return "code error", f"the process ended with exit code {exit_code}"


def classify_job_end(
    state: str, killed_by: int, output_tail: str, memory_share: float
) -> tuple[str, str] | None:
    """What SLURM says of a job that left its queue; None where nobody says anything.

    `said` is the end of the job's output, `share` its peak of memory in what it asked for. Without
    control groups SLURM calls a job that took too much memory FAILED, or CANCELLED.
    """
    state_word = state.split(maxsplit=1)[0] if state else ""
    if state_word in {"FAILED", "CANCELLED", ""}:
        if killed_by == 9 and memory_share >= OOM_MEMORY_SHARE:
            return SLURM_STATES["OUT_OF_MEMORY"]
        state_printed = _state_in_output(output_tail)
        if state_printed and (state_word != "CANCELLED" or state_printed == "OUT_OF_MEMORY"):
            return SLURM_STATES[state_printed]
    if state_word == "FAILED" and killed_by:
        return "killed", f"the job was killed by signal {killed_by}"
    return classify_slurm_state(state)


def _state_in_output(output_tail: str) -> str | None:
    """The state that the last line with a reason tells: a requeued job goes on in the same file."""
    lines = [line for line in reversed(output_tail.splitlines()) if "error:" in line]
    for line in lines:
        for pattern, state in OUTPUT_PATTERNS:
            if re.search(pattern, line, re.IGNORECASE):
                return state
    return "CANCELLED" if any(re.search(CANCELLED_PATTERN, line) for line in lines) else None


def classify_slurm_state(state: str) -> tuple[str, str] | None:
    """None where the state is no failure. sacct writes `CANCELLED by 1000`."""
    return SLURM_STATES.get(state.split(maxsplit=1)[0]) if state else None


def _error_cause(error: BaseException) -> str:
    for kind in type(error).__mro__:
        if kind.__name__ in EXCEPTION_CAUSES:
            return EXCEPTION_CAUSES[kind.__name__]
    if "CUDA out of memory" in str(error):
        return "GPU out of memory"
    if "not enough memory" in str(error):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "disk full"
    if _is_node_fault(error):
        return "node failure"
    return "code error"


def _is_node_fault(error: BaseException) -> bool:
    """What the same code may not meet on another node: its network disk, its card, its Python."""
    if isinstance(error, OSError):
        return error.errno in DISK_LOST_ERRNOS
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").split(".")[0] not in {"jobs", "pipeline"}
    return bool(re.search(GPU_LOST_PATTERN, str(error)))
