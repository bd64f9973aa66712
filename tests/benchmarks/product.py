"""Blankslate's own cases of feature extraction.

In:   a manifest or a corpus file, feature settings.   Out: jobs that write feature sets.
Not here: other tools, the limits (limits.py).
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.launch import entrypoint
from jobs.node import task_file
from jobs.node.task_file import Slice
from pipeline.config.features import FeatureSettings
from pipeline.corpus.manifest import Manifest
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import prepare_feature_set
from tests.benchmarks import corpora
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.shares import WORKER_COUNT, run_in_processes, split_among_workers

SettingsDict = Mapping[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]


def extract_features(
    scratch: Path, *, manifest_file: str, sets: Sequence[SettingsDict], workers: int = WORKER_COUNT
) -> BenchmarkJob:
    """Compute feature sets as `blankslate features` does after planning, in worker processes."""
    listed = corpora.read_manifest(Path(manifest_file))
    wanted = [FeatureSettings(**each) for each in sets]

    def job(folder: Path) -> None:
        files = _write_tasks(folder, manifest_file, listed, wanted, workers)
        codes = run_in_processes(entrypoint.execute_task, [(file, _never_stop) for file in files])
        assert codes == [entrypoint.DONE] * len(files)

    return job


def _write_tasks(
    work: Path, path: str, listed: Manifest, wanted: Sequence[FeatureSettings], workers: int
) -> list[Path]:
    names = tuple(prepare_feature_set(listed, each, work)[0] for each in wanted)
    slices = [Slice(path, index, names) for index in range(len(listed.slices))]
    shares = [share for share in split_among_workers(slices, workers) if share]
    made = [task_file.FeatureTask(work=str(work), slices=tuple(share)) for share in shares]
    return [task_file.write_task(each, work / "tasks") for each in made]


def _never_stop() -> bool:
    return False


def compute_feature_set(folder: Path, manifest_file: str, **settings: object) -> FeatureSet:
    """Compute a feature set in this process, for other cases to read."""
    extract_features(folder, manifest_file=manifest_file, sets=[settings], workers=1)(folder)
    return FeatureSet.open(next((folder / "features").glob("*/feature_set.yaml")).parent)


def features_command(
    scratch: Path, *, corpus_files: Sequence[str], slots: int, changes: Sequence[str]
) -> BenchmarkJob:
    """Run `blankslate features` for each corpus, all commands at the same time."""
    profile = scratch / "cluster.yaml"
    profile.write_text(f"scheduler: local\nslots: {slots}\n")
    words = [sys.executable, "-m", "jobs", "features", "--cluster", str(profile)]
    words += [word for change in changes for word in ("--set", change)]
    # Bytecode of installed packages exists already; ours must be written at the first run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def job(folder: Path) -> None:
        running = [
            subprocess.Popen(
                [*words, "--corpus", corpus, "--work", str(folder / str(number))],
                cwd=REPOSITORY,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            for number, corpus in enumerate(corpus_files)
        ]
        assert [process.wait() for process in running] == [0] * len(running)

    return job
