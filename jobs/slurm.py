"""SLURM through submitit: one array per call. The only home of submitit.

In:   task files, a profile.   Out: job ids; on the node, `OnNode` executes one task.
Not here: how many tasks there may be (plan.py), what SLURM knows of them (scheduler.py).

submitit writes the script, submits it and starts the function; the traps around it are named
where they are stepped over.
"""

import io
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from jobs import lives, reasons, snapshot, tasks
from jobs.console import say
from jobs.plan import Request
from jobs.processes import FAILED, REQUEUE, STOPPED, listening
from jobs.profile import Slurm
from jobs.scheduler import MUST_LEAVE, mark_of, must_leave, withdraw
from pipeline.files import InputError
from pipeline.values import dataclass

# submitit requeues a job that reached its limit this often. Each turn gets further, or lives.py
# gives it up; so the number is never met.
REQUEUES = 100

# SLURM sends the signal up to a minute early. A tenth of the limit, at most this, keeps it from
# arriving before python has its handlers (profile.SHORTEST).
WARNING_SECONDS = 90

# Pickles and script of what has no number yet, as submitit names them.
UNNUMBERED = r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]+\.sh"

# Variable of sbatch -> what of the profile it stands for, where that is null.
MAY_BE_SET = {
    f"SBATCH_{name.upper()}": name
    for name in ("account", "clusters", "constraint", "partition", "qos", "reservation", "wckey")
}

# Set where python runs in a container, from which scontrol cannot be reached.
BATCH = "BLANKSLATE_REQUEUE_FROM_BATCH"


class RefusedError(InputError):
    """What sbatch will not take, however often it is asked."""


class OnNode:
    """What submitit starts on the node."""

    def __call__(self, task: str) -> None:
        # submitit's own handler writes its file and requeues inside the signal. Here a signal only
        # sets a flag; the handler is called when training has saved and returned.
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        path = Path(task)
        with listening() as stop:
            code = tasks.execute(path, stop) if lives.begin(path) else FAILED
            # SLURM requeues only what it kills: one that ends in its grace time has ended. The
            # limit itself may come while a run that was warned of it still saves.
            if code == STOPPED and (stop.signal == signal.SIGUSR2 or must_leave()):
                if not lives.go_on(path, lambda: must_leave() or "timeout"):
                    sys.exit(FAILED)
                if BATCH in os.environ:
                    sys.exit(REQUEUE)
                try:
                    requeue(signal.SIGUSR2, None)
                except (OSError, subprocess.SubprocessError, UncompletedJobError) as error:
                    print(f"saved, but not requeued: {error}; make sweep again", flush=True)
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
        throttle: int | None = None,
        after: Sequence[str] = (),
    ) -> list[str]:
        """One array of task files -> their job ids: `12_0` and on, or `12` for a single one."""
        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise InputError(
                f"{self.profile.path}: sbatch is not on PATH: type this on a login node of the "
                f"cluster, or run here with CLUSTER=cluster/local.yaml"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for seconds in (*reasons.SECONDS_UNTIL_AGAIN, None):
            mark = mark_of(self.folder) + secrets.token_hex(4)
            executor = self._executor(asked, throttle or len(files), after, mark)
            try:
                with _said_by_the_profile(asked):
                    jobs = self._submit(executor, files, mark)
            except (FailedJobError, FailedSubmissionError) as error:
                said = _said(str(error))
                why = f"{self.profile.path}: {reasons.with_cause(said)}"
                if not reasons.passes(said):
                    raise RefusedError(why) from None
                if seconds is None:
                    raise InputError(why) from None
                say(f"{said}; again in {seconds:.0f} s")
                time.sleep(seconds)
            else:
                return jobs
        raise AssertionError

    def script(
        self, tasks: int, asked: Mapping[str, Any], throttle: int | None, after: Sequence[str] = ()
    ) -> str:
        """What sbatch would be given."""
        mark = mark_of(self.folder) + "0"
        executor = self._executor(asked, throttle or tasks, after, mark)
        if tasks > 1:
            executor.parameters["map_count"] = tasks
        return str(executor._make_submission_file_text(executor._submitit_command_str, "0"))

    def _executor(
        self, asked: Mapping[str, Any], throttle: int, after: Sequence[str], mark: str
    ) -> submitit.SlurmExecutor:
        executor = submitit.SlurmExecutor(self.folder, REQUEUES, python=self.profile.python)
        parameters = {**asked, "additional_parameters": {**asked["additional_parameters"]}}
        parameters.pop("threads", None)  # no word of submitit's
        parameters["additional_parameters"]["comment"] = mark
        executor.update_parameters(
            **parameters,
            job_name=f"blankslate-{self.name}",
            setup=[*self.profile.setup, *self._exports(asked)],
            teardown=_requeue_from_batch() if self.profile.requeue_from == "batch" else None,
            array_parallelism=throttle,
            # Not afterok, which one failed slice would make wait for ever: a run checks for itself.
            dependency=f"afterany:{':'.join(after)}" if after else None,
        )
        return executor

    def _submit(
        self, executor: submitit.SlurmExecutor, files: Sequence[Path], mark: str
    ) -> list[str]:
        before = set(self.folder.iterdir())
        try:
            with redirect_stderr(io.StringIO()):  # submitit prints what it also raises
                jobs = executor.map_array(OnNode(), [str(file) for file in files])
        except BaseException:
            # Other jobs write here meanwhile, and are named in front of their files.
            for left in set(self.folder.iterdir()) - before:
                if re.fullmatch(UNNUMBERED, left.name):
                    left.unlink()
            # Also after a refusal: an answer that timed out may stand for a job that was accepted.
            withdraw(mark)
            raise
        return [job.job_id for job in jobs]

    def _exports(self, asked: Mapping[str, Any]) -> list[str]:
        threads = asked.get("threads", asked["cpus_per_task"])
        variables = snapshot.environment(self.code, threads)
        trap = []
        if self.profile.requeue_from == "batch":
            variables[BATCH] = "1"
            trap = ["trap : TERM"]  # the limit's; the script waits for python to save
        exports = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
        return [*trap, *exports, *_of_the_node(self.profile)]


@contextmanager
def _said_by_the_profile(asked: Mapping[str, Any]) -> Iterator[None]:
    """Variables of sbatch win over a script: those alone stay that say what the profile does not.

    As some sites tell their users to set SBATCH_ACCOUNT.
    """
    others = {name: value for name, value in os.environ.items() if name.startswith("SBATCH_")}
    for name in others:
        if name not in MAY_BE_SET or asked.get(MAY_BE_SET[name]) is not None:
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(others)


def _of_the_node(profile: Slurm) -> list[str]:
    """What depends on where the job runs, and on what the site or the user has set there."""
    lines = []
    if name := profile.local_scratch_var:
        lines.append(f'if [ -n "${{{name}:-}}" ]; then export TMPDIR="${name}"; fi')
    if profile.internet_on_compute is False:
        lines += [
            "export WANDB_MODE=offline",
            'case "${MLFLOW_TRACKING_URI:-}" in http*) unset MLFLOW_TRACKING_URI ;; esac',
        ]
    return lines


def _requeue_from_batch() -> list[str]:
    """After python has saved and ended, the batch script asks: it is outside the container."""
    job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    told = f'scontrol show job --oneliner "$SLURM_JOB_ID" | grep -qE "{MUST_LEAVE}"'
    return [
        "code=$?",
        # What ended by SIGTERM could not ask whether a person cancelled it.
        f"if [ $code -eq {STOPPED} ] && {told}; then",
        f"    code={REQUEUE}",
        "fi",
        f"if [ $code -eq {REQUEUE} ] && [ ${{SLURM_RESTART_COUNT:-0}} -lt {REQUEUES} ]; then",
        f'    scontrol requeue "{job}"',
        "fi",
        "exit $code",
    ]


def run_parameters(profile: Slurm, minutes: int | None = None) -> dict[str, Any]:
    """What a job of runs asks for, in submitit's words."""
    asked = _asked(profile, profile.cpus, profile.job_memory_gb, minutes or profile.minutes)
    return {
        **asked,
        **_gpus(profile),
        "additional_parameters": {
            **asked["additional_parameters"],
            **_gpus(profile).get("additional_parameters", {}),
        },
    }


def with_request(asked: Mapping[str, Any], request: Request, profile: Slurm) -> dict[str, Any]:
    """The same, with what a task asks for because of how it ended before."""
    more: dict[str, Any] = {}
    if request.memory_gb is not None:
        more |= _memory(profile, asked["cpus_per_task"], request.memory_gb)
    if request.exclude:
        more["exclude"] = ",".join(request.exclude)
    return {**asked, **more}


def feature_parameters(profile: Slurm) -> dict[str, Any]:
    """Features need no GPU, and so often another partition; so does the report.

    One thread, whatever the CPUs: sums over more of them have other last bits, and the bytes of a
    shard must not depend on where it was made.
    """
    jobs = profile.features
    own = {"partition": jobs.partition, "qos": jobs.qos, "constraint": jobs.constraint}
    asked = _asked(profile, jobs.cpus, jobs.memory_gb, jobs.minutes)
    said = {name: value for name, value in own.items() if value is not None}
    return {**asked, **said, "threads": 1}


def _asked(profile: Slurm, cpus: int, memory_gb: float, minutes: int) -> dict[str, Any]:
    return {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "wckey": profile.wckey,  # submitit sends its own name where this is not passed
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # since SLURM 22.05 the step does not inherit it
        **_memory(profile, cpus, memory_gb),
        "time": minutes,
        "signal_delay_s": min(WARNING_SECONDS, minutes * 60 // 10),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},  # the site's default may be not to
    }


def _memory(profile: Slurm, cpus: int, memory_gb: float) -> dict[str, str]:
    megabytes = memory_gb * 1024  # rounded up: of 0 SLURM gives all that the node has
    if profile.memory_style == "mem":
        return {"mem": f"{math.ceil(megabytes)}MB"}
    return {"mem_per_cpu": f"{math.ceil(megabytes / cpus)}MB"}


def _gpus(profile: Slurm) -> dict[str, Any]:
    if not profile.gpus:
        return {}
    number = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else str(profile.gpus)
    if profile.gpu_request_style == "gres":
        return {"gres": f"gpu:{number}"}
    if profile.gpu_request_style == "gpus_per_node":
        return {"gpus_per_node": number}
    return {"additional_parameters": {"gpus": number}}


def _said(text: str) -> str:
    """The complaint of sbatch, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if "error" in line.lower()) or " ".join(text.split())
