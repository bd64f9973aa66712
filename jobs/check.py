"""Cluster check: one tiny job, by the way that every task takes, says what its node is like.

In:   a profile.   Out: a line per finding; a report for an administrator; an exit code.
Not here: what the job does (tasks.py).
"""

import argparse
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import local, scheduler, slurm, snapshot, tasks
from jobs.console import count, duration, say
from jobs.limits import limits
from jobs.profile import Local, Profile, Slurm, load_profile, require_writable, work_folder
from jobs.scheduler import SchedulerError
from jobs.tasks import CheckTask
from jobs.wanted import SweepFolder
from pipeline.files import InputError, read_json, write_text
from pipeline.settings import dump_yaml

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_QUESTIONS = 30.0
SECONDS_FOR_REQUEUE = 300.0  # SLURM's own hold is two minutes
LOOKS_BETWEEN_RELEASES = 4
LARGEST_SKEW = 30.0  # seconds between the clocks of two hosts


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str


def cluster_check(options: argparse.Namespace) -> int:
    profile = load_profile(options.profile)
    work = work_folder(profile, options.work)
    require_writable(work)
    folder = SweepFolder(work, "cluster-check")
    answer = folder.path / f"answer-{secrets.token_hex(4)}.json"
    on_slurm = isinstance(profile, Slurm)
    file = tasks.write(CheckTask(answer=str(answer), signalled=on_slurm), folder.tasks)
    try:
        job = _run(file, answer, profile, folder)
        findings = examine(read_json(answer), profile, folder, time.time())
        if isinstance(profile, Slurm):
            findings += [*_requeued(job, answer.with_suffix(".again")), _limits(profile)]
    finally:
        answer.unlink(missing_ok=True)
        answer.with_suffix(".again").unlink(missing_ok=True)
    for finding in findings:
        say(f"{'ok     ' if finding.good else 'WRONG  '} {finding.text}")
    report = folder.path / "report.md"
    write_text(report, for_an_administrator(profile, findings))
    say(f"report, to be pasted into a mail: {report}")
    return 0 if all(finding.good for finding in findings) else 1


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
        return scheduler.ask(["scontrol", "--version"]).strip()
    except SchedulerError:
        return "no SLURM"


def _requeued(job: str, again: Path) -> list[Finding]:
    """Send what announces a time limit; the job is to save, ask for another turn, and get it."""
    scheduler.ask(["scancel", "--signal=USR2", job])
    began = time.monotonic()
    for look in range(round(SECONDS_FOR_REQUEUE / SECONDS_BETWEEN_LOOKS)):
        if again.exists():
            took = duration(time.monotonic() - began)
            return [
                Finding(True, "signals arrive: after SIGUSR2 the job asked for another turn"),
                Finding(True, f"requeue works: the second turn came after {took}"),
            ]
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if look % LOOKS_BETWEEN_RELEASES == 0:
            with suppress(SchedulerError):  # SLURM holds a requeued job; not every site lets go
                scheduler.ask(["scontrol", "update", f"JobId={job}", "StartTime=now"])
    with suppress(SchedulerError):
        scheduler.cancel([job])
    took = duration(SECONDS_FOR_REQUEUE)
    return [Finding(False, f"no second turn within {took} of SIGUSR2: is JobRequeue off?")]


def _limits(profile: Slurm) -> Finding:
    found = limits(profile, scheduler.queue())
    parts = {
        "jobs that may be submitted now": found.tasks,
        "at once": found.running,
        "tasks in an array": found.array,
        "minutes": found.minutes,
    }
    said = (f"{'any' if most is None else most} {what}" for what, most in parts.items())
    return Finding(found.tasks != 0, f"limits: {', '.join(said)}")


def examine(
    answer: dict[str, Any], profile: Profile, folder: SweepFolder, now: float
) -> list[Finding]:
    """What the node said, against what was asked for."""
    found = [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        Finding(True, f"modules: {', '.join(answer['modules']) or 'none'}"),
        Finding(
            all(str(folder.code) in path for path in answer["code"]),
            f"code comes from {Path(answer['code'][0]).parents[2]}, the snapshot",
        ),
        Finding(True, f"the work folder {folder.work} is shared and can be written there"),
        _clock(now - answer["time"]),
    ]
    asked = profile.cpus if isinstance(profile, Slurm) else 1
    found.append(
        Finding(
            answer["cpus"] >= asked,
            f"{count(answer['cpus'], 'CPU')} may be used, {asked} asked for",
        )
    )
    return [*found, _gpus(answer["gpus"], profile)]


def _clock(skew: float) -> Finding:
    good = abs(skew) < LARGEST_SKEW
    return Finding(good, f"its clock is within {duration(max(1.0, abs(skew)))} of this one")


def _gpus(names: list[str], profile: Profile) -> Finding:
    listed = ", ".join(names) or "none"
    if profile.device == "cpu":
        return Finding(True, f"GPUs: {listed}; the profile says device: cpu")
    asked = profile.gpus if isinstance(profile, Slurm) else int(profile.device == "cuda")
    return Finding(len(names) >= asked, f"GPUs: {listed}; {asked} asked for")


def _run(file: Path, answer: Path, profile: Profile, folder: SweepFolder) -> str:
    code = snapshot.take(folder.code)
    if isinstance(profile, Local):
        slots = local.slots_for_runs(profile)
        local.run([file], slots, code, look=lambda _: None, ended=lambda _: None)
        if not answer.exists():
            raise InputError(f"the check ended without an answer; see {local.output_path(file)}")
        return ""
    submission = slurm.Submission(profile=profile, name=folder.name, folder=folder.jobs, code=code)
    (job,) = submission.submit([file], slurm.run_parameters(profile), throttle=None)
    say(f"submitted job {job}")
    _await(answer, job, folder)
    return job


def _await(answer: Path, job: str, folder: SweepFolder) -> None:
    ask_at = time.monotonic() + SECONDS_BETWEEN_QUESTIONS
    told, gone = "", False
    while not answer.exists():
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if time.monotonic() < ask_at:
            continue
        ask_at = time.monotonic() + SECONDS_BETWEEN_QUESTIONS
        queued = scheduler.queue().get(job)
        if queued is None and gone:
            output = folder.jobs / f"{job}_0_log.out"
            raise InputError(f"job {job} ended without an answer; see {output}")
        # A network file system may show the file of another host late: one more round.
        gone = queued is None
        now = f"job {job}: {queued.state.lower()} {queued.reason}".rstrip() if queued else told
        if now != told:
            say(now)
            told = now
