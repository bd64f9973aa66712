"""Slices as the tasks of an array: whoever comes last compares every byte and adds up."""

import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
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
from pipeline.features.precompute import FeatureSetTarget, StorageRangeError
from pipeline.files import InputError
from tests.jobs.conftest import TinyProject

MEL = FeatureSettings(mel_bins=12)


@pytest.fixture
def array(
    make_project: Callable[..., TinyProject], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[Path]]:
    """The folder of a feature set, and the files of three tasks that compute it."""
    monkeypatch.setattr(manifests, "SLICE_SECONDS", 4.0)
    bench = make_project("an4")
    corpus = Corpus(name="tiny", reader="an4", root=str(bench.corpus))
    manifest = readers.build_manifest(corpus, bench.work)
    manifests.write_manifest(manifest, bench.work / "m.jsonl")
    name, folder = precompute.prepare_feature_set(manifest, MEL, bench.work)
    assert len(manifest.slices) == 3
    files = []
    for index in range(3):
        piece = Slice(str(bench.work / "m.jsonl"), index, (name,))
        task = FeatureTask(work=str(bench.work), slices=(piece,), verify=True)
        files.append(task_file.write_task(task, bench.work / "tasks"))
        assert task_file.read_task(files[-1]) == task
    return folder, files


def test_the_last_task_of_an_array_verifies_and_adds_the_statistics_up(array):
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


def test_the_last_task_refuses_what_a_strict_corpus_could_not_use(array):
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


def test_a_slice_that_fails_costs_no_other_one(array, monkeypatch: pytest.MonkeyPatch):
    folder, files = array
    every = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    file = task_file.write_task(
        FeatureTask(work=str(folder.parents[1]), slices=every), folder.parent
    )
    write = precompute.precompute_slice

    def failing(manifest: ManifestFile, index: int, *words: Any) -> Any:
        if index == 0:
            raise ValueError("of some reason")
        return write(manifest, index, *words)

    monkeypatch.setattr(precompute, "precompute_slice", failing)
    with pytest.raises(ValueError, match="of some reason"):
        entrypoint.execute_task(file, StopRequest())
    assert task_file.failure_path(file).exists()
    assert missing_shards(folder, 3) == [0]


def test_a_set_whose_storage_holds_too_little_is_tried_once(array, monkeypatch: pytest.MonkeyPatch):
    folder, files = array
    every = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    file = task_file.write_task(
        FeatureTask(work=str(folder.parents[1]), slices=every), folder.parent
    )
    tried = []

    def refusing(
        manifest: ManifestFile, index: int, sets: list[FeatureSetTarget], *words: Any
    ) -> Any:
        tried.append([name for _, _, name in sets])
        raise StorageRangeError("holds too little", (folder.name,))

    monkeypatch.setattr(precompute, "precompute_slice", refusing)
    with pytest.raises(StorageRangeError, match="holds too little"):
        entrypoint.execute_task(file, StopRequest())
    assert tried == [[folder.name], [], []]


def test_a_task_lost_with_its_node_leaves_the_set_incomplete_by_name(array):
    folder, files = array
    for file in files[1:]:
        entrypoint.execute_task(file, StopRequest())
    with pytest.raises(InputError, match=r"1 of 3 shards cannot be used \(shard-00000-of-00003"):
        FeatureSet.open(folder)
    assert entrypoint.execute_task(files[0], StopRequest()) == DONE
    assert FeatureSet.open(folder).utterances


def test_progress_counts_what_all_slices_of_a_task_have(array):
    folder, files = array
    every = tuple(piece for file in files for piece in task_file.read_task(file).slices)
    task = replace(task_file.read_task(files[0]), slices=every)
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

def faults():  # pages that the kernel gives while memory is taken and freed, as for file after file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        [np.ones(300_000, np.float32) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


def test_a_worker_keeps_the_memory_that_it_freed():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip(f"{platform.system()}: memory is not glibc's")
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    before, after = map(int, said.stdout.split())
    assert before > 50_000
    assert after < 1000
