"""Submission: one job array per call of sbatch. The only module that imports submitit.

In:   task files, a profile.   Out: job ids; on the node, `TaskRunner` executes one task.
Not here: how many tasks there may be (sweep/plan.py), what SLURM knows of them (client.py).

submitit writes the batch script, submits it, and calls the function on the node. A comment marks
each place where its behaviour needs a workaround.
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
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from jobs.environment import kept_sbatch_variables, submission_environment, task_environment
from jobs.exit_codes import REQUEUE, STOPPED
from jobs.messages import print_line
from jobs.profile import SlurmProfile
from jobs.slurm import reasons
from jobs.slurm.client import (
    TERMINATION_PATTERN,
    SchedulerError,
    cancel_by_tag,
    find_by_tag,
    sweep_tag,
)
from jobs.slurm.resources import REQUEUE_FROM_BATCH_VARIABLE
from pipeline.files import InputError

# submitit requeues a job that reached its time limit at most this often. No job gets there:
# node/requeue.py gives up a job that makes no progress.
MAX_REQUEUES = 100

# submitit's names for the pickles and the script of jobs that have no id yet.
UNSUBMITTED_FILES = r"[0-9a-f]{32}\.pkl|\.submission_file_[0-9a-f]+\.sh"

# (path of a task file, function that requests a requeue) -> exit code
Execute = Callable[[Path, Callable[[], None]], int]


class SubmissionRefusedError(InputError):
    """sbatch refuses the job, and would refuse it again."""


@dataclass(frozen=True)
class TaskRunner:
    """The function that submitit pickles, and calls on the node with the path of a task file."""

    execute: Execute

    def __call__(self, task: str) -> None:
        # submitit's handler would save and requeue inside the signal. Here the signal only sets a
        # flag, and the handler is called after training has saved and returned.
        handler: Any = signal.getsignal(signal.SIGUSR2)

        def requeue() -> None:
            try:
                handler(signal.SIGUSR2, None)
            except (OSError, subprocess.SubprocessError, UncompletedJobError) as error:
                print(f"saved, but not requeued: {error}; make sweep again continues", flush=True)

        if code := self.execute(Path(task), requeue):
            sys.exit(code)

    def checkpoint(self, task: str) -> submitit.helpers.DelayedSubmission:
        """Return the same call: a run continues from its own files."""
        return submitit.helpers.DelayedSubmission(self, task)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Submits the jobs of one sweep."""

    profile: SlurmProfile
    name: str  # of the sweep
    folder: Path  # scripts, pickles and the output of jobs
    code: Path  # snapshot of the code that the jobs import
    execute: Execute

    def submit(
        self,
        files: Sequence[Path],
        job_parameters: Mapping[str, Any],
        *,
        throttle: int | None = None,
        after: Sequence[str] = (),
    ) -> list[str]:
        """Submit one array, and return its job ids: `12_0`, `12_1`, … or `12` for a single task.

        `throttle`: tasks that run at once; `after`: jobs that must end first. Raises
        SubmissionRefusedError, or InputError if SLURM stays busy or is not installed.
        """
        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise InputError(
                f"{self.profile.path}: sbatch is not on PATH: type this on a login node of the "
                f"cluster, or use this machine with CLUSTER=cluster/local.yaml"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for seconds in (*reasons.RETRY_DELAYS_S, None):
            tag = sweep_tag(self.folder) + secrets.token_hex(4)
            executor = self._executor(job_parameters, throttle or len(files), after, tag)
            try:
                with _clean_environment(job_parameters):
                    return self._submit(executor, files, tag)
            except (FailedJobError, FailedSubmissionError) as error:
                message = _sbatch_error(str(error))
                why = f"{self.profile.path}: {self._explain(message)}"
                if not reasons.is_transient(message):
                    raise SubmissionRefusedError(why) from None
                if seconds is None:
                    raise InputError(why) from None
                print_line(f"{message}; trying again in {seconds:.0f} s")
                time.sleep(seconds)
        raise AssertionError

    def script(
        self,
        tasks: int,
        job_parameters: Mapping[str, Any],
        throttle: int | None,
        after: Sequence[str] = (),
    ) -> str:
        """Return the batch script that sbatch would get."""
        tag = sweep_tag(self.folder) + "0"
        executor = self._executor(job_parameters, throttle or tasks, after, tag)
        if tasks > 1:
            executor.parameters["map_count"] = tasks
        return str(executor._make_submission_file_text(executor._submitit_command_str, "0"))

    def _executor(
        self, job_parameters: Mapping[str, Any], throttle: int, after: Sequence[str], tag: str
    ) -> submitit.SlurmExecutor:
        executor = submitit.SlurmExecutor(self.folder, MAX_REQUEUES, python=self.profile.python)
        parameters = {**job_parameters}
        parameters.pop("threads", None)  # submitit has no such parameter
        parameters["additional_parameters"] = {
            **parameters["additional_parameters"],
            "comment": tag,
        }
        executor.update_parameters(
            **parameters,
            job_name=f"blankslate-{self.name}",
            setup=[*self.profile.setup, *self._setup_lines(job_parameters)],
            teardown=_requeue_script_lines() if self.profile.requeue_from == "batch" else None,
            array_parallelism=throttle,
            # With afterok one failed slice would keep all runs in the queue; a run checks its
            # features itself.
            dependency=f"afterany:{':'.join(after)}" if after else None,
        )
        return executor

    def _submit(
        self, executor: submitit.SlurmExecutor, files: Sequence[Path], tag: str
    ) -> list[str]:
        before = set(self.folder.iterdir())
        try:
            # submitit prints to stderr what it also raises
            with redirect_stderr(io.StringIO()), _job_id_found_by(tag):
                jobs = executor.map_array(TaskRunner(self.execute), [str(file) for file in files])
        except BaseException:
            # Running jobs write their own files here meanwhile, whose names begin with a job id.
            for path in set(self.folder.iterdir()) - before:
                if re.fullmatch(UNSUBMITTED_FILES, path.name):
                    path.unlink()
            # sbatch may time out although SLURM has accepted the job.
            cancel_by_tag(tag)
            raise
        return [job.job_id for job in jobs]

    def _explain(self, message: str) -> str:
        explained = reasons.add_usual_cause(message)
        if self.profile.max_submit != "auto":
            return explained
        unread = "this limit could not be read: set max_submit in the profile to a number"
        return explained.replace("max_submit in the profile is above what the site allows", unread)

    def _setup_lines(self, job_parameters: Mapping[str, Any]) -> list[str]:
        threads = job_parameters.get("threads", job_parameters["cpus_per_task"])
        variables = task_environment(self.code, threads)
        trap = []
        if self.profile.python:  # a container's python would import from the user's home folder
            variables["PYTHONNOUSERSITE"] = "1"
        if self.profile.requeue_from == "batch":
            variables[REQUEUE_FROM_BATCH_VARIABLE] = "1"
            trap = ["trap : TERM"]  # at the time limit the script must wait for python to save
        exports = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
        return [*trap, "unset PYTHONHOME", *exports, *_node_setup_lines(self.profile)]


@contextmanager
def _job_id_found_by(tag: str) -> Iterator[None]:
    """Let submitit find the id of the job as `_parse_job_id` does.

    It takes the first "job N" of what sbatch prints, and a site may print "job 3 of 5 allowed". An
    array has an executor of its own, so the class is changed.
    """
    name = "_get_job_id_from_submission_command"
    original = submitit.SlurmExecutor.__dict__[name]
    setattr(submitit.SlurmExecutor, name, staticmethod(lambda text: _parse_job_id(text, tag)))
    try:
        yield
    finally:
        setattr(submitit.SlurmExecutor, name, original)


def _parse_job_id(printed: str | bytes, tag: str) -> str:
    """Return the id in what sbatch prints, or that of the queued job whose comment is `tag`."""
    text = printed if isinstance(printed, str) else printed.decode(errors="replace")
    if submitted := re.findall(r"^Submitted batch job (\d+)\b", text, re.MULTILINE):
        return str(submitted[-1])
    with suppress(SchedulerError):
        if len(tagged := find_by_tag(tag)) == 1:
            return tagged[0]
    bare = re.findall(r"^(\d+)(?:;\S+)?$", text, re.MULTILINE)  # as with --parsable
    if len(bare) == 1:
        return str(bare[0])
    raise FailedSubmissionError(f"sbatch: error: no job id in what it printed: {text}")


@contextmanager
def _clean_environment(job_parameters: Mapping[str, Any]) -> Iterator[None]:
    """Remove variables that contradict the profile, or that would change what the job does."""
    previous = dict(os.environ)
    kept = submission_environment(previous) | kept_sbatch_variables(job_parameters, previous)
    for name in previous.keys() - kept.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(previous)


def _node_setup_lines(profile: SlurmProfile) -> list[str]:
    """Return shell lines that set variables by what is set on the node."""
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
    """Return shell lines that requeue the job from the batch script, outside the container.

    They run after python has saved and ended.
    """
    job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    was_terminated = (
        f'scontrol show job --oneliner "$SLURM_JOB_ID" | grep -qE "{TERMINATION_PATTERN}"'
    )
    return [
        "code=$?",
        # After SIGTERM python in the container could not find out whether a person cancelled it.
        f"if [ $code -eq {STOPPED} ] && {was_terminated}; then",
        f"    code={REQUEUE}",
        "fi",
        f"if [ $code -eq {REQUEUE} ] && [ ${{SLURM_RESTART_COUNT:-0}} -lt {MAX_REQUEUES} ]; then",
        f'    scontrol requeue "{job}"',
        "fi",
        "exit $code",
    ]


def _sbatch_error(text: str) -> str:
    """Return the error lines of sbatch in one line, or all of `text` if no line is an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if "error" in line.lower()) or " ".join(text.split())
