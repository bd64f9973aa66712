"""The place of a command: its profile, its work folder, and the options that name them again.

In:   --cluster and --work.   Out: a profile, the work folder; make commands for messages.
Not here: what a profile may hold (profile.py).
"""

import argparse
import os
import re
import secrets
from pathlib import Path
from shlex import quote

from jobs.profile import DEFAULT_PROFILES, LocalProfile, Profile, load_profile
from pipeline.config.loader import expand_path
from pipeline.files import InputError, expand_home
from pipeline.runs.folder import RunFolder

MAX_LISTED_RUNS = 8  # run ids in an error message


def load_profile_and_workdir(options: argparse.Namespace) -> tuple[Profile, Path]:
    """Return the profile of --cluster, or else this machine; and the work folder of --work."""
    profile = load_profile(options.cluster) if options.cluster else LocalProfile()
    return profile, resolve_work_folder(profile, options.work)


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
    raise InputError(
        f"RUN={name}: no run begins with it in {runs}; make status SWEEP=… lists the ids"
    )
