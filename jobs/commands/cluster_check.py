"""Cluster check: tiny jobs, by the way that every task takes, say what their nodes are like.

In:   a profile.   Out: a line per finding; a report for an administrator; an exit code.
Not here: what the jobs do (tasks.py).
"""

import argparse
import math
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import code_snapshot
from jobs.launch import entrypoint, orphan_jobs
from jobs.local import executor
from jobs.messages import duration, say
from jobs.node import task_file
from jobs.node.checks import Finding, clock, examine, examine_features
from jobs.node.task_file import CheckTask
from jobs.profile import Local, Profile, Slurm, load_profile, require_writable, work_folder
from jobs.slurm import client, preemption, resources, sbatch
from jobs.slurm.client import SchedulerError
from jobs.slurm.limits import beyond, limits
from jobs.slurm.reasons import in_words, never
from jobs.sweep.folder import SweepFolder
from pipeline.config.loader import dump_yaml
from pipeline.files import InputError, read_json, write_text

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BEFORE_A_QUESTION = 5.0  # the first: SLURM refuses soon what it will never start
SECONDS_FOR_FILES = 30.0  # a network file system may show late what another host has written
SECONDS_FOR_SIGNAL = 120.0  # the file system may show late that it was heard
SECONDS_FOR_REQUEUE = 300.0  # SLURM's own hold is two minutes
LETTERS_OF_OUTPUT = 300


class NoAnswerError(InputError):
    """A job of the check ended, or will never start, without having answered."""


@dataclass(frozen=True)
class Probe:
    """One job; what it answers, and then what it has to say about a signal and a requeue."""

    answer: Path
    sent: float  # unix, of this host
    patience: float  # seconds between two questions to SLURM
    job: str = ""
    signalled: bool = True  # else of the place of features, which answers and ends

    @property
    def heard(self) -> Path:
        return self.answer.with_suffix(".heard")

    @property
    def again(self) -> Path:
        return self.answer.with_suffix(".again")


def cluster_check(options: argparse.Namespace) -> int:
    profile = load_profile(options.profile)
    work = work_folder(profile, options.work)
    require_writable(work)
    folder = SweepFolder(work, "cluster-check")
    findings = _on_slurm(profile, folder) if isinstance(profile, Slurm) else _here(profile, folder)
    for finding in findings:
        say(f"{'ok     ' if finding.good else 'WRONG  '} {finding.text}")
    report = folder.path / "report.md"
    write_text(report, for_an_administrator(profile, findings))
    say(f"report, to be pasted into a mail: {report}")
    return 0 if all(finding.good for finding in findings) else 1


def _here(profile: Local, folder: SweepFolder) -> list[Finding]:
    with _task(folder, signalled=False) as (file, answer):
        sent = time.time()
        slots = executor.slots_for_runs(profile)
        code = code_snapshot.take(folder.code)
        executor.run([file], slots, code, look=lambda _: None, ended=lambda _: None)
        if not answer.exists():
            raise InputError(f"the check ended without an answer; see {executor.output_path(file)}")
        said = read_json(answer)
        skew = clock(said["time"], sent, time.time())
    return [*examine(said, profile, folder.work, folder.code), skew]


def _on_slurm(profile: Slurm, folder: SweepFolder) -> list[Finding]:
    orphan_jobs.refuse_inside_a_job()
    code = code_snapshot.take(folder.code)
    submission = sbatch.Submission(
        profile=profile,
        name=folder.name,
        folder=folder.jobs,
        code=code,
        execute=entrypoint.run_in_slurm,
    )
    own, of_features = resources.run_parameters(profile), resources.feature_parameters(profile)
    place = ("partition", "qos", "constraint")
    apart = [of_features] if any(own[name] != of_features[name] for name in place) else []
    findings, probes = list[Finding](), list[Probe]()
    with ExitStack() as stack:
        for asked in (own, *apart):
            sent = _probe(submission, asked, folder, signalled=asked is own)
            try:
                probes.append(stack.enter_context(sent))
            except sbatch.RefusedError as refusal:
                whose = "" if asked is own else "features: "
                findings.append(Finding(False, f"{whose}{refusal}"))
        for probe in probes:
            findings += _heard(probe, profile, folder)
        own_jobs = {probe.job for probe in probes}
        return [*findings, _limits(profile, own_jobs), *_beyond(profile), *_preemption(profile)]


@contextmanager
def _task(
    folder: SweepFolder, *, signalled: bool, scratch: str | None = None
) -> Iterator[tuple[Path, Path]]:
    answer = folder.path / f"answer-{secrets.token_hex(4)}.json"
    task = CheckTask(answer=str(answer), signalled=signalled, scratch=scratch)
    try:
        yield task_file.write(task, folder.tasks), answer
    finally:
        for file in folder.path.glob(f"{answer.stem}.*"):
            file.unlink(missing_ok=True)


@contextmanager
def _probe(
    submission: sbatch.Submission,
    asked: Mapping[str, Any],
    folder: SweepFolder,
    *,
    signalled: bool = False,
) -> Iterator[Probe]:
    """Its job is cancelled in the end: also where a person has no patience."""
    scratch = submission.profile.local_scratch_var
    with _task(folder, signalled=signalled, scratch=scratch) as (file, answer):
        sent = time.time()
        (job,) = submission.submit([file], asked)
        try:
            say(f"submitted job {job} to partition {asked['partition'] or 'of the site'}")
            yield Probe(answer, sent, submission.profile.poll_min_s, job, signalled)
        finally:
            with suppress(SchedulerError):  # it has ended long ago
                client.cancel([job])


def for_an_administrator(profile: Profile, findings: Sequence[Finding]) -> str:
    """Everything that was seen, and with which settings, as Markdown."""
    lines = [
        f"# blankslate cluster-check of {profile.path}",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M %Z')}, from {socket.gethostname()}, {_version()}",
        "",
        *(f"- {'ok' if each.good else '**wrong**'}: {each.text}" for each in findings),
        "",
        "The profile:",
        "",
        *(f"    {line}" for line in dump_yaml(profile).splitlines()),
    ]
    return "\n".join(lines) + "\n"


def _version() -> str:
    try:
        return client.ask(["scontrol", "--version"]).strip()
    except SchedulerError:
        return "no SLURM"


def _requeued(probe: Probe) -> list[Finding]:
    """Send what announces a time limit; the job is to save, ask for another turn, and get it."""
    sent = time.time()
    try:
        client.ask(["scancel", "--signal=USR2", probe.job])
    except SchedulerError as error:
        return [Finding(False, f"no signal could be sent to job {probe.job}: {error}")]
    if not _appears(probe.heard, SECONDS_FOR_SIGNAL):
        took = duration(SECONDS_FOR_SIGNAL)
        told = f"no signal arrived within {took}: scancel --signal=USR2 must reach a job's steps"
        return [Finding(False, told)]
    findings = [
        Finding(True, "signals arrive: the job heard SIGUSR2, which announces a time limit"),
        clock(read_json(probe.heard), sent, time.time()),
    ]
    began = time.monotonic()

    def release() -> None:  # SLURM holds a requeued job; not every site lets go
        with suppress(SchedulerError):
            client.ask(["scontrol", "update", f"JobId={probe.job}", "StartTime=now"])

    if _appears(probe.again, SECONDS_FOR_REQUEUE, probe.patience, release):
        took = duration(time.monotonic() - began)
        return [*findings, Finding(True, f"requeue works: the second turn came after {took}")]
    took = duration(SECONDS_FOR_REQUEUE)
    told = f"no second turn within {took} of the signal that was heard: is JobRequeue off?"
    return [*findings, Finding(False, told)]


def _appears(
    file: Path,
    seconds: float,
    patience: float = math.inf,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """`meanwhile`: done whenever so many seconds have passed without it."""
    act_at = time.monotonic() + patience
    for _ in range(max(1, round(seconds / SECONDS_BETWEEN_LOOKS))):
        if file.exists():
            return True
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if time.monotonic() >= act_at:
            act_at = time.monotonic() + patience
            meanwhile()
    return file.exists()


def _limits(profile: Slurm, own: Collection[str] = ()) -> Finding:
    """`own`: jobs of this check, which may not have left the queue yet."""
    try:
        queued = client.queue()
        found = limits(profile, {job: each for job, each in queued.items() if job not in own})
    except InputError as error:
        return Finding(False, f"limits: {error}")
    parts = {
        "jobs that may be submitted now": found.tasks,
        "at once": found.running,
        "tasks in an array": found.array,
        "minutes": found.minutes,
    }
    said = (f"{'any' if most is None else most} {what}" for what, most in parts.items())
    return Finding(found.tasks != 0, f"limits: {', '.join(said)}")


def _beyond(profile: Slurm) -> list[Finding]:
    with suppress(InputError):  # told already, of the limits
        return [Finding(False, said) for said in beyond(profile)]
    return []


def _preemption(profile: Slurm) -> list[Finding]:
    """As the profile has it, against what SLURM says."""
    findings = []
    for field, there in preemption.by_the_site(profile).items():
        mine, said = getattr(profile, field), " or ".join(sorted(map(_plain, there)))
        known = mine is not None and mine != "unknown"
        good = not known or there == {mine}
        less = f", not {_plain(mine)} as in the profile" if not good else ""
        less = less if known else ", which the profile leaves open"
        findings.append(Finding(good, f"{field} is {said} here{less}"))
    return findings or [Finding(True, "preemption: the site does not tell")]


def _plain(value: preemption.Field) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _heard(probe: Probe, profile: Slurm, folder: SweepFolder) -> list[Finding]:
    try:
        said = _await(probe, folder)
    except NoAnswerError as silence:
        return [Finding(False, str(silence))]
    if probe.signalled:
        return [*examine(said, profile, folder.work, folder.code), *_requeued(probe)]
    return examine_features(said, profile, folder.work)


def _last_words(probe: Probe, folder: SweepFolder) -> str:
    output = folder.jobs / f"{probe.job}_0_log.out"
    try:
        said = " ".join(output.read_text(encoding="utf-8", errors="replace").split())
    except FileNotFoundError:
        return f"it left no output: do the nodes share {folder.work}, and may they write there?"
    return f"{said[-LETTERS_OF_OUTPUT:] or 'it printed nothing'}; see {output}"


def _await(probe: Probe, folder: SweepFolder) -> dict[str, Any]:
    ask_at = time.monotonic() + SECONDS_BEFORE_A_QUESTION
    told, gone = "", False
    while not probe.answer.exists():
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if time.monotonic() < ask_at:
            continue
        if gone:
            raise NoAnswerError(
                f"job {probe.job} ended without an answer: {_last_words(probe, folder)}"
            )
        queued = client.queue().get(probe.job)
        if queued and never(queued.reason):
            raise NoAnswerError(f"job {probe.job} {in_words(queued.reason)}")
        gone = queued is None
        ask_at = time.monotonic() + (SECONDS_FOR_FILES if gone else probe.patience)
        now = f"{queued.state.lower()} {in_words(queued.reason)}".rstrip() if queued else told
        if now != told:
            say(f"job {probe.job}: {now}")
            told = now
    said: dict[str, Any] = read_json(probe.answer)
    return said
