"""Illnesses: trainings that are sick on purpose, and what doctor, train and report say of each.

In:   AN4.   Out: the lines of each command, by illness.
Not here: the rules (pipeline/runs/, pipeline/training/diagnosis/); what the sentences mean
(configs/sweeps/what-is-wrong.md).

Each illness changes one thing of the baseline on AN4, trained for 8 epochs on one thread.
"""

import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from rich.console import Console

from pipeline.config.corpus import Corpus
from pipeline.corpus.readers import build_manifest
from tests.benchmarks.corpora import find_an4
from tests.benchmarks.measure import ONE_THREAD, REPOSITORY

EXPERIMENT = "configs/experiments/baseline.yaml"
RATE = 16000
NOISE_LEVEL = 0.05  # standard deviation; full scale is 1
NOISY_SPEAKERS = {"train": "mewl", "dev": "fash", "test": "fcaw"}
# Lines of these commands that say nothing about the illness.
ORDINARY = re.compile(
    r"ok  |starting torch|features: |.*: (running|finished)|    (reference|hypothesis) |1 run: |"
    r"make report|/|.*epoch \d+ of|.*utterances, \d+ min .*; train "
)
EPOCH = re.compile(r"epoch \d+, dev: ")


@dataclass(frozen=True, slots=True)
class Recording:
    id: str
    audio: Path
    text: str
    speaker: str
    split: str


Recordings = list[Recording]
Sound = np.ndarray  # float32, one channel
ChangeSound = Callable[[int, Recording, Sound], Sound | None]  # None: as it is


@dataclass(frozen=True)
class Illness:
    name: str
    settings: str = ""  # as in SET="…"
    change: Callable[[Recordings, Random], Recordings] | None = None
    sound: ChangeSound | None = None


def _permute(recordings: Recordings, chosen: list[int], rng: Random) -> Recordings:
    texts = [recordings[n].text for n in chosen]
    rng.shuffle(texts)
    found = list(recordings)
    for n, text in zip(chosen, texts, strict=True):
        found[n] = replace(found[n], text=text)
    return found


def permute_all(recordings: Recordings, rng: Random) -> Recordings:
    return _permute(recordings, list(range(len(recordings))), rng)


def permute_train(recordings: Recordings, rng: Random) -> Recordings:
    return _permute(recordings, [n for n, r in enumerate(recordings) if r.split == "train"], rng)


def permute_third(recordings: Recordings, rng: Random) -> Recordings:
    count = len(recordings)
    return _permute(recordings, rng.sample(range(count), 3 * count // 10), rng)


def shift(recordings: Recordings, rng: Random) -> Recordings:
    return [replace(r, text=recordings[n - 1].text) for n, r in enumerate(recordings)]


def same_text(recordings: Recordings, rng: Random) -> Recordings:
    return [replace(each, text="HELLO") for each in recordings]


def lengthen_half(recordings: Recordings, rng: Random) -> Recordings:
    return [
        replace(r, text=" ".join([r.text] * 6)) if n % 2 else r for n, r in enumerate(recordings)
    ]


def without_spaces(recordings: Recordings, rng: Random) -> Recordings:
    return [replace(each, text=each.text.replace(" ", "")) for each in recordings]


def leak_test(recordings: Recordings, rng: Random) -> Recordings:
    leaked = [
        replace(r, id=f"new-{n:04d}", speaker=f"new-{r.speaker}", split="train")
        for n, r in enumerate(recordings)
        if r.split == "test"
    ]
    return [*recordings, *leaked]


def silence_all(number: int, recording: Recording, sound: Sound) -> Sound | None:
    return np.zeros_like(sound)


def silence_third(number: int, recording: Recording, sound: Sound) -> Sound | None:
    return None if number % 3 else np.zeros_like(sound)


def cut_half(number: int, recording: Recording, sound: Sound) -> Sound | None:
    return None if number % 2 else sound[: int(0.6 * len(sound))]


def make_quiet(number: int, recording: Recording, sound: Sound) -> Sound | None:
    return sound / 2000


def noise_of(split: str) -> ChangeSound:
    def change(number: int, recording: Recording, sound: Sound) -> Sound | None:
        if recording.speaker != NOISY_SPEAKERS[split]:
            return None
        noise = np.random.default_rng(number).normal(0, NOISE_LEVEL, len(sound))
        return noise.astype(np.float32)

    return change


def reencode(number: int, recording: Recording, sound: Sound) -> Sound | None:
    """Write a copy of a file, so that its content is equal and its name is not."""
    return sound if recording.id.startswith("new-") else None


ILLNESSES = (
    Illness("none"),
    Illness("transcripts permuted", change=permute_all),
    Illness("transcripts shifted by one", change=shift),
    Illness("transcripts of train permuted", change=permute_train),
    Illness("30 % of the transcripts permuted", change=permute_third),
    Illness("one transcript for all", change=same_text),
    Illness("half of the transcripts six times too long", change=lengthen_half),
    Illness("transcripts without spaces", change=without_spaces),
    Illness("test recordings also in train", change=leak_test, sound=reencode),
    Illness("a third of the recordings silent", sound=silence_third),
    Illness("all recordings silent", sound=silence_all),
    Illness("half of the recordings cut to 60 %", sound=cut_half),
    Illness("level divided by 2000", sound=make_quiet),
    Illness("a training speaker is noise", sound=noise_of("train")),
    Illness("a dev speaker is noise", sound=noise_of("dev")),
    Illness("a test speaker is noise", sound=noise_of("test")),
    Illness("weight decay 100", "train.weight_decay=100"),
    Illness("dropout 0.95", "model.dropout=0.95"),
    Illness("clamp 0.01", "model.clamp=0.01"),
    Illness("learning rate 1e-6", "train.learning_rate=1e-6"),
    Illness("learning rate 0.3", "train.learning_rate=0.3"),
    Illness("SGD at 10", "train.optimiser=sgd train.learning_rate=10"),
    Illness("three epochs of batches of 64", "train.batch=64 train.epochs=3"),
    Illness(
        "power without logarithm or normalisation",
        "features.spectrum=power features.scale=none features.storage=float32 "
        "input.normalisation=none",
    ),
    Illness(
        "72 frames per step",
        "input.stack=8 model.convolutions=2 model.time_strides=[3,3]",
    ),
)


def measure_illnesses(console: Console) -> dict[str, object]:
    """Print what the commands say of each illness."""
    recordings = read_an4()
    found: dict[str, object] = {}
    for illness in ILLNESSES:
        with tempfile.TemporaryDirectory(prefix="blankslate-ill-") as folder:
            lines = observe(illness, recordings, Path(folder))
        found[illness.name] = lines
        console.print(illness.name, style="bold", markup=False)
        for line in lines:
            console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    return found


def read_an4() -> Recordings:
    corpus = Corpus(name="an4", reader="an4", root=str(find_an4()), split="espnet")
    manifest = build_manifest(corpus, find_an4())
    return [
        Recording(u.id, manifest.root / u.audio, u.transcript, u.speaker, u.split)
        for u in manifest.utterances
    ]


def observe(illness: Illness, recordings: Recordings, folder: Path) -> list[str]:
    """Return the lines of doctor, of train and of its report that are about the illness."""
    changed = illness.change(recordings, Random(17)) if illness.change else recordings
    corpus, work = write_corpus(changed, illness.sound, folder / "ill"), folder / "work"
    settings = [f"corpus={corpus}", "train.epochs=8", *illness.settings.split()]
    changes = [word for setting in settings for word in ("--set", setting)]
    place = ["--work", str(work), "--cluster", "cluster/local.yaml"]
    train = _run(["train", EXPERIMENT, *changes, *place])
    lines = [f"train: {line}" for line in _shorten_epochs(train)]
    doctor = _run(["doctor", EXPERIMENT, *changes, *place])
    lines += [f"doctor: {line}" for line in doctor if not ORDINARY.match(line)]
    for run in (work / "runs").glob("*/hypotheses.csv"):
        report = _run(["report", run.parent.name, *place])
        lines += [f"report: {line}" for line in report if "apart" in line]
    return lines


def write_corpus(recordings: Recordings, sound: ChangeSound | None, folder: Path) -> Path:
    """Write links to the audio, or changed audio, and a table; return the corpus file."""
    (folder / "wav").mkdir(parents=True)
    with (folder / "all.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "audio", "text", "speaker", "split"])
        for number, each in enumerate(recordings):
            path = folder / "wav" / f"{each.id}.wav"
            changed = None
            if sound:
                samples, _ = soundfile.read(each.audio, dtype="float32")
                changed = sound(number, each, samples)
            if changed is None:
                path.symlink_to(each.audio.resolve())
            else:
                soundfile.write(path, changed, RATE, subtype="PCM_16")
            table.writerow([each.id, f"wav/{path.name}", each.text, each.speaker, each.split])
    corpus = folder / "ill.yaml"
    corpus.write_text(f"reader: csv\nroot: {folder}\nlanguage: en\n", encoding="utf-8")
    return corpus


def _shorten_epochs(lines: list[str]) -> list[str]:
    """Return lines that are not ordinary, and of the sentences after epochs the first and last."""
    epochs = [line for line in lines if EPOCH.match(line)]
    between = set(epochs[1:-1])
    return [line for line in lines if line not in between and not ORDINARY.match(line)]


def _run(words: list[str]) -> list[str]:
    """Return the lines of a command, which may fail: that is an answer too."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *words],
        cwd=REPOSITORY,
        check=False,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout.splitlines()
