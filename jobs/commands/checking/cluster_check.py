"""The verb cluster-check: tiny jobs, submitted like every task, report what their nodes offer.

In:   typed options.   Out: a line per check; a report for an administrator; an exit code.
Not here: what the jobs do, and what their answers mean (node/checks.py); the profile compared
with SLURM's configuration (site_checks.py).
"""

import argparse
import math
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import code_snapshot
from jobs.commands.checking.request_checks import check_refused_job
from jobs.commands.checking.site_checks import check_limits, check_preemption, check_profile_limits
from jobs.launch import submit
from jobs.local import executor
from jobs.messages import duration_text, print_line
from jobs.node import task_file
from jobs.node.checks import CheckResult, check_clock, check_feature_node, check_node
from jobs.node.task_file import CheckTask
from jobs.profile import LocalProfile, Profile, SlurmProfile, load_profile
from jobs.slurm import client, resources, sbatch
from jobs.slurm.client import SchedulerError
from jobs.slurm.reasons import explain, never_starts
from jobs.sweep.folder import SweepFolder
from jobs.work_folder import address_profile_cluster, require_writable, resolve_work_folder
from pipeline.config.loader import dump_yaml
from pipeline.files import InputError, read_json, write_text

CHECK_POLL_INTERVAL_S = 1.0
FIRST_QUERY_DELAY_S = 5.0  # SLURM soon gives the reason if a job can never start
FILE_VISIBILITY_TIMEOUT_S = 30.0  # a network file system shows files of other hosts late
SIGNAL_REPLY_TIMEOUT_S = 120.0  # the reply is a file, too
REQUEUE_TIMEOUT_S = 300.0  # SLURM holds a requeued job for two minutes
MAX_OUTPUT_CHARS = 300


class NoAnswerError(InputError):
    """A job of the check ended without an answer, or can never start."""


@dataclass(frozen=True)
class Probe:
    """One job of the check: its answer, and its replies to a signal and after a requeue."""

    answer_path: Path
    submitted_at: float  # unix, of this host
    poll_interval_s: float  # seconds between two queries of SLURM
    job: str = ""
    signalled: bool = True  # False: a job in the partition of features, which only answers

    @property
    def signal_received_path(self) -> Path:
        return self.answer_path.with_suffix(".signal_received")

    @property
    def requeued_path(self) -> Path:
        return self.answer_path.with_suffix(".again")


def cluster_check(options: argparse.Namespace) -> int:
    profile = load_profile(options.profile)
    address_profile_cluster(profile)
    work = resolve_work_folder(profile, options.work)
    require_writable(work)
    folder = SweepFolder(work, "cluster-check")
    if isinstance(profile, SlurmProfile):
        with _interrupted_by_sigterm():
            findings = _check_slurm(profile, folder)
    else:
        findings = _check_this_machine(profile, folder)
    for finding in findings:
        print_line(f"{'ok     ' if finding.ok else 'WRONG  '} {finding.text}")
    report = folder.path / "report.md"
    write_text(report, format_admin_report(profile, findings))
    print_line(f"report, for a mail to an administrator: {report}")
    return 0 if all(finding.ok for finding in findings) else 1


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: the jobs of the check are cancelled."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _check_this_machine(profile: LocalProfile, folder: SweepFolder) -> list[CheckResult]:
    with _check_task_file(folder, signalled=False, gpu=profile.device == "cuda") as (file, answer):
        sent = time.time()
        slots = executor.slots_for_runs(profile)
        code = code_snapshot.take_snapshot(folder.code)
        executor.run_tasks_interruptible(
            [file], slots, code, on_poll=lambda _: None, on_exit=lambda _: None
        )
        if not answer.exists():
            raise InputError(f"the check ended without an answer; see {executor.output_path(file)}")
        answers = read_json(answer)
        skew = check_clock(answers["time"], sent, time.time())
    return [*check_node(answers, profile, folder.work, folder.code), skew]


def _check_slurm(profile: SlurmProfile, folder: SweepFolder) -> list[CheckResult]:
    submit.refuse_inside_a_job()
    code = code_snapshot.take_snapshot(folder.code)
    submission = submit.make_submission(profile, folder, code)
    for_runs, for_features = (
        resources.run_parameters(profile),
        resources.feature_parameters(profile),
    )
    place = ("partition", "qos", "constraint")
    elsewhere = any(for_runs[name] != for_features[name] for name in place)
    findings, probes = list[CheckResult](), list[Probe]()
    with ExitStack() as stack:
        for parameters in (for_runs, for_features) if elsewhere else (for_runs,):
            is_run = parameters is for_runs
            submitted = _submit_probe(submission, parameters, folder, signalled=is_run)
            try:
                probes.append(stack.enter_context(submitted))
            except sbatch.SubmissionRefusedError as refusal:
                kind = "" if is_run else "features: "
                findings += check_refused_job(parameters, kind, str(refusal))
        for probe in probes:
            findings += _probe_results(probe, profile, folder)
        own_jobs = {probe.job for probe in probes}
        return [
            *findings,
            *check_limits(profile, own_jobs),
            *check_profile_limits(profile),
            *check_preemption(profile),
        ]


@contextmanager
def _check_task_file(
    folder: SweepFolder, *, signalled: bool, gpu: bool, scratch: str | None = None
) -> Iterator[tuple[Path, Path]]:
    answer = folder.path / f"answer-{secrets.token_hex(4)}.json"
    task = CheckTask(answer=str(answer), signalled=signalled, scratch=scratch, gpu=gpu)
    try:
        yield task_file.write_task(task, folder.tasks), answer
    finally:
        for file in folder.path.glob(f"{answer.stem}.*"):
            file.unlink(missing_ok=True)


@contextmanager
def _submit_probe(
    submission: sbatch.Submission,
    parameters: Mapping[str, Any],
    folder: SweepFolder,
    *,
    signalled: bool = False,
) -> Iterator[Probe]:
    """Submit a job and yield it; cancel it at the end, also after Ctrl-C."""
    scratch = submission.profile.local_scratch_var
    gpu = signalled and submission.profile.gpus > 0 and submission.profile.device != "cpu"
    task = _check_task_file(folder, signalled=signalled, gpu=gpu, scratch=scratch)
    with task as (file, answer):
        submitted_at = time.time()
        (job,) = submission.submit([file], parameters)
        try:
            print_line(f"submitted job {job} to {_partition_text(parameters['partition'])}")
            yield Probe(answer, submitted_at, submission.profile.poll_min_s, job, signalled)
        finally:
            with suppress(SchedulerError):  # the job has already ended
                client.cancel_jobs([job])


def format_admin_report(profile: Profile, findings: Sequence[CheckResult]) -> str:
    """Return all findings and the profile as Markdown."""
    lines = [
        f"# blankslate cluster-check of {profile.path}",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M %Z')}, from {socket.gethostname()}, {_slurm_version()}",
        "",
        *(f"- {'ok' if each.ok else '**wrong**'}: {each.text}" for each in findings),
        "",
        "The profile:",
        "",
        *(f"    {line}" for line in dump_yaml(profile).splitlines()),
    ]
    return "\n".join(lines) + "\n"


def _partition_text(partition: str | None) -> str:
    return f"partition {partition}" if partition else "the default partition"


def _slurm_version() -> str:
    try:
        return client.run_slurm_command(["scontrol", "--version"]).strip()
    except SchedulerError:
        return "no SLURM"


def _check_requeue(probe: Probe) -> list[CheckResult]:
    """Send the signal that announces a time limit: the job should save and be requeued."""
    sent = time.time()
    try:
        client.run_slurm_command(["scancel", "--signal=USR2", probe.job])
    except SchedulerError as error:
        return [CheckResult(False, f"no signal could be sent to job {probe.job}: {error}")]
    if not _wait_for_file(probe.signal_received_path, SIGNAL_REPLY_TIMEOUT_S):
        took = duration_text(SIGNAL_REPLY_TIMEOUT_S)
        failure = f"no signal arrived within {took}: scancel --signal=USR2 must reach a job's steps"
        return [CheckResult(False, failure)]
    findings = [
        CheckResult(True, "signals arrive: the job received SIGUSR2, which announces a time limit"),
        check_clock(read_json(probe.signal_received_path), sent, time.time()),
    ]
    began = time.monotonic()

    def release() -> None:  # SLURM holds a requeued job, and some sites do not release it
        with suppress(SchedulerError):
            client.run_slurm_command(["scontrol", "update", f"JobId={probe.job}", "StartTime=now"])

    if _wait_for_file(probe.requeued_path, REQUEUE_TIMEOUT_S, probe.poll_interval_s, release):
        took = duration_text(time.monotonic() - began)
        return [*findings, CheckResult(True, f"requeue works: the job started again after {took}")]
    took = duration_text(REQUEUE_TIMEOUT_S)
    failure = f"the job did not start again within {took} of the signal: is JobRequeue off?"
    return [*findings, CheckResult(False, failure)]


def _wait_for_file(
    file: Path,
    timeout_s: float,
    action_interval_s: float = math.inf,
    periodic_action: Callable[[], None] = lambda: None,
) -> bool:
    """Return whether the file appears in time; run `periodic_action` at this interval meanwhile."""
    act_at = time.monotonic() + action_interval_s
    for _ in range(max(1, round(timeout_s / CHECK_POLL_INTERVAL_S))):
        if file.exists():
            return True
        time.sleep(CHECK_POLL_INTERVAL_S)
        if time.monotonic() >= act_at:
            act_at = time.monotonic() + action_interval_s
            periodic_action()
    return file.exists()


def _probe_results(probe: Probe, profile: SlurmProfile, folder: SweepFolder) -> list[CheckResult]:
    try:
        answer = _wait_for_answer(probe, folder)
    except NoAnswerError as silence:
        return [CheckResult(False, str(silence))]
    if probe.signalled:
        return [*check_node(answer, profile, folder.work, folder.code), *_check_requeue(probe)]
    return check_feature_node(answer, profile, folder.work)


def _job_output_tail(probe: Probe, folder: SweepFolder) -> str:
    output = folder.jobs / f"{probe.job}_0_log.out"
    try:
        text = " ".join(output.read_text(encoding="utf-8", errors="replace").split())
    except FileNotFoundError:
        return f"it left no output: do the nodes share {folder.work}, and may they write there?"
    return f"{text[-MAX_OUTPUT_CHARS:] or 'it printed nothing'}; see {output}"


def _wait_for_answer(probe: Probe, folder: SweepFolder) -> dict[str, Any]:
    query_at = time.monotonic() + FIRST_QUERY_DELAY_S
    last_state, gone = "", False
    while not probe.answer_path.exists():
        time.sleep(CHECK_POLL_INTERVAL_S)
        if time.monotonic() < query_at:
            continue
        if gone:
            raise NoAnswerError(
                f"job {probe.job} ended without an answer: {_job_output_tail(probe, folder)}"
            )
        queued = client.squeue().get(probe.job)
        if queued and never_starts(queued.reason):
            raise NoAnswerError(f"job {probe.job} {explain(queued.reason)}")
        gone = queued is None
        query_at = time.monotonic() + (FILE_VISIBILITY_TIMEOUT_S if gone else probe.poll_interval_s)
        state = (
            f"{queued.state.lower()} {explain(queued.reason)}".rstrip() if queued else last_state
        )
        if state != last_state:
            print_line(f"job {probe.job}: {state}")
            last_state = state
    answer: dict[str, Any] = read_json(probe.answer_path)
    return answer
