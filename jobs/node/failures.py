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
    "bad configuration": "mend what the line names, then type it again",
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
OUTPUTS = (
    (r"exceeded (?:job )?memory limit|oom[-_ ]kill|out of memory", "OUT_OF_MEMORY"),
    (r"DUE TO TIME LIMIT", "TIMEOUT"),
    (r"DUE TO PREEMPTION", "PREEMPTED"),
    (r"DUE TO NODE FAILURE", "NODE_FAIL"),
)
CANCELLED = r"(?:STEP|JOB) \S+ ON \S+ CANCELLED AT"  # also follows the reasons above
SHARE_OF_LIMIT = 0.95  # memory peaks are sampled, and the last of them is missed


# Name of an exception's class -> cause, the most derived first; torch's errors are known by name
# because torch is not imported here.
CAUSES = {
    "MissingFeaturesError": "missing features",
    "InfeasibleError": "infeasible",
    "DivergedError": "divergence",
    "WorkerDiedError": "killed",
    "InputError": "bad configuration",
    "OutOfMemoryError": "GPU out of memory",
    "MemoryError": "out of memory",
}


# A server that went away, a disk that fails.
LOST_DISKS = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
LOST_CARDS = "(?:CUDA|cuDNN|NCCL) error.*(?:ECC|no CUDA-capable|busy or unavailable|hardware stack)"


class MissingFeaturesError(InputError):
    """A run started before its feature set was whole."""


def classify(error: BaseException) -> tuple[str, str]:
    """(cause, one line)."""
    return _cause(error), sentence(error)


def sentence(error: BaseException) -> str:
    """One line; an OSError brings its file, and the notes say during what it happened."""
    text = " ".join(str(error).split()) or "no message"
    name = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
    return " ".join([name + text, *getattr(error, "__notes__", [])])


def of_exit(code: int) -> tuple[str, str]:
    """What a child process's exit code says when the child itself could say nothing."""
    if code == -getattr(signal, "SIGKILL", 9):
        return "killed", (
            "the process was killed by signal 9, which is what the system does when memory runs out"
        )
    if code < 0:
        return "killed", f"the process was killed by signal {-code}"
    return "code error", f"the process ended with exit code {code}"


def of_job(state: str, killed_by: int, said: str, share: float) -> tuple[str, str] | None:
    """What SLURM says of a job that left its queue; None where nobody says anything.

    `said` is the end of the job's output, `share` its peak of memory in what it asked for. Without
    control groups SLURM calls a job that took too much memory FAILED, or CANCELLED.
    """
    named = state.split(maxsplit=1)[0] if state else ""
    if named in {"FAILED", "CANCELLED", ""}:
        if killed_by == 9 and share >= SHARE_OF_LIMIT:
            return SLURM_STATES["OUT_OF_MEMORY"]
        told = _of_output(said)
        if told and (named != "CANCELLED" or told == "OUT_OF_MEMORY"):
            return SLURM_STATES[told]
    if named == "FAILED" and killed_by:
        return "killed", f"the job was killed by signal {killed_by}"
    return of_slurm(state)


def _of_output(said: str) -> str | None:
    """The state that the last line with a reason tells: a requeued job goes on in the same file."""
    lines = [line for line in reversed(said.splitlines()) if "error:" in line]
    for line in lines:
        for pattern, state in OUTPUTS:
            if re.search(pattern, line, re.IGNORECASE):
                return state
    return "CANCELLED" if any(re.search(CANCELLED, line) for line in lines) else None


def of_slurm(state: str) -> tuple[str, str] | None:
    """None where the state is no failure. sacct writes `CANCELLED by 1000`."""
    return SLURM_STATES.get(state.split(maxsplit=1)[0]) if state else None


def _cause(error: BaseException) -> str:
    for kind in type(error).__mro__:
        if kind.__name__ in CAUSES:
            return CAUSES[kind.__name__]
    if "CUDA out of memory" in str(error):
        return "GPU out of memory"
    if "not enough memory" in str(error):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "disk full"
    if _of_the_node(error):
        return "node failure"
    return "code error"


def _of_the_node(error: BaseException) -> bool:
    """What the same code may not meet on another node: its network disk, its card, its Python."""
    if isinstance(error, OSError):
        return error.errno in LOST_DISKS
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").split(".")[0] not in {"jobs", "pipeline"}
    return bool(re.search(LOST_CARDS, str(error)))
