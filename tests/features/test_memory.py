"""The memory of a worker grows neither with the corpus nor with the length of a recording."""

import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.config.features import FeatureSettings
from pipeline.corpus import manifest as manifests
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import prepare_feature_set
from pipeline.features.shards import Shard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")

MEGABYTE = 1024  # kilobytes
# VmHWM is the peak of this program. ru_maxrss begins with the peak of the process that forked it,
# which in a full test run is larger than any worker.
WORKER = """
import re, sys
from pathlib import Path
from pipeline.corpus.manifest import ManifestFile
from pipeline.features.precompute import load_target, precompute_slice
path, work, name = sys.argv[1:]
manifest = ManifestFile.open(Path(path))
for index in range(len(manifest.slices)):
    assert precompute_slice(manifest, index, [load_target(Path(work), name)]) == []
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak(manifest: Manifest, settings: FeatureSettings, work: Path) -> tuple[float, FeatureSet]:
    """Return the peak memory of a worker in megabytes, and the feature set that it computed."""
    path = work / "manifest.jsonl"
    manifests.write_manifest(manifest, path)
    identity, folder = prepare_feature_set(manifest, settings, work)
    command = [sys.executable, "-c", WORKER, str(path), str(work), identity]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / MEGABYTE, FeatureSet.open(folder)


def peak_of_one(recording: Path, seconds: int, settings: FeatureSettings) -> float:
    """Return the peak memory in megabytes for one utterance of `seconds`."""
    utterance = Utterance(
        id="long",
        audio=recording.name,
        samples=seconds * 8_000,
        rate=8_000,
        transcript="A",
        speaker="s",
        split="train",
    )
    work = recording.parent
    megabytes, features = peak(Manifest("long", work, (utterance,)), settings, work)
    assert features.utterances[0].frames == 1 + 50 * seconds
    return megabytes


def silence(path: Path, seconds: int, rate: int) -> None:
    """Write a wav of zeros as a sparse file, which takes no disk space."""
    size = 2 * seconds * rate
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form)
        file.write(b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


@pytest.mark.parametrize("change", [{}, {"storage": "uint8"}, {"speeds": (1.1,)}])
def test_a_recording_of_an_hour_takes_no_more_memory_than_one_of_a_minute(
    tmp_path: Path, change: dict[str, Any]
):
    settings = FeatureSettings(sample_rate=8_000, n_fft=256, mel_bins=20, hop_ms=20.0, **change)
    peaks = []
    for seconds in (60, 3600):
        work = tmp_path / str(seconds)
        work.mkdir()
        silence(work / "long.wav", seconds, 8_000)
        peaks.append(peak_of_one(work / "long.wav", seconds, settings))
    assert peaks[1] - peaks[0] < 16  # its waveform alone is 115 megabytes


def test_twenty_minutes_of_mp3_take_no_more_memory_than_one(tmp_path: Path):
    settings = FeatureSettings(sample_rate=8_000, n_fft=256, mel_bins=20, hop_ms=20.0)
    second = np.round(9_000 * np.sin(np.arange(8_000) / 3)).astype(np.int16)
    peaks = []
    for seconds in (60, 1200):
        work = tmp_path / str(seconds)
        work.mkdir()
        with soundfile.SoundFile(work / "long.mp3", "w", 8_000, 1) as file:
            for _ in range(seconds // 60):
                file.write(np.tile(second, 60))
        peaks.append(peak_of_one(work / "long.mp3", seconds, settings))
    assert peaks[1] - peaks[0] < 20  # their waveform alone is 38 megabytes


# A small program in between, because ru_maxrss begins with the peak of the forking process.
COMMAND = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
COARSE = ("n_fft=64", "window_ms=8", "hop_ms=80", "mel_bins=8", "sample_rate=8000")


def peak_of_command(corpus: Path, work: Path) -> float:
    """Return the peak memory in megabytes of `blankslate features` and its workers."""
    command = [sys.executable, "-m", "jobs", "features", "--corpus", str(corpus)]
    command += ["--work", str(work), *(f"--set=features.{change}" for change in COARSE)]
    between = [sys.executable, "-c", COMMAND, *command]
    done = subprocess.run(between, check=True, capture_output=True, text=True)
    return int(done.stdout) / MEGABYTE


def test_the_command_s_workers_take_no_more_memory_for_three_hours_than_for_a_minute(
    tmp_path: Path,
):
    peaks = []
    for seconds in (60, 3 * 3600):
        root = tmp_path / str(seconds)
        root.mkdir()
        silence(root / "long.wav", seconds, 8_000)
        (root / "list.csv").write_text("audio,text\nlong.wav,A\n")
        corpus = root / "long.yaml"
        corpus.write_text(f"reader: csv\nroot: {root}\nparts: {{train: [list.csv]}}\n")
        peaks.append(peak_of_command(corpus, root / "work"))
        shards = sorted(root.glob("work/features/*/shard-*.h5"))
        rows = {len(Shard.open(shard).frames) for shard in shards}
        assert (len(shards), rows) == (3, {1 + seconds * 25 // 2})
    assert peaks[1] - peaks[0] < 16  # its waveform alone is 346 megabytes


def listed(manifest: Manifest, times: int) -> Manifest:
    utterances = (
        replace(u, id=f"{u.id}-{number}") for number in range(times) for u in manifest.utterances
    )
    return replace(manifest, utterances=tuple(utterances))


def test_a_corpus_ten_times_as_large_takes_no_more_memory(
    make_manifest: Callable[..., Manifest], tmp_path: Path
):
    """The slices have six minutes each."""
    small = listed(make_manifest(count=20), 30)
    settings = FeatureSettings(spectrum="amplitude", hop_ms=25.0)
    peaks, shards = [], []
    for times in (1, 10):
        work = tmp_path / str(times)
        megabytes, features = peak(listed(small, times), settings, work)
        peaks.append(megabytes)
        shards.append(len(features.shards))
    assert shards[0] == 1
    assert shards[1] > 9
    assert peaks[1] - peaks[0] < 8
