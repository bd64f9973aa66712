"""Race: seconds from the wav files of AN4 to test results, features and decoding included.

In:   AN4; configs/experiments/an4-small.yaml.
Out:  per seed the seconds of the whole command and the test WER.
Not here: the seconds of single steps (features.py, training.py).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from rich.console import Console

from tests.benchmarks.measure import REPOSITORY

EXPERIMENT = "configs/experiments/an4-small.yaml"
EPOCHS = "train.epochs=40"  # of 120; the later ones lower its dev CER by little
DECODING = "decode.also=[{words: any, ngram: 6}]"  # a 6-gram of characters, from the transcripts
SEEDS = 5
TARGET_WER = 0.10


def measure_race(console: Console) -> dict[str, object]:
    """Train and decode each seed in a new work folder, one after another."""
    found = [_race(seed, console) for seed in range(SEEDS)]
    wer, seconds = (mean(run[name] for run in found) for name in ("wer", "seconds"))
    verdict = "is reached" if wer <= TARGET_WER else "is missed"
    console.print(
        f"mean of {SEEDS} seeds: test WER {wer:.1%} in {seconds:.0f} s; {TARGET_WER:.0%} {verdict}"
    )
    return {"runs": found, "mean_wer": wer, "mean_seconds": seconds}


def _race(seed: int, console: Console) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="blankslate-race-") as folder:
        changes = ["--set", f"train.seed={seed}", "--set", EPOCHS, "--set", DECODING]
        words = ["train", EXPERIMENT, *changes, "--work", folder]
        start = time.monotonic()
        command = [sys.executable, "-m", "jobs", *words]
        # On a machine that has sbatch too, the race is on this machine.
        here = {**os.environ, "BLANKSLATE_THIS_MACHINE": "1"}
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, env=here)
        seconds = time.monotonic() - start
        (run,) = Path(folder, "runs").iterdir()
        rows = [json.loads(line) for line in (run / "rows.jsonl").read_text("utf-8").splitlines()]
        (greedy,) = (row["wer"] for row in rows if row["split"] == "test")
        (decoded,) = (run / "decodings").glob("*/result.json")
        wer = json.loads(decoded.read_text("utf-8"))["test_wer"]
    console.print(f"seed {seed}: test WER {wer:.1%} (greedy {greedy:.1%}) in {seconds:.0f} s")
    return {"seed": seed, "wer": wer, "greedy_wer": greedy, "seconds": seconds}
