"""Code snapshot: a job imports the code as it was when the job was submitted.

In:   the running code.   Out: `work/sweeps/<sweep>/code/<digest>/` with pipeline/ and jobs/,
`<digest>.patch` with uncommitted changes, `<digest>.json` with the commit.
Not here: the environment variables of a task (environment.py), when a snapshot is deleted
(launch/orphan_jobs.py).

A snapshot stays until a later `make sweep` finds no queued or running job that uses it.
`make cancel` deletes none, because a cancelled job may still be saving. Patches are small and stay:
they record which code made a run. Deleting the sweep's folder deletes both.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.environment import REPOSITORY_ROOT
from pipeline.files import read_json, write_bytes, write_json

SNAPSHOT_PACKAGES = ("pipeline", "jobs")
CODE_PATHS = (*SNAPSHOT_PACKAGES, "pyproject.toml", "requirements.lock")  # a change makes it dirty
# Whatever a user's settings of git are, `git apply` takes the patch.
GIT_DIFF = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv",
            "--src-prefix=a/", "--dst-prefix=b/")  # fmt: skip
GIT_TIMEOUT_S = 30  # a working copy may lie on a slow file system
# Python files, and the package data of pyproject.toml.
SNAPSHOT_SUFFIXES = {".py", ".c", ".h", ".html", ".css", ".js"}


def take_snapshot(folder: Path, source: Path = REPOSITORY_ROOT) -> Path:
    """Copy the packages into `folder/<digest>` if that is missing; return its path.

    In a git working copy, the changes since the last commit are saved beside it as a patch: commit
    and patch together restore the code.
    """
    content = _read_sources(source)
    snapshot = folder / _sources_digest(content)
    if not snapshot.exists():
        partial = folder / f".{snapshot.name}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        for name, data in content.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
        try:
            partial.rename(snapshot)
        except OSError:
            # Another terminal has written the same snapshot meanwhile.
            shutil.rmtree(partial)
            if not snapshot.exists():
                raise
    if not _provenance_file(snapshot).exists():
        commit = _commit(source)
        patch = _uncommitted_patch(source, commit)
        if patch:
            write_bytes(_patch_file(snapshot), patch)
        write_json(_provenance_file(snapshot), _describe(content, commit, patch))
    return snapshot


def read_provenance(code: Path = REPOSITORY_ROOT) -> dict[str, Any]:
    """Return which code this process runs: its commit, whether it was changed, its digests.

    A snapshot has a file beside it with this, written when it was taken. Otherwise git says it.
    """
    try:
        return dict(read_json(_provenance_file(code)))
    except (OSError, ValueError):
        commit = _commit(code)
        return _describe(_read_sources(code), commit, _uncommitted_patch(code, commit))


def copy_patch(folder: Path, code: Path = REPOSITORY_ROOT) -> None:
    """Copy the uncommitted changes of a snapshot, if there are any, into the folder of a run."""
    patch = _patch_file(code)
    if patch.exists():
        write_bytes(folder / f"code-{patch.name}", patch.read_bytes())


def _provenance_file(snapshot: Path) -> Path:
    return snapshot.with_name(f"{snapshot.name}.json")


def _patch_file(snapshot: Path) -> Path:
    return snapshot.with_name(f"{snapshot.name}.patch")


def _describe(
    content: Mapping[Path, bytes], commit: str | None, patch: bytes | None
) -> dict[str, Any]:
    """Return what environment.json says of the code; None: not known, because git does not say.

    `code` is the digest of all that computes a run's numbers, `snapshot` that of all code.
    """
    computing = {
        name: data
        for name, data in content.items()
        if name.parts[0] == "pipeline" and name.parts[:2] != ("pipeline", "results")
    }
    return {
        "commit": commit,
        "dirty": None if patch is None else bool(patch),
        "code": _sources_digest(computing),
        "snapshot": _sources_digest(content),
    }


def _commit(source: Path) -> str | None:
    """Return None without git, or if git does not say it."""
    try:
        in_git = (source / ".git").exists()
        return _git(source, "rev-parse", "HEAD").decode().strip() if in_git else None
    except (OSError, subprocess.SubprocessError):
        return None


def current_digest(source: Path = REPOSITORY_ROOT) -> str:
    """Return the digest of the snapshot that would be taken now."""
    return _sources_digest(_read_sources(source))


def has_snapshots(folder: Path) -> bool:
    return any(_find_snapshots(folder))


def delete_snapshots(folder: Path, keep: Collection[str]) -> None:
    """Delete all snapshots except those named in `keep`."""
    for snapshot in _find_snapshots(folder):
        if snapshot.name not in keep:
            shutil.rmtree(snapshot, ignore_errors=True)


def _find_snapshots(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if path.is_dir())


def _uncommitted_patch(source: Path, commit: str | None) -> bytes | None:
    """Return the commit and the changes for `git apply`; empty without changes.

    None without a commit, or where git does not say what has changed.
    """
    if commit is None:
        return None
    try:
        changed = _git(source, *GIT_DIFF, "HEAD", "--", *CODE_PATHS)
        listed = _git(
            source, "ls-files", "-z", "--others", "--exclude-standard", "--", *SNAPSHOT_PACKAGES
        )
        files = [os.fsdecode(name) for name in listed.split(b"\0") if name]
        for file in files:
            if Path(file).suffix in SNAPSHOT_SUFFIXES:  # as in the snapshot
                changed += _git(source, *GIT_DIFF, "--no-index", "/dev/null", file)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"commit: {commit}\n".encode() + changed if changed else b""


def _git(source: Path, *words: str) -> bytes:
    answer = subprocess.run(
        ["git", "-C", str(source), *words],
        capture_output=True,
        check=False,
        timeout=GIT_TIMEOUT_S,
    )
    if answer.returncode not in {0, 1}:  # 1: git diff found differences
        answer.check_returncode()
    return answer.stdout


def _read_sources(source: Path) -> dict[Path, bytes]:
    files = sorted(
        path
        for package in SNAPSHOT_PACKAGES
        for path in (source / package).rglob("*")
        if path.suffix in SNAPSHOT_SUFFIXES and "__pycache__" not in path.parts
    )
    return {path.relative_to(source): path.read_bytes() for path in files}


def _sources_digest(content: Mapping[Path, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in content.items():
        total.update(f"{name.as_posix()}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()[:12]
