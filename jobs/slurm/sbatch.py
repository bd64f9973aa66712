"""SLURM through submitit: one array per call. The only home of submitit.

In:   task files, a profile.   Out: job ids; on the node, `TaskRunner` executes one task.
Not here: how many tasks there may be (plan.py), what SLURM knows of them (scheduler.py).

submitit writes the script, submits it and starts the function; the traps around it are named
where they are stepped over.
"""

import io
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from jobs import code_snapshot
from jobs.exit_codes import REQUEUE, STOPPED
from jobs.messages import print_line
from jobs.profile import SlurmProfile
from jobs.slurm import reasons
from jobs.slurm.client import TERMINATION_PATTERN, cancel_by_tag, sweep_tag
from jobs.slurm.resources import REQUEUE_FROM_BATCH_VARIABLE
from pipeline.files import InputError

# submitit requeues a job that reached its limit this often. Each turn gets further, or lives.py
# gives it up; so the number is never met.
MAX_REQUEUES = 100


# Pickles and script of what has no number yet, as submitit names them.
UNSUBMITTED_FILES = r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]+\.sh"

# Variable of sbatch -> what of the profile it stands for, where that is null.
ALLOWED_SBATCH_VARIABLES = {
    f"SBATCH_{name.upper()}": name
    for name in ("account", "clusters", "constraint", "partition", "qos", "reservation", "wckey")
}

# Path of a task file, and what asks SLURM for a requeue -> exit code.
Execute = Callable[[Path, Callable[[], None]], int]


class SubmissionRefusedError(InputError):
    """What sbatch will not take, however often it is asked."""


@dataclass(frozen=True)
class TaskRunner:
    """The callable that submitit pickles, and calls on the node with the path of a task file."""

    execute: Execute

    def __call__(self, task: str) -> None:
        # submitit's own handler writes its file and requeues inside the signal. Here a signal only
        # sets a flag; the handler is called when training has saved and returned.
        handler: Any = signal.getsignal(signal.SIGUSR2)

        def requeue() -> None:
            try:
                handler(signal.SIGUSR2, None)
            except (OSError, subprocess.SubprocessError, UncompletedJobError) as error:
                print(f"saved, but not requeued: {error}; make sweep again", flush=True)

        if code := self.execute(Path(task), requeue):
            sys.exit(code)

    def checkpoint(self, task: str) -> submitit.helpers.DelayedSubmission:
        """The same arguments: a run goes on from its own files."""
        return submitit.helpers.DelayedSubmission(self, task)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What the jobs of one sweep share."""

    profile: SlurmProfile
    name: str  # of the sweep
    folder: Path  # scripts, pickles and the output of jobs
    code: Path  # the snapshot
    execute: Execute  # what a job calls with its task file

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
        for seconds in (*reasons.RETRY_DELAYS_S, None):
            mark = sweep_tag(self.folder) + secrets.token_hex(4)
            executor = self._executor(asked, throttle or len(files), after, mark)
            try:
                with _filtered_sbatch_variables(asked):
                    jobs = self._submit(executor, files, mark)
            except (FailedJobError, FailedSubmissionError) as error:
                said = _sbatch_error(str(error))
                why = f"{self.profile.path}: {reasons.add_usual_cause(said)}"
                if not reasons.is_transient(said):
                    raise SubmissionRefusedError(why) from None
                if seconds is None:
                    raise InputError(why) from None
                print_line(f"{said}; again in {seconds:.0f} s")
                time.sleep(seconds)
            else:
                return jobs
        raise AssertionError

    def script(
        self, tasks: int, asked: Mapping[str, Any], throttle: int | None, after: Sequence[str] = ()
    ) -> str:
        """What sbatch would be given."""
        mark = sweep_tag(self.folder) + "0"
        executor = self._executor(asked, throttle or tasks, after, mark)
        if tasks > 1:
            executor.parameters["map_count"] = tasks
        return str(executor._make_submission_file_text(executor._submitit_command_str, "0"))

    def _executor(
        self, asked: Mapping[str, Any], throttle: int, after: Sequence[str], mark: str
    ) -> submitit.SlurmExecutor:
        executor = submitit.SlurmExecutor(self.folder, MAX_REQUEUES, python=self.profile.python)
        parameters = {**asked, "additional_parameters": {**asked["additional_parameters"]}}
        parameters.pop("threads", None)  # no word of submitit's
        parameters["additional_parameters"]["comment"] = mark
        executor.update_parameters(
            **parameters,
            job_name=f"blankslate-{self.name}",
            setup=[*self.profile.setup, *self._exports(asked)],
            teardown=_requeue_script_lines() if self.profile.requeue_from == "batch" else None,
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
                jobs = executor.map_array(TaskRunner(self.execute), [str(file) for file in files])
        except BaseException:
            # Other jobs write here meanwhile, and are named in front of their files.
            for left in set(self.folder.iterdir()) - before:
                if re.fullmatch(UNSUBMITTED_FILES, left.name):
                    left.unlink()
            # Also after a refusal: an answer that timed out may stand for a job that was accepted.
            cancel_by_tag(mark)
            raise
        return [job.job_id for job in jobs]

    def _exports(self, asked: Mapping[str, Any]) -> list[str]:
        threads = asked.get("threads", asked["cpus_per_task"])
        variables = code_snapshot.task_environment(self.code, threads)
        trap = []
        if self.profile.requeue_from == "batch":
            variables[REQUEUE_FROM_BATCH_VARIABLE] = "1"
            trap = ["trap : TERM"]  # the limit's; the script waits for python to save
        exports = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
        return [*trap, *exports, *_node_setup_lines(self.profile)]


@contextmanager
def _filtered_sbatch_variables(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Variables of sbatch win over a script: those alone stay that say what the profile does not.

    As some sites tell their users to set SBATCH_ACCOUNT.
    """
    previous = {name: value for name, value in os.environ.items() if name.startswith("SBATCH_")}
    for name in previous:
        if (
            name not in ALLOWED_SBATCH_VARIABLES
            or parameters.get(ALLOWED_SBATCH_VARIABLES[name]) is not None
        ):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(previous)


def _node_setup_lines(profile: SlurmProfile) -> list[str]:
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


def _requeue_script_lines() -> list[str]:
    """After python has saved and ended, the batch script asks: it is outside the container."""
    job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    was_terminated = (
        f'scontrol show job --oneliner "$SLURM_JOB_ID" | grep -qE "{TERMINATION_PATTERN}"'
    )
    return [
        "code=$?",
        # What ended by SIGTERM could not ask whether a person cancelled it.
        f"if [ $code -eq {STOPPED} ] && {was_terminated}; then",
        f"    code={REQUEUE}",
        "fi",
        f"if [ $code -eq {REQUEUE} ] && [ ${{SLURM_RESTART_COUNT:-0}} -lt {MAX_REQUEUES} ]; then",
        f'    scontrol requeue "{job}"',
        "fi",
        "exit $code",
    ]


def _sbatch_error(text: str) -> str:
    """The complaint of sbatch, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if "error" in line.lower()) or " ".join(text.split())
