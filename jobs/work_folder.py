"""The place of a command: its profile, its work folder, and the options that name them again.

In:   --cluster and --work.   Out: a profile, the work folder; make commands for messages.
Not here: what a profile may hold (profile.py).
"""

import argparse
import os
import re
import secrets
import shutil
from functools import cache
from pathlib import Path
from shlex import quote

from jobs.environment import address_cluster
from jobs.messages import print_note
from jobs.profile import DEFAULT_PROFILES, LocalProfile, Profile, SlurmProfile, load_profile
from jobs.profile_fields import BUILT_IN_PROFILE
from pipeline.config.loader import expand_path
from pipeline.files import InputError, expand_home
from pipeline.runs.folder import RunFolder

# 1: a command without CLUSTER means this machine, although it has sbatch.
THIS_MACHINE_VARIABLE = "BLANKSLATE_THIS_MACHINE"
# 1: make had no CLUSTER, and took its default.
DEFAULT_CLUSTER_VARIABLE = "BLANKSLATE_DEFAULT_CLUSTER"

# The profile and the work folder of commands that name none.
CLUSTER_VARIABLE, WORK_VARIABLE = "BLANKSLATE_CLUSTER", "BLANKSLATE_WORK"

MAX_LISTED_RUNS = 8  # run ids in an error message


def load_profile_and_workdir(options: argparse.Namespace) -> tuple[Profile, Path]:
    """Return the profile of --cluster and the work folder of --work.

    Without an option its variable counts (CLUSTER_VARIABLE, WORK_VARIABLE); without both, this
    machine and the work folder of the profile.
    """
    cluster = options.cluster or _path_from(CLUSTER_VARIABLE)
    profile = load_profile(cluster) if cluster else LocalProfile()
    address_profile_cluster(profile)
    chosen = options.work or _path_from(WORK_VARIABLE)
    _note_place_of_variables(cluster, chosen)
    return profile, resolve_work_folder(profile, chosen)


def _note_place_of_variables(cluster: Path | None, work: Path | None) -> None:
    """Say on stderr which place the variables have named; make passes them on as options."""
    places = {CLUSTER_VARIABLE: ("CLUSTER", cluster), WORK_VARIABLE: ("WORK", work)}
    named = {
        variable: f"{word}={quote(str(path))}"
        for variable, (word, path) in places.items()
        if path is not None and path == _path_from(variable)
    }
    if named:
        _note_once(f"{' '.join(named.values())} (of {' and '.join(named)})")


@cache
def _note_once(line: str) -> None:
    print_note(line)


def _path_from(variable: str) -> Path | None:
    text = os.environ.get(variable, "")
    return Path(text) if text else None


def require_named_place(profile: Profile) -> None:
    """Raise InputError on a login node where no CLUSTER is named: it would train there."""
    known = "SLURM_JOB_ID" in os.environ or os.environ.get(THIS_MACHINE_VARIABLE) == "1"
    unnamed = profile.path == BUILT_IN_PROFILE or os.environ.get(DEFAULT_CLUSTER_VARIABLE) == "1"
    if unnamed and shutil.which("sbatch") and not known:
        raise InputError(
            "sbatch is on PATH, as on a login node: name where to run, CLUSTER=cluster/….yaml, or "
            "CLUSTER=cluster/local.yaml for this machine itself; on a machine of your own set "
            f"{THIS_MACHINE_VARIABLE}=1"
        )


def address_profile_cluster(profile: Profile) -> None:
    """Let SLURM's commands address the cluster of the profile; InputError for several."""
    cluster = profile.cluster if isinstance(profile, SlurmProfile) else ""
    if "," in cluster or cluster == "all":
        raise InputError(
            f"{profile.path}: clusters: {cluster} — jobs of one sweep go to one cluster: name it "
            "under clusters in the profile"
        )
    address_cluster(cluster)


def resolve_work_folder(profile: Profile, chosen: Path | None) -> Path:
    """Return the work folder: `chosen` (WORK=…), or else the profile's.

    The path is absolute, because a job may start in another folder. Raises InputError if the
    profile's path has an environment variable that is not set.
    """
    if chosen is not None:
        return expand_home(chosen).resolve()
    return Path(expand_path(profile.work, profile.path, "work")).resolve()


def make_command(command: str, profile: Profile, work: Path) -> str:
    """Add the CLUSTER= and WORK= that a make command needs to use this profile and work folder."""
    words = [command]
    if profile.path not in DEFAULT_PROFILES:
        words.append(f"CLUSTER={quote(str(profile.path))}")
    try:
        moved = work != resolve_work_folder(profile, None)
    except InputError:
        moved = True  # the profile's path has a variable that is not set
    if moved:
        words.append(f"WORK={quote(str(work))}")
    return " ".join(words)


def report_command(command: str, profile: Profile, work: Path) -> str:
    """Return `make_command` for a page that others may read, and that still works here.

    Paths in this folder, where make runs, are relative; the home folder is `~`, because its path
    has the user's name, which is `$USER` in other paths. Other paths are kept.
    """
    placed = make_command(command, profile, work)
    for folder, short in ((Path.cwd(), ""), (Path.home(), "~/"), (Path.home().resolve(), "~/")):
        begin = re.escape(f"{folder}{os.sep}")
        placed = re.sub(
            rf" (CLUSTER|CORPUS|EXPERIMENT|SWEEP|WORK)=('?){begin}", rf" \1=\2{short}", placed
        )
    user = re.escape(os.environ.get("USER") or "?")
    return re.sub(rf"(=[^' ]*/){user}(?=[/ ]|$)", r"\1$USER", placed)


def require_writable(work: Path) -> None:
    """Create the work folder if it is missing; raise InputError if it cannot be written."""
    probe = work / f".{secrets.token_hex(8)}"
    try:
        work.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        why = "it is a file" if work.is_file() else error.strerror
        raise InputError(
            f"{work}: the work folder cannot be written: {why}; choose another with WORK=…"
        ) from None


def find_run(name: str, work: Path) -> RunFolder:
    """Find a run by its id, the beginning of its id, or its folder."""
    if not name:
        raise InputError("no run is named: add RUN=…; make status SWEEP=… lists the ids")
    runs = work / "runs"
    every = sorted(runs.iterdir()) if runs.is_dir() else []
    found = [path for path in every if path.name.startswith(name)]
    if len(found) == 1:
        return RunFolder(found[0])
    if not found and RunFolder(Path(name)).experiment_file.exists():
        return RunFolder(Path(name))
    if found:
        ids = ", ".join(path.name for path in found[:MAX_LISTED_RUNS])
        raise InputError(
            f"RUN={name}: {len(found)} runs begin with it in {runs}: "
            f"{ids}{', …' if found[MAX_LISTED_RUNS:] else ''}; name one"
        )
    if Path(name).is_file():
        raise InputError(
            f"RUN={name}: is a file; this command needs the run itself: its folder, or its id in "
            f"{runs}"
        )
    if Path(name).is_dir():
        raise InputError(
            f"RUN={name}: the folder has no experiment.yaml, so it is no run; name the folder of a "
            f"run, or its id in {runs}"
        )
    raise InputError(
        f"RUN={name}: no run begins with it in {runs}; make status SWEEP=… lists the ids"
    )
