"""SLURM through submitit: one array per call. The only home of submitit.

In:   task files, a profile.   Out: job ids; on the node, `OnNode` executes one task.
Not here: how many tasks there may be (plan.py), what SLURM knows of them (scheduler.py).

submitit writes the script, submits it and starts the function; the traps around it are named
where they are stepped over.
"""

import io
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from jobs import snapshot, tasks
from jobs.processes import STOPPED, listening
from jobs.profile import Slurm
from pipeline.files import InputError

# submitit requeues a job that reached its limit this often. Training resumes from its own files,
# so each turn makes progress; the number only ends a run that never will.
REQUEUES = 100

# SLURM sends the signal up to a minute early. A tenth of the limit, at most this, keeps it from
# arriving before python has its handlers.
WARNING_SECONDS = 90

# What sbatch says -> the usual cause.
USUAL_CAUSES = {
    "account/partition combination": "account and partition in the profile must be a pair that "
    "sacctmgr show assoc lists; an account must be named where you have no default",
    "association": "account, partition and qos in the profile must be ones you may use together",
    "QOSMaxSubmit": "max_submit in the profile is above what the site allows",
    "AssocMaxSubmit": "max_submit in the profile is above what the site allows",
    "job array": "max_array_size in the profile is above what the site allows",
    "time limit": "minutes in the profile is above the partition's limit",
    "partition": "partition in the profile must be one that sinfo lists",
    "account": "account in the profile must be one that sacctmgr show assoc lists",
    "qos": "qos in the profile must be one that you may use",
    "wckey": "the site wants wckey in the profile",
    "node configuration": "no node has so many CPUs, GPUs or so much memory: see the profile",
    "generic resource": "gpu_type in the profile must be one that sinfo -o %G lists",
    "contact": "the scheduler does not answer; try again later",
}


class OnNode:
    """What submitit starts on the node."""

    def __call__(self, task: str) -> None:
        # submitit's own handler writes its file and requeues inside the signal. Here a signal only
        # sets a flag; the handler is called when training has saved and returned.
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        with listening() as stop:
            code = tasks.execute(Path(task), stop)
            if code == STOPPED and stop.signal == signal.SIGUSR2:
                requeue(signal.SIGUSR2, None)
        if code:
            sys.exit(code)

    def checkpoint(self, task: str) -> submitit.helpers.DelayedSubmission:
        """The same arguments: a run goes on from its own files."""
        return submitit.helpers.DelayedSubmission(self, task)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What the jobs of one sweep share."""

    profile: Slurm
    name: str  # of the sweep
    folder: Path  # scripts, pickles and the output of jobs
    code: Path  # the snapshot

    def submit(
        self,
        files: Sequence[Path],
        asked: Mapping[str, Any],
        *,
        throttle: int | None,
        after: Sequence[str] = (),
    ) -> list[str]:
        """One array of task files -> their job ids: `12_0` and on, or `12` for a single one."""
        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise InputError(
                f"{self.profile.path}: sbatch is not on PATH: type this on a login node of the "
                f"cluster, or run here with CLUSTER=cluster/local.yaml"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        executor = submitit.SlurmExecutor(self.folder, REQUEUES, python=self.profile.python)
        executor.update_parameters(
            **asked,
            job_name=f"blankslate-{self.name}",
            setup=[*self.profile.setup, *self._exports(asked)],
            array_parallelism=throttle or len(files),
            # Not afterok, which one failed slice would make wait for ever: a run checks for itself.
            dependency=f"afterany:{':'.join(after)}" if after else None,
        )
        before = set(self.folder.iterdir())
        try:
            with redirect_stderr(io.StringIO()):  # submitit prints what it also raises
                jobs = executor.map_array(OnNode(), [str(file) for file in files])
        except (FailedJobError, FailedSubmissionError) as error:
            for left in set(self.folder.iterdir()) - before:
                left.unlink()  # pickles and script of what was refused
            raise InputError(f"{self.profile.path}: {_refusal(str(error))}") from None
        return [job.job_id for job in jobs]

    def _exports(self, asked: Mapping[str, Any]) -> list[str]:
        variables = snapshot.environment(self.code, asked["cpus_per_task"])
        return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def run_parameters(profile: Slurm) -> dict[str, Any]:
    """What a job of runs asks for, in submitit's words."""
    asked = _asked(profile, profile.cpus, profile.memory_gb, profile.minutes)
    return asked | _gpus(profile)


def feature_parameters(profile: Slurm) -> dict[str, Any]:
    """Features need no GPU, and so often another partition."""
    jobs = profile.features
    own = {"partition": jobs.partition, "qos": jobs.qos, "constraint": jobs.constraint}
    asked = _asked(profile, jobs.cpus, jobs.memory_gb, jobs.minutes)
    return asked | {name: value for name, value in own.items() if value is not None}


def _asked(profile: Slurm, cpus: int, memory_gb: float, minutes: int) -> dict[str, Any]:
    return {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "wckey": profile.wckey,  # submitit sends its own name where this is not passed
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 the step does not inherit it
        "mem": f"{round(memory_gb * 1024)}MB",
        "time": minutes,
        "signal_delay_s": min(WARNING_SECONDS, minutes * 60 // 10),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},  # the site's default may be not to
    }


def _gpus(profile: Slurm) -> dict[str, Any]:
    if not profile.gpus:
        return {}
    number = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else str(profile.gpus)
    if profile.gpu_request_style == "gres":
        return {"gres": f"gpu:{number}"}
    if profile.gpu_request_style == "gpus_per_node":
        return {"gpus_per_node": number}
    return {"additional_parameters": {"requeue": True, "gpus": number}}


def _refusal(text: str) -> str:
    """What sbatch said, in one line, with its usual cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = "; ".join(line for line in lines if "error" in line.lower()) or text.strip()
    for word, cause in USUAL_CAUSES.items():
        if word.lower() in said.lower():
            return f"{said} — {cause}"
    return said
