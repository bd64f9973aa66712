"""Node checks: what a node offers, compared with what the profile requests.

In:   a check task, on the node; its answer, on the login node.
Out:  the answer file; a `CheckResult` for each check.
Not here: submitting the check's jobs (commands/checking/cluster_check.py).
"""

import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from jobs.environment import REPOSITORY_ROOT
from jobs.exit_codes import DONE, STOPPED
from jobs.imports import quick_imports
from jobs.messages import count_text, duration_text, join_first
from jobs.node.signals import StopRequest
from jobs.node.task_file import CheckTask
from jobs.profile import Profile, SlurmProfile
from pipeline.files import write_json
from pipeline.host import available_cpus

CHECK_SIGNAL_TIMEOUT_S = 180.0  # a network file system may show the answer late
MIN_FREE_GB = 1.0
MAX_CLOCK_SKEW_S = 30.0  # between the clocks of two hosts
MODULE_LOAD_PATTERN = re.compile(r"\b(?:module\s+(?:load|add)|ml)\s+([^;&|#]+)")


def run_check_task(task: CheckTask, stop: StopRequest) -> int:
    """Write the answer of this node; if `task.signalled`, wait for a signal and record it.

    A requeued job writes its restart count instead. Return DONE, or STOPPED after a signal.
    """
    # What a run imports. Only here: a login node must not load torch.
    with quick_imports():
        from pipeline.features import precompute  # noqa: PLC0415
        from pipeline.training.loop import devices, trainer  # noqa: PLC0415

    path = Path(task.answer)
    if path.exists():  # by the first attempt: this one follows the requeue
        write_json(path.with_suffix(".again"), os.environ.get("SLURM_RESTART_COUNT", "0"))
        return DONE
    answer = {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "modules": [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
        "code": [module.__file__ for module in (precompute, trainer)],
        "cpus": available_cpus(),
        "gpus": devices.gpu_names(),
        "gpu_problems": devices.gpu_problems() if task.gpu else [],
        "packages": {each.name: each.version for each in distributions()},
        "scratch": os.environ.get(task.scratch or "", ""),
        "temporary": tempfile.gettempdir(),  # the first writable one of Python's candidates
        "free_bytes": shutil.disk_usage(path.parent).free,
        "time": time.time(),
    }
    write_json(path, answer)
    began = time.monotonic()
    while task.signalled and not stop() and time.monotonic() - began < CHECK_SIGNAL_TIMEOUT_S:
        time.sleep(0.1)
    if stop():
        write_json(path.with_suffix(".signal_received"), time.time())
    return STOPPED if stop() else DONE


@dataclass(frozen=True)
class CheckResult:
    """One line of a check's report."""

    ok: bool
    text: str


def check_node(
    answer: Mapping[str, Any], profile: Profile, work: Path, snapshots: Path
) -> list[CheckResult]:
    """Compare a node's answer with the profile; `snapshots` holds the snapshots of the code."""
    return [
        CheckResult(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        _check_modules(
            answer["modules"], profile.setup if isinstance(profile, SlurmProfile) else ()
        ),
        CheckResult(
            all(str(snapshots) in path for path in answer["code"]),
            f"code comes from {Path(answer['code'][0]).parents[2]}, the snapshot",
        ),
        CheckResult(True, f"the work folder {work} is shared and can be written there"),
        _check_space(answer["free_bytes"]),
        _check_cpus(answer["cpus"], profile.cpus if isinstance(profile, SlurmProfile) else 1),
        check_packages(answer["packages"], REPOSITORY_ROOT / "requirements.lock"),
        _check_gpus(answer["gpus"], profile),
        *(CheckResult(False, f"GPU: {problem}") for problem in answer["gpu_problems"]),
        *_check_scratch(answer, profile),
    ]


def check_feature_node(
    answer: Mapping[str, Any], profile: SlurmProfile, work: Path
) -> list[CheckResult]:
    """Compare the answer of a node for features with the profile: its partition may be another."""
    results = [
        CheckResult(True, f"python {answer['python']} on {answer['host']} imports the pipeline"),
        CheckResult(True, f"the work folder {work} can be written there"),
        _check_cpus(answer["cpus"], profile.features.cpus),
        *_check_scratch(answer, profile),
    ]
    return [CheckResult(each.ok, f"features: {each.text}") for each in results]


def _check_space(free_bytes: int) -> CheckResult:
    gigabytes = free_bytes / 1e9
    return CheckResult(
        gigabytes >= MIN_FREE_GB,
        f"{gigabytes:.1f} GB are free in the work folder; your quota may allow less",
    )


def check_packages(installed: Mapping[str, str], lock: Path) -> CheckResult:
    """Compare the versions that a node imports with the lock; builds of torch differ after a +."""
    if not lock.exists():
        return CheckResult(True, f"packages: there is no {lock.name} to compare them with")
    locked: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE
    ):
        locked.setdefault(_normal_name(name), set()).add(version)
    found = {_normal_name(name): version.split("+")[0] for name, version in installed.items()}
    differing = [
        f"{name} {found[name]}, locked {' or '.join(sorted(versions))}"
        for name, versions in sorted(locked.items())
        if name in found and found[name] not in {each.split("+")[0] for each in versions}
    ]
    if differing:
        other = join_first(differing)
        return CheckResult(False, f"packages: {other}; make setup installs the locked versions")
    same = count_text(len(locked.keys() & found.keys()), "package")
    return CheckResult(True, f"packages: {same} in the locked versions")


def _normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_modules(loaded: Sequence[str], setup: Sequence[str]) -> CheckResult:
    """Check that each module of the setup is loaded: a setup line that fails stops no job."""
    requested = (
        name
        for line in setup
        for names in MODULE_LOAD_PATTERN.findall(line)
        for name in names.split()
    )
    missing = [
        name
        for name in requested
        if not any(each == name or each.startswith(f"{name}/") for each in loaded)
    ]
    text = f"modules: {', '.join(loaded) or 'none'}"
    return CheckResult(
        not missing, f"{text}; setup loads {', '.join(missing)}" if missing else text
    )


def _check_cpus(available: int, requested: int) -> CheckResult:
    return CheckResult(
        available >= requested, f"{count_text(available, 'CPU')} available, {requested} requested"
    )


def check_clock(node_time: float, before: float, after: float) -> CheckResult:
    """Compare the node's clock with this host's; times are seconds since 1970.

    The node read `node_time` between `before` and `after` of this host, so a skew that fits
    between them cannot be seen.
    """
    skew = max(before - node_time, node_time - after, 0.0)
    if skew >= MAX_CLOCK_SKEW_S:
        side = "behind" if node_time < before else "ahead of"
        return CheckResult(False, f"its clock is {duration_text(skew)} {side} this one")
    bound = max(after - node_time, node_time - before, 1.0)
    return CheckResult(True, f"its clock is within {duration_text(bound)} of this one")


def _check_gpus(names: list[str], profile: Profile) -> CheckResult:
    listed = ", ".join(names) or "none"
    if profile.device == "cpu":
        return CheckResult(True, f"GPUs: {listed}; the profile says device: cpu")
    requested = profile.gpus if isinstance(profile, SlurmProfile) else int(profile.device == "cuda")
    if len(names) >= requested:
        return CheckResult(True, f"GPUs: {listed}; {requested} requested")
    change = (
        "correct partition, gpus or gpu_type"
        if isinstance(profile, SlurmProfile)
        else "set device: auto"
    )
    advice = f"{change} in {profile.path}, or device: cpu to train without a GPU"
    return CheckResult(False, f"GPUs: {listed}; {requested} requested; {advice}")


def _check_scratch(answer: Mapping[str, Any], profile: Profile) -> list[CheckResult]:
    name = profile.local_scratch_var if isinstance(profile, SlurmProfile) else None
    if not name:
        return []
    scratch_folder, temporary_folder = answer["scratch"], answer["temporary"]
    ok = bool(scratch_folder) and Path(scratch_folder) == Path(temporary_folder)
    value = f"is {scratch_folder}" if scratch_folder else f"is not set on {answer['host']}"
    problem = ", which cannot be written" if scratch_folder and not ok else ""
    return [CheckResult(ok, f"{name} {value}{problem}: temporary files go to {temporary_folder}")]
