"""Findings: what the node of a check said of itself, against what the profile asks for.

In:   the answer of a check's job.   Out: a `Finding` each: whether it is right, in words.
Not here: the jobs that ask (check.py).
"""

import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.exit_codes import DONE, STOPPED
from jobs.messages import count, duration
from jobs.node.signals import StopRequest
from jobs.node.task_file import CheckTask
from jobs.profile import Profile, Slurm
from pipeline.files import write_json
from pipeline.host import cpus

SECONDS_FOR_SIGNAL = 180.0  # the file system may show the answer late


def _examine(task: CheckTask, stop: StopRequest) -> int:
    # What a run imports, and only here, for the reason given at _fit.
    from pipeline.features import precompute  # noqa: PLC0415
    from pipeline.training.loop import trainer  # noqa: PLC0415

    path = Path(task.answer)
    if path.exists():  # written before the requeue
        write_json(path.with_suffix(".again"), os.environ.get("SLURM_RESTART_COUNT", "0"))
        return DONE
    answer = {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "modules": [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
        "code": [module.__file__ for module in (precompute, trainer)],
        "cpus": cpus(),
        "gpus": trainer.gpus(),
        "scratch": os.environ.get(task.scratch or "", ""),
        "temporary": tempfile.gettempdir(),  # of the first folder that it could write into
        "time": time.time(),
    }
    write_json(path, answer)
    began = time.monotonic()
    while task.signalled and not stop() and time.monotonic() - began < SECONDS_FOR_SIGNAL:
        time.sleep(0.1)
    if stop():
        write_json(path.with_suffix(".heard"), time.time())
    return STOPPED if stop() else DONE


LARGEST_SKEW = 30.0  # seconds between the clocks of two hosts
LOADS = re.compile(r"\b(?:module\s+(?:load|add)|ml)\s+([^;&|#]+)")


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str


def examine(
    answer: Mapping[str, Any], profile: Profile, work: Path, snapshots: Path
) -> list[Finding]:
    """What the node said, against what was asked for."""
    return [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        _modules(answer["modules"], profile.setup if isinstance(profile, Slurm) else ()),
        Finding(
            all(str(snapshots) in path for path in answer["code"]),
            f"code comes from {Path(answer['code'][0]).parents[2]}, the snapshot",
        ),
        Finding(True, f"the work folder {work} is shared and can be written there"),
        _cpus(answer["cpus"], profile.cpus if isinstance(profile, Slurm) else 1),
        _gpus(answer["gpus"], profile),
        *_scratch(answer, profile),
    ]


def examine_features(answer: Mapping[str, Any], profile: Slurm, work: Path) -> list[Finding]:
    """Where features go is another partition, with nodes of its own."""
    found = [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        Finding(True, f"the work folder {work} can be written there"),
        _cpus(answer["cpus"], profile.features.cpus),
        *_scratch(answer, profile),
    ]
    return [Finding(each.good, f"features: {each.text}") for each in found]


def _modules(loaded: Sequence[str], setup: Sequence[str]) -> Finding:
    """A setup line that fails stops no job: what it names must have been loaded."""
    wanted = (name for line in setup for names in LOADS.findall(line) for name in names.split())
    lacks = [
        name
        for name in wanted
        if not any(each == name or each.startswith(f"{name}/") for each in loaded)
    ]
    said = f"modules: {', '.join(loaded) or 'none'}"
    return Finding(not lacks, f"{said}; setup loads {', '.join(lacks)}" if lacks else said)


def _cpus(there: int, asked: int) -> Finding:
    return Finding(there >= asked, f"{count(there, 'CPU')} may be used, {asked} asked for")


def clock(told: float, before: float, after: float) -> Finding:
    """`told` by the node, at some time between two of this host: as long as it took, no more."""
    skew = max(before - told, told - after, 0.0)
    if skew >= LARGEST_SKEW:
        side = "behind" if told < before else "ahead of"
        return Finding(False, f"its clock is {duration(skew)} {side} this one")
    least = max(after - told, told - before, 1.0)
    return Finding(True, f"its clock is within {duration(least)} of this one")


def _gpus(names: list[str], profile: Profile) -> Finding:
    listed = ", ".join(names) or "none"
    if profile.device == "cpu":
        return Finding(True, f"GPUs: {listed}; the profile says device: cpu")
    asked = profile.gpus if isinstance(profile, Slurm) else int(profile.device == "cuda")
    if len(names) >= asked:
        return Finding(True, f"GPUs: {listed}; {asked} asked for")
    mend = "mend partition, gpus or gpu_type" if isinstance(profile, Slurm) else "say device: auto"
    way_out = f"{mend} in {profile.path}, or device: cpu for none"
    return Finding(False, f"GPUs: {listed}; {asked} asked for; {way_out}")


def _scratch(answer: Mapping[str, Any], profile: Profile) -> list[Finding]:
    name = profile.local_scratch_var if isinstance(profile, Slurm) else None
    if not name:
        return []
    there, used = answer["scratch"], answer["temporary"]
    good = bool(there) and Path(there) == Path(used)
    named = f"is {there}" if there else f"is not set on {answer['host']}"
    refused = ", which cannot be written" if there and not good else ""
    return [Finding(good, f"{name} {named}{refused}: temporary files go to {used}")]
