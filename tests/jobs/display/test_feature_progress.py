"""Progress of features in a line: of the processes of this machine, and of jobs."""

import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from jobs.display import feature_progress
from jobs.display.feature_progress import FeatureProgress
from jobs.local.executor import RunningTask
from jobs.node.feature_task import TaskProgress
from jobs.node.task_file import progress_path
from jobs.sweep import feature_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedFeatures, SweepRecord
from pipeline.corpus.manifest import Refusal
from pipeline.files import write_json

REFUSED = Refusal("u1", "u1.wav: is cut short")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """The folder of a sweep with two feature sets of a corpus of one hour, four shards each."""
    folder = SweepFolder(tmp_path, "spectrum")
    for name in ("mel-0", "power-0"):
        (tmp_path / "features" / name).mkdir(parents=True)
    return folder


def record() -> SweepRecord:
    sets = (PlannedFeatures(name, "m.jsonl", 4, 3600.0) for name in ("mel-0", "power-0"))
    return SweepRecord("spectrum", "", "spectrum.yaml", "", (), tuple(sets))


def write_progress(task: Path, done: TaskProgress) -> Path:
    task.parent.mkdir(parents=True, exist_ok=True)
    write_json(progress_path(task), asdict(done))
    return task


def submitted(folder: SweepFolder, index: int, done: TaskProgress | None) -> None:
    task = folder.tasks / f"features-{index}.json"
    if done:
        write_progress(task, done)
    folder.ledger.append(
        [
            LedgerEntry(
                time=time.time(),
                scheduler="slurm",
                job=f"12_{index}",
                kind="features",
                items=(f"mel-0/{index}", f"power-0/{index}"),
                task=task.name,
                code="c",
            )
        ]
    )


def stored(folder: SweepFolder, index: int) -> None:
    for name in ("mel-0", "power-0"):
        (folder.features(name) / f"shard-{index:05}-of-00004.h5").touch()


def job_lines(folder: SweepFolder) -> list[str]:
    return feature_progress.job_progress_lines(
        record(), folder, feature_status.feature_statuses(record(), folder)
    )


def test_progress_is_the_sum_of_ended_and_running_processes(tmp_path):
    running = [
        RunningTask(
            write_progress(tmp_path / f"{n}.json", TaskProgress(10, 300.0, (), 5.0)), n, None
        )
        for n in (0, 1)
    ]
    total = TaskProgress(100, 3600.0)
    progress = FeatureProgress(total, TaskProgress(20, 600.0), time.monotonic() - 60)
    assert progress.format_line(running) == (
        "features: 40 of 100 utterances, 20 min 00 s of 1 h 00 min of speech, "
        "20 times real time, 2 min 00 s left"
    )


def test_without_progress_no_speed_is_printed():
    assert (
        FeatureProgress(TaskProgress(100, 3600.0)).format_line([])
        == "features: 0 of 100 utterances"
    )


def test_jobs_without_progress_have_no_line(folder):
    submitted(folder, 0, None)
    assert job_lines(folder) == []


def test_the_line_of_jobs_has_utterances_speed_time_left_and_refusals(folder):
    submitted(folder, 0, TaskProgress(50, 900.0, (REFUSED,), 10.0))
    submitted(folder, 1, TaskProgress(20, 300.0, (REFUSED,), 10.0))  # of another feature set
    submitted(folder, 2, None)
    stored(folder, 0)
    assert job_lines(folder) == [
        "features: 70 utterances, 20 min 00 s of speech done, 120 times real time, about 22 s left",
        "features: 1 utterance refused; make features names them",
    ]


def test_a_job_without_recent_progress_has_no_speed(folder):
    submitted(folder, 0, TaskProgress(50, 900.0, (), 10.0))
    hour_ago = time.time() - 3600
    os.utime(progress_path(folder.tasks / "features-0.json"), (hour_ago, hour_ago))
    assert job_lines(folder) == ["features: 50 utterances, 15 min 00 s of speech done"]


def test_complete_sets_have_only_a_line_of_refusals(folder):
    submitted(folder, 0, TaskProgress(50, 900.0, (REFUSED,), 10.0))
    for index in range(4):
        stored(folder, index)
    assert job_lines(folder) == ["features: 1 utterance refused; make features names them"]
