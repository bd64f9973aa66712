"""Cluster check: one tiny job, by the way that every task takes, says what its node is like.

In:   a profile.   Out: a line per finding; an exit code.
Not here: what the job does (tasks.py).
"""

import argparse
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import local, scheduler, slurm, snapshot, tasks
from jobs.console import count, duration, say
from jobs.profile import Local, Profile, Slurm, load_profile, require_writable, work_folder
from jobs.tasks import CheckTask
from jobs.wanted import SweepFolder
from pipeline.files import InputError, read_json

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_QUESTIONS = 30.0
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
    file = tasks.write(CheckTask(answer=str(answer)), folder.tasks)
    try:
        _run(file, answer, profile, folder)
        findings = examine(read_json(answer), profile, folder, time.time())
    finally:
        answer.unlink(missing_ok=True)
    for finding in findings:
        say(f"{'ok     ' if finding.good else 'WRONG  '} {finding.text}")
    return 0 if all(finding.good for finding in findings) else 1


def examine(
    answer: dict[str, Any], profile: Profile, folder: SweepFolder, now: float
) -> list[Finding]:
    """What the node said, against what was asked for."""
    found = [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
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


def _run(file: Path, answer: Path, profile: Profile, folder: SweepFolder) -> None:
    code = snapshot.take(folder.code)
    if isinstance(profile, Local):
        slots = local.slots_for_runs(profile)
        local.run([file], slots, code, look=lambda _: None, ended=lambda _: None)
        if not answer.exists():
            raise InputError(f"the check ended without an answer; see {local.output_path(file)}")
        return
    submission = slurm.Submission(profile=profile, name=folder.name, folder=folder.jobs, code=code)
    (job,) = submission.submit([file], slurm.run_parameters(profile), throttle=None)
    say(f"submitted job {job}")
    _await(answer, job, folder)


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
