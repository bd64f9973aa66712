"""Lists: manifests of 300,000 list lines, and the frames of 2,000 mp3 files: seconds and memory.

In:   nothing; lists and recordings are made up.   Out: groups of Blankslate's jobs and limits.
Not here: decoding and features (features.py).
"""

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio.mp3_frames import find_frames
from pipeline.corpus.manifest import write_manifest
from pipeline.corpus.readers import build_manifest
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import Case, CaseGroup

RECORDINGS, SEGMENTS = 300, 1000  # segments of each recording
SEGMENT_S, RATE = 5, 16_000
SPLITS = {"train": range(280), "dev": range(280, 290), "test": range(290, 300)}
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "away")
READERS = ("kaldi", "csv", "nemo")
MP3_FILES, MP3_S = 2000, 5.5
MEGABYTES, CPU_SECONDS = "MB", "CPU seconds"


def list_groups(thin: int = 1) -> Iterator[CaseGroup]:
    """Each process reads its lists, and writes the manifest as `make features` does."""
    segments, files = SEGMENTS // thin, MP3_FILES // thin
    yield CaseGroup(
        title=f"{RECORDINGS * segments} list lines, {segments} for each recording",
        unit="corpus",
        cases=[
            Case(name, "lists:plan_corpus", {"reader": name, "segments": segments})
            for name in READERS
        ],
        targets=[
            BenchmarkTarget([name], at_most=most, quantity=quantity)
            for name in READERS
            for quantity, most in ((CPU_SECONDS, 8), (MEGABYTES, 250))
        ],
        warm_up=False,
    )
    for mode in ("CONSTANT", "VARIABLE"):
        settings = {"mode": mode, "files": files}
        yield CaseGroup(
            title=f"{files} mp3 files of {MP3_S} s, {mode.lower()} bit rate",
            unit="corpus",
            cases=[
                Case("reading", "lists:read_mp3", settings),
                Case("reading and counting frames", "lists:count_mp3", settings),
            ],
            targets=[BenchmarkTarget(["reading and counting frames"], ["reading"], at_most=2)],
        )


def plan_corpus(scratch: Path, *, reader: str, segments: int) -> BenchmarkJob:
    """Run a fresh process, whose peak memory and time are its own."""
    write_lists(scratch / "corpus", reader, segments)

    def job(folder: Path) -> dict[str, float]:
        command = [sys.executable, "-m", "tests.benchmarks.lists", reader]
        done = subprocess.run(
            [*command, str(scratch / "corpus"), str(folder)], capture_output=True, check=True
        )
        found: dict[str, float] = json.loads(done.stdout)
        if found.pop("utterances") != RECORDINGS * segments:
            raise SystemExit("utterances are missing")
        return found

    return job


def write_lists(root: Path, reader: str, number_of_segments: int) -> None:
    rng = random.Random(0)
    root.mkdir()
    for number in range(RECORDINGS):
        _write_long_wav(root / f"{number:04d}.wav", number_of_segments * SEGMENT_S * RATE)
    for split, recordings in SPLITS.items():
        (root / split).mkdir()
        segments = [
            (f"{number:04d}", begin, " ".join(rng.choices(WORDS, k=12)))
            for number in recordings
            for begin in range(0, number_of_segments * SEGMENT_S, SEGMENT_S)
        ]
        lists = LISTS[reader](segments)
        for name, lines in lists.items():
            path = root / split / name if reader == "kaldi" else root / f"{split}.{name}"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_long_wav(path: Path, samples: int) -> None:
    """Write the header of a wav; the file system stores nothing for its zeros."""
    size = 2 * samples
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data"
    path.write_bytes(header + struct.pack("<I", size))
    with path.open("ab") as file:
        file.write(path.stem.encode())  # so that no file begins like another
    os.truncate(path, 44 + size)


Segments = list[tuple[str, int, str]]


def _kaldi_lists(segments: Segments) -> dict[str, list[str]]:
    ids = [f"{recording}-{begin:05d}" for recording, begin, _ in segments]
    recordings = dict.fromkeys(recording for recording, _, _ in segments)
    each = list(zip(ids, segments, strict=True))
    return {
        "wav.scp": [f"{recording} {recording}.wav" for recording in recordings],
        "segments": [f"{name} {r} {begin}.00 {begin + 4}.37" for name, (r, begin, _) in each],
        "text": [f"{name} {text}" for name, (_, _, text) in each],
        "utt2spk": [f"{name} {recording}" for name, (recording, _, _) in each],
    }


def _csv_lists(segments: Segments) -> dict[str, list[str]]:
    rows = [f"{r}.wav,{text},{r},{begin},4.37" for r, begin, text in segments]
    return {"csv": ["audio,text,speaker,start,duration", *rows]}


def _nemo_lists(segments: Segments) -> dict[str, list[str]]:
    rows = [
        {"audio_filepath": f"{r}.wav", "text": text, "speaker": r, "offset": begin, "duration": 4.4}
        for r, begin, text in segments
    ]
    return {"json": list(map(json.dumps, rows))}


LISTS = {"kaldi": _kaldi_lists, "csv": _csv_lists, "nemo": _nemo_lists}


def measure_planning(reader: str, root: str, folder: str) -> dict[str, float]:
    started = time.process_time()
    manifest = build_manifest(Corpus(name="big", reader=reader, root=root), Path(folder))
    write_manifest(manifest, Path(folder) / f"{manifest.digest}.jsonl")
    return {
        "utterances": len(manifest.utterances),
        CPU_SECONDS: time.process_time() - started,
        MEGABYTES: _peak_megabytes(),
    }


def _peak_megabytes() -> float:
    """Return the peak of this program; that of getrusage also counts the process that began it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def read_mp3(scratch: Path, *, mode: str, files: int) -> BenchmarkJob:
    paths = write_mp3(scratch / "mp3", mode, files)

    def job(folder: Path) -> None:
        for path in paths:
            with open(path, "rb") as file:  # noqa: PTH123 (a Path takes longer)
                file.read()

    return job


def count_mp3(scratch: Path, *, mode: str, files: int) -> BenchmarkJob:
    paths = write_mp3(scratch / "mp3", mode, files)

    def job(folder: Path) -> None:
        for path in paths:
            with open(path, "rb") as file:  # noqa: PTH123
                found = find_frames(file.read())
            if found is None:
                raise SystemExit(f"{path}: no frames")

    return job


def write_mp3(folder: Path, mode: str, files: int) -> list[str]:
    """Write files of their own, as the page cache holds them; the sound of 20 repeats."""
    folder.mkdir()
    rng, rate = np.random.default_rng(0), 32_000
    contents = []
    for _ in range(20):
        steps = rng.standard_normal(round(MP3_S * rate)).cumsum()
        path = folder / "a.mp3"
        sound = steps / np.abs(steps).max()
        soundfile.write(path, sound, rate, bitrate_mode=mode, compression_level=0.6)
        contents.append(path.read_bytes())
        path.unlink()
    paths = [folder / f"{number}.mp3" for number in range(files)]
    for number, path in enumerate(paths):
        path.write_bytes(contents[number % len(contents)])
    return list(map(str, paths))


if __name__ == "__main__":
    print(json.dumps(measure_planning(*sys.argv[1:])))
