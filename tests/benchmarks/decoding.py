"""Decoding: AN4's test split with a lexicon and a word bigram, beside other decoders.

In:   a run of the baseline, trained here in a temporary folder.
Out:  CPU-seconds, real-time factor and word errors of each decoder; bench.json.
Not here: the other decoders (decoding_peers.py).

All decoders get the same log-probabilities, lexicon, bigram and weights, and use one thread.
BENCH_DECODERS names the Python that has the others, if it is not this one: pyctcdecode needs an
older NumPy.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import torch
from rich.console import Console

from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.decoding.scoring import score_corpus
from pipeline.decoding.words import graph_search
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.ngram import format_arpa
from pipeline.decoding.words.text_decoder import TextDecoder
from pipeline.decoding.words.text_sources import TextSources
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import RunFolder
from pipeline.training.trained.trained_run import TrainedRun
from tests.benchmarks.measure import ONE_THREAD, REPOSITORY

EXPERIMENT = "configs/experiments/baseline.yaml"
WEIGHTS = GraphWeights(model=0.5, word=1.0, unknown=50.0)
PATHS = 50  # that are kept at a step
BLANK_SKIP = 0.99
TEXTS = 10  # of an n-best list
ROUNDS = 3
PEERS = REPOSITORY / "tests" / "benchmarks" / "decoding_peers.py"


def measure_decoding(console: Console) -> dict[str, object]:
    """Train the baseline in a temporary folder, and measure the decoders on its test split."""
    with tempfile.TemporaryDirectory(prefix="blankslate-decoding-") as folder:
        command = [sys.executable, "-m", "jobs", "train", EXPERIMENT, "--work", folder]
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        return compare_decoders(console, Path(folder))


def compare_decoders(console: Console, work: Path) -> dict[str, object]:
    """Measure the decoders on the first run in `work`."""
    torch.set_num_threads(1)
    run = RunFolder(next((work / "runs").iterdir()))
    features = FeatureSet.open(next((work / "features").iterdir()))
    trained = TrainedRun.load(run, features, torch.device("cpu"))
    outputs = list(trained.log_probabilities(trained.split(features, "test")))
    transcripts = [u.transcript for u in features.utterances if u.split == "train"]
    normalise = TextNormaliser(trained.experiment.corpus)
    sources = TextSources.make(DecodingSettings(), transcripts, trained.alphabet, normalise)
    references, logs = [u.transcript for u, _ in outputs], [logs_SC for _, logs_SC in outputs]
    settings = features.settings
    seconds = sum(u.frames for u, _ in outputs) * settings.hop_length / settings.sample_rate
    found: dict[str, object] = {"seconds_of_speech": seconds}

    def add(name: str, cpu_seconds: list[float], texts: list[str]) -> None:
        score = score_corpus(zip(references, texts, strict=True))
        middle = median(cpu_seconds)
        found[name] = {"cpu_seconds": cpu_seconds, "wer": score.wer}
        console.print(
            f"{name}: {middle:.2f} CPU-seconds, {middle / seconds:.5f} of real time, "
            f"WER {100 * score.wer:.1f} %"
        )

    decoder = TextDecoder(sources, WEIGHTS)
    add("ours, 12 nats", *time_decoder(decoder.decode, logs))
    skipping = TextDecoder(sources, WEIGHTS, blank_skip=BLANK_SKIP)
    add(f"ours, blank_skip {BLANK_SKIP}", *time_decoder(skipping.decode, logs))
    for name, each in (("", decoder), (f", blank_skip {BLANK_SKIP}", skipping)):
        add(f"ours, {TEXTS} texts{name}", *time_decoder(partial(_first_of_texts, each), logs))
    with mock.patch.object(graph_search, "MAX_ACTIVE", PATHS):
        narrow = TextDecoder(sources, WEIGHTS)
    add(f"ours, {PATHS} paths", *time_decoder(narrow.decode, logs))
    for name, times, texts in _run_peers(sources, logs, console):
        add(name, times, texts)
    return found


def _first_of_texts(decoder: TextDecoder, logs_SC: np.ndarray) -> str:
    return decoder.decode_fully(logs_SC, TEXTS).text


def time_decoder(
    decode: Callable[[np.ndarray], str], logs: list[np.ndarray]
) -> tuple[list[float], list[str]]:
    """Return the CPU-seconds of each round over all utterances, and the texts."""
    times, texts = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        texts = [decode(each) for each in logs]
        times.append(time.process_time() - began)
    return times, texts


def _run_peers(
    sources: TextSources, logs: list[np.ndarray], console: Console
) -> list[tuple[str, list[float], list[str]]]:
    python = os.environ.get("BENCH_DECODERS", sys.executable)
    assert sources.lexicon is not None
    with tempfile.TemporaryDirectory() as folder:
        content = {
            "units": list(sources.alphabet.units),
            "words": sorted(sources.lexicon.spellings),
            "weight": WEIGHTS.model,
            "reward": WEIGHTS.word,
            "paths": PATHS,
            "rounds": ROUNDS,
        }
        Path(folder, "task.json").write_text(json.dumps(content), encoding="utf-8")
        Path(folder, "bigram.arpa").write_text(format_arpa(sources.model), encoding="utf-8")
        np.savez(Path(folder, "logs.npz"), *logs)
        ended = subprocess.run(
            [python, str(PEERS), folder], check=False, env=os.environ | ONE_THREAD
        )
        file = Path(folder, "found.json")
        if ended.returncode or not file.exists():
            console.print("the other decoders failed; see above")
            return []
        found = json.loads(file.read_text(encoding="utf-8"))
    for name, reason in found["missing"].items():
        console.print(f"{name} is not installed: {reason}")
    return [(name, *values) for name, values in found["measured"].items()]
