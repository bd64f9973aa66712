"""Code snapshot: what a job imports is what was there when it was submitted.

In:   the running code.   Out: `work/sweeps/<sweep>/code/<digest>/` with pipeline/ and jobs/, and
the environment in which a task finds it.
"""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "jobs")
SUFFIXES = {".py", ".html", ".css", ".js"}  # python and the package data of pyproject.toml
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def take(folder: Path, source: Path = SOURCE) -> Path:
    """Copy the packages into `folder/<digest>`, unless they are there; return that path."""
    files = sorted(
        path
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    )
    content = {path.relative_to(source): path.read_bytes() for path in files}
    snapshot = folder / _digest(content)
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
    return snapshot


def environment(snapshot: Path, threads: int) -> dict[str, str]:
    """What the process of a task must find: its code first, and how many threads it may use.

    Without the safe path, `-m` prefers the folder that the job starts in: the working tree.
    """
    paths = [str(snapshot), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        **{name: str(threads) for name in THREADS},
    }


def _digest(content: dict[Path, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in content.items():
        total.update(f"{name.as_posix()}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()[:12]
