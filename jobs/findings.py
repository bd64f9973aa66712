"""Findings: what the node of a check said of itself, against what the profile asks for.

In:   the answer of a check's job.   Out: a `Finding` each: whether it is right, in words.
Not here: the jobs that ask (check.py).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.console import count, duration
from jobs.profile import Profile, Slurm
from jobs.wanted import SweepFolder
from pipeline.values import dataclass

LARGEST_SKEW = 30.0  # seconds between the clocks of two hosts
LOADS = re.compile(r"\b(?:module\s+(?:load|add)|ml)\s+([^;&|#]+)")


@dataclass(frozen=True)
class Finding:
    good: bool
    text: str


def examine(answer: Mapping[str, Any], profile: Profile, folder: SweepFolder) -> list[Finding]:
    """What the node said, against what was asked for."""
    return [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        _modules(answer["modules"], profile.setup if isinstance(profile, Slurm) else ()),
        Finding(
            all(str(folder.code) in path for path in answer["code"]),
            f"code comes from {Path(answer['code'][0]).parents[2]}, the snapshot",
        ),
        Finding(True, f"the work folder {folder.work} is shared and can be written there"),
        _cpus(answer["cpus"], profile.cpus if isinstance(profile, Slurm) else 1),
        _gpus(answer["gpus"], profile),
        *_scratch(answer, profile),
    ]


def examine_features(
    answer: Mapping[str, Any], profile: Slurm, folder: SweepFolder
) -> list[Finding]:
    """Where features go is another partition, with nodes of its own."""
    found = [
        Finding(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        Finding(True, f"the work folder {folder.work} can be written there"),
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
