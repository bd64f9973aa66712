"""Suspicious transcripts: AN4 with transcripts made wrong on purpose, and which of them are named.

In:   AN4; a draw of wrong transcripts.
Out:  how many wrong ones `make align` names, and how many of the named ones are wrong.
Not here: the rule (pipeline/decoding/suspicion.py).
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from rich.console import Console

from pipeline.corpus.layouts.an4 import FILEID_PATTERN, TRANSCRIPTION_PATTERN
from tests.benchmarks.corpora import find_an4
from tests.benchmarks.measure import REPOSITORY

EXPERIMENT = "configs/experiments/baseline.yaml"
# Seed of the draw, seed of the training, transcripts permuted among each other, cut to half.
DRAWS = ((17, 0, 54, 22), (18, 1, 54, 22), (19, 2, 323, 0))
MIN_WORDS = 4  # of a transcript that is cut


def measure_suspicion(console: Console) -> dict[str, object]:
    """Train the baseline on each wrong corpus, align it, and count."""
    an4 = find_an4()
    found: dict[str, object] = {}
    for seed, training_seed, permuted, halves in DRAWS:
        with tempfile.TemporaryDirectory(prefix="blankslate-wrong-") as folder:
            wrong = write_wrong_corpus(an4, Path(folder, "an4"), seed, permuted, halves)
            work = Path(folder, "work")
            environment = {**os.environ, "AN4": str(Path(folder, "an4"))}
            words = ["train", EXPERIMENT, "--set", f"train.seed={training_seed}"]
            _run([*words, "--work", str(work)], environment)
            (run,) = (work / "runs").iterdir()
            _run(["align", run.name, "--work", str(work)], environment)
            table = run / "alignments" / "transcripts" / "utterances.csv"
            found[f"draw {seed}"] = count_named(table, wrong, console, f"draw {seed}")
    return found


def write_wrong_corpus(
    an4: Path, target: Path, seed: int, permuted: int, halves: int
) -> dict[str, str]:
    """Write AN4 with wrong transcripts; return the utterances that have one, and which kind."""
    (target / "etc").mkdir(parents=True)
    (target / "wav").symlink_to((an4 / "wav").resolve())
    lines: list[list[str]] = []  # split, transcript, name of the audio file
    for split in ("train", "test"):
        shutil.copy(an4 / "etc" / f"an4_{split}.fileids", target / "etc")
        text = (an4 / "etc" / f"an4_{split}.transcription").read_text(encoding="utf-8")
        matches = map(TRANSCRIPTION_PATTERN.fullmatch, text.splitlines())
        lines += [[split, match[1], match[2]] for match in matches if match]
    rng = Random(seed)
    order = list(range(len(lines)))
    rng.shuffle(order)
    chosen, rest = order[:permuted], order[permuted:]
    cut = [n for n in rest if len(lines[n][1].split()) >= MIN_WORDS][:halves]
    texts = [text for _, text, _ in lines]
    givers = list(chosen)
    while any(texts[a] == texts[b] for a, b in zip(chosen, givers, strict=True)):
        givers = list(chosen)
        rng.shuffle(givers)
    wrong = {}
    for one, giver in zip(chosen, givers, strict=True):
        lines[one][1], wrong[lines[one][2]] = texts[giver], "permuted"
    for number, one in enumerate(cut):
        words = texts[one].split()
        half = len(words) // 2
        lines[one][1] = " ".join(words[:half] if number % 2 else words[-half:])
        wrong[lines[one][2]] = "half"
    for split in ("train", "test"):
        written = [f"<s> {text} </s> ({name})\n" for of, text, name in lines if of == split]
        (target / "etc" / f"an4_{split}.transcription").write_text("".join(written), "utf-8")
    return {_utterance_id(name): kind for name, kind in wrong.items()}


def _utterance_id(name: str) -> str:
    match = FILEID_PATTERN.fullmatch(f"wav/{name.split('-')[1]}/{name}")
    assert match is not None
    return f"{match['speaker']}-{match[4]}-{match[5]}"


def count_named(
    table: Path, wrong: dict[str, str], console: Console, title: str
) -> dict[str, list[int]]:
    """Return and print by split: named, of these wrong, wrong, and wrong of the worst ones."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for split in ("train", "dev", "test"):
        own = [row for row in rows if row["split"] == split]
        named = [row for row in own if row["suspicious"] == "True"]
        right = [row for row in named if row["utterance_id"] in wrong]
        every = sum(row["utterance_id"] in wrong for row in own)
        worst = sum(row["utterance_id"] in wrong for row in own[:every])
        found[split] = [len(named), len(right), every, worst]
        kinds = ", ".join(
            f"{kind}: {sum(wrong[row['utterance_id']] == kind for row in right)} of "
            f"{sum(wrong.get(row['utterance_id']) == kind for row in own)}"
            for kind in ("permuted", "half")
        )
        console.print(
            f"{title}, {split}: {len(named)} named, {len(right)} of them wrong; {every} are wrong "
            f"({kinds}); {worst} of the {every} worst"
        )
    return found


def _run(words: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "jobs", *words]
    subprocess.run(command, cwd=REPOSITORY, check=True, env=environment, stdout=subprocess.DEVNULL)
