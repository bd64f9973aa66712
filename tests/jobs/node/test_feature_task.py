"""Feature tasks of an array: the last one verifies the feature set and stores its statistics."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from jobs.exit_codes import DONE
from jobs.launch import entrypoint
from jobs.node import feature_task, task_file
from jobs.node.signals import StopRequest
from jobs.node.task_file import FeatureTask, Slice
from pipeline.config.corpus import Corpus
from pipeline.config.features import FeatureSettings
from pipeline.corpus import manifest as manifests
from pipeline.corpus import readers
from pipeline.corpus.manifest import ManifestFile
from pipeline.features import precompute
from pipeline.features.feature_set import STATISTICS_FILE, FeatureSet, missing_shards
from pipeline.features.precompute import StorageRangeError
from pipeline.features.shard_output import FeatureSetTarget
from pipeline.files import InputError
from tests.jobs.conftest import TinyProject

MEL = FeatureSettings(mel_bins=12)


@pytest.fixture
def array(
    make_project: Callable[..., TinyProject], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[Path]]:
    """Return the folder of a feature set, and the files of the three tasks that compute it."""
    monkeypatch.setattr(manifests, "SLICE_SECONDS", 4.0)
    project = make_project("an4")
    corpus = Corpus(name="tiny", reader="an4", root=str(project.corpus))
    manifest = readers.build_manifest(corpus, project.work)
    manifests.write_manifest(manifest, project.work / "m.jsonl")
    name, folder = precompute.prepare_feature_set(manifest, MEL, project.work)
    assert len(manifest.slices) == 3
    files = []
    for index in range(3):
        piece = Slice(str(project.work / "m.jsonl"), index, (name,))
        task = FeatureTask(work=str(project.work), slices=(piece,), verify=True)
        files.append(task_file.write_task(task, project.work / "tasks"))
        assert task_file.read_task(files[-1]) == task
    return folder, files


def test_the_last_task_of_an_array_verifies_the_set_and_stores_its_statistics(array):
    folder, files = array
    for file in (files[2], files[0]):
        assert entrypoint.execute_task(file, StopRequest()) == DONE
        assert not (folder / STATISTICS_FILE).exists()
    assert entrypoint.execute_task(files[1], StopRequest()) == DONE
    assert (folder / STATISTICS_FILE).exists()
    parts = [shard.statistics.count for shard in FeatureSet.open(folder).shards]
    assert FeatureSet.open(folder).statistics.count == sum(parts)


def test_the_last_task_names_a_shard_whose_bytes_have_changed(array):
    folder, files = array
    for file in files[:2]:
        entrypoint.execute_task(file, StopRequest())
    damaged = next(folder.glob("shard-00000-*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"shard-00000-of-00003\.h5: the bytes of"):
        entrypoint.execute_task(files[2], StopRequest())
    assert task_file.failure_path(files[2]).exists()
    assert missing_shards(folder, 3) == [0]


def test_the_last_task_fails_if_a_strict_corpus_has_refused_utterances(array):
    folder, files = array
    work = folder.parents[1]
    manifest = (work / "m.jsonl").read_text().replace('"strict": false', '"strict": true')
    (work / "m.jsonl").write_text(manifest)
    wav = next(folder.parents[2].glob("an4/wav/*/*/*.wav"))
    wav.write_bytes(wav.read_bytes()[:1000])
    for file in files[:2]:
        assert entrypoint.execute_task(file, StopRequest()) == DONE
    with pytest.raises(InputError, match="tiny is strict, and 1 of its utterances cannot be used"):
        entrypoint.execute_task(files[2], StopRequest())
    assert missing_shards(folder, 3) == []


def test_a_manifest_that_has_changed_since_the_submission_is_an_error(array):
    folder, files = array
    manifest = folder.parents[1] / "m.jsonl"
    header, *utterances = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([header, *reversed(utterances)]))
    with pytest.raises(InputError, match=r"m\.jsonl: has changed since .*; run make features"):
        entrypoint.execute_task(files[0], StopRequest())
    assert missing_shards(folder, 3) == [0, 1, 2]


def test_a_slice_that_fails_does_not_stop_the_others(array, monkeypatch: pytest.MonkeyPatch):
    folder, files = array
    slices = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    file = task_file.write_task(
        FeatureTask(work=str(folder.parents[1]), slices=slices), folder.parent
    )
    precompute_slice = precompute.precompute_slice

    def failing(manifest: ManifestFile, index: int, *rest: Any) -> Any:
        if index == 0:
            raise ValueError("broken slice")
        return precompute_slice(manifest, index, *rest)

    monkeypatch.setattr(precompute, "precompute_slice", failing)
    with pytest.raises(ValueError, match="broken slice"):
        entrypoint.execute_task(file, StopRequest())
    assert task_file.failure_path(file).exists()
    assert missing_shards(folder, 3) == [0]


def test_a_set_that_exceeds_its_storage_range_is_tried_once(array, monkeypatch: pytest.MonkeyPatch):
    folder, files = array
    slices = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    file = task_file.write_task(
        FeatureTask(work=str(folder.parents[1]), slices=slices), folder.parent
    )
    tried = []

    def refusing(
        manifest: ManifestFile, index: int, sets: list[FeatureSetTarget], *rest: Any
    ) -> Any:
        tried.append([name for _, _, name in sets])
        raise StorageRangeError("out of range", (folder.name,))

    monkeypatch.setattr(precompute, "precompute_slice", refusing)
    with pytest.raises(StorageRangeError, match="out of range"):
        entrypoint.execute_task(file, StopRequest())
    assert tried == [[folder.name], [], []]


def test_the_shard_of_a_lost_task_is_named_as_missing(array):
    folder, files = array
    for file in files[1:]:
        entrypoint.execute_task(file, StopRequest())
    with pytest.raises(InputError, match=r"1 of 3 shards cannot be used \(shard-00000-of-00003"):
        FeatureSet.open(folder)
    assert entrypoint.execute_task(files[0], StopRequest()) == DONE
    assert FeatureSet.open(folder).utterances


def test_progress_counts_all_slices_of_a_task(array):
    folder, files = array
    slices = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    task = task_file.read_task(files[0])._replace(slices=slices)
    file = task_file.write_task(task, folder.parent)
    entrypoint.execute_task(file, StopRequest())
    found = feature_task.read_progress(file)
    seconds = [soundfile.info(path).duration for path in folder.parents[2].glob("an4/wav/*/*/*")]
    assert (found.utterances, found.refusals) == (12, ())
    assert found.seconds == pytest.approx(sum(seconds))


FAULTS = """
import numpy as np
import resource
from jobs.node.feature_task import keep_freed_memory

def faults():  # page faults while memory is allocated and freed, as for one file after another
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        [np.ones(300_000, np.float32) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


def test_a_process_keeps_the_memory_that_it_freed():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip(f"{platform.system()}: the C library is not glibc")
    result = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    before, after = map(int, result.stdout.split())
    assert before > 50_000
    assert after < 1000
