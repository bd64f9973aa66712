"""Code snapshot: what a job imports is what was there when it was submitted.

In:   the running code.   Out: `work/sweeps/<sweep>/code/<digest>/` with pipeline/ and jobs/,
`<digest>.patch` with what was not committed, and the environment in which a task finds it.

A snapshot lasts until the next `make sweep` that finds no queued or running job of its sweep with
it, whether that sweep is finished, was cancelled, or goes on with other code; a cancelled job may
still be saving, so that `make cancel` deletes none. Patches are small and stay, to tell what a run
was made by. Deleting the sweep's folder deletes both.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from pipeline.files import write_bytes

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT_PACKAGES = ("pipeline", "jobs")
GIT_TIMEOUT_S = 30  # a working copy may lie on a slow file system
# Python, and the package data of pyproject.toml.
SNAPSHOT_SUFFIXES = {".py", ".c", ".h", ".html", ".css", ".js"}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def take_snapshot(folder: Path, source: Path = REPOSITORY_ROOT) -> Path:
    """Copy the packages into `folder/<digest>`, unless they are there; return that path.

    Beside it, in a working copy of git: what differs from the last commit, which alone would not
    bring the code back.
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
            # Another terminal was faster, with the same content.
            shutil.rmtree(partial)
            if not snapshot.exists():
                raise
        if patch := _uncommitted_patch(source):
            write_bytes(folder / f"{snapshot.name}.patch", patch)
    return snapshot


def current_digest(source: Path = REPOSITORY_ROOT) -> str:
    """Of the snapshot that would be taken now."""
    return _sources_digest(_read_sources(source))


def delete_snapshots(folder: Path, keep: Collection[str]) -> None:
    """Delete all but these snapshots."""
    for snapshot in folder.glob("*"):
        if snapshot.is_dir() and snapshot.name not in keep:
            shutil.rmtree(snapshot, ignore_errors=True)


def _uncommitted_patch(source: Path) -> bytes:
    """The commit, and what `git apply` needs to bring the code back; nothing without."""
    try:
        if not (source / ".git").exists():
            return b""
        commit = _git(source, "rev-parse", "HEAD").strip()
        changed = _git(source, "diff", "--binary", "HEAD")
        listed = _git(
            source, "ls-files", "-z", "--others", "--exclude-standard", "--", *SNAPSHOT_PACKAGES
        )
        files = [os.fsdecode(name) for name in listed.split(b"\0") if name]
        for file in files:
            if Path(file).suffix in SNAPSHOT_SUFFIXES:  # what the snapshot takes
                changed += _git(source, "diff", "--binary", "--no-index", "/dev/null", file)
    except (OSError, subprocess.SubprocessError):
        return b""
    return b"commit: " + commit + b"\n" + changed if changed else b""


def _git(source: Path, *words: str) -> bytes:
    answer = subprocess.run(
        ["git", "-C", str(source), *words],
        capture_output=True,
        check=False,
        timeout=GIT_TIMEOUT_S,
    )
    if answer.returncode not in {0, 1}:  # 1: of diff, that files differ
        answer.check_returncode()
    return answer.stdout


def task_environment(snapshot: Path, threads: int) -> dict[str, str]:
    """What the process of a task must find: its code first, and how many threads it may use.

    Without the safe path, `-m` prefers the folder that the job starts in: the working tree.
    """
    paths = [str(snapshot), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        **{name: str(threads) for name in THREAD_VARIABLES},
    }


def _read_sources(source: Path) -> dict[Path, bytes]:
    files = sorted(
        path
        for package in SNAPSHOT_PACKAGES
        for path in (source / package).rglob("*")
        if path.suffix in SNAPSHOT_SUFFIXES and "__pycache__" not in path.parts
    )
    return {path.relative_to(source): path.read_bytes() for path in files}


def _sources_digest(content: dict[Path, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in content.items():
        total.update(f"{name.as_posix()}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()[:12]
