"""Alphabet: what 5,000 classes cost compared with 38, in training and in decoding.

In:   nothing but seeded numbers.   Out: the group alphabet: its cases and their jobs.
Not here: whole training steps on speech (training.py).

A batch has 16 utterances of 200 steps with 15 labels. The outputs are random, with one clear class
in each step, as those of a trained network.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text.alphabet import BLANK
from pipeline.decoding.beam_search import beam_search
from pipeline.decoding.greedy_search import greedy_search
from pipeline.training.loss import ctc
from pipeline.training.loss.reference_loss import fit_constant_reference
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import ONE_THREAD, Case, CaseGroup

UTTERANCES, STEPS, LABELS, HIDDEN = 16, 200, 15, 256
REFERENCE_UTTERANCES = 2000
SIZES = (38, 5000)
OUTPUT, LOSS, REFERENCE = "output layer", "loss and its gradient", "reference loss"
GREEDY, BEAM = "greedy search", "beam search, 16 prefixes"
MAKERS = {
    OUTPUT: "output_layer",
    LOSS: "loss",
    REFERENCE: "reference",
    GREEDY: "greedy",
    BEAM: "beam",
}


def alphabet_groups() -> Iterator[CaseGroup]:
    yield CaseGroup(
        title=f"{UTTERANCES} utterances of {STEPS} steps, one thread; the reference loss of "
        f"{REFERENCE_UTTERANCES} utterances",
        unit="batch",
        cases=[
            Case(_name(what, size), f"alphabet:{maker}", {"classes": size}, environment=ONE_THREAD)
            for what, maker in MAKERS.items()
            for size in SIZES
        ],
        targets=[
            # The output layer and the softmax must look at every class: 132 times as many.
            BenchmarkTarget([_name(LOSS, 5000)], [_name(OUTPUT, 5000)], at_most=2.0),
            BenchmarkTarget([_name(REFERENCE, 5000)], [_name(REFERENCE, 38)], at_most=2.0),
            BenchmarkTarget([_name(BEAM, 5000)], [_name(BEAM, 38)], at_most=2.0),
            BenchmarkTarget([_name(GREEDY, 5000)], [_name(OUTPUT, 5000)], at_most=0.1),
        ],
    )


def output_layer(scratch: Path, *, classes: int) -> BenchmarkJob:
    """Time the product with the weights of the output layer, forward and backward."""
    layer = torch.nn.Linear(HIDDEN, classes)
    hidden = torch.randn(UTTERANCES, STEPS, HIDDEN)

    def job(folder: Path) -> dict[str, float]:
        layer(hidden).sum().backward()
        return {}

    return job


def loss(scratch: Path, *, classes: int) -> BenchmarkJob:
    logits, rng = _logits(classes), np.random.default_rng(1)
    targets = torch.from_numpy(rng.integers(1, classes, (UTTERANCES, LABELS)))
    lengths, labels = torch.full((UTTERANCES,), STEPS), torch.full((UTTERANCES,), LABELS)

    def job(folder: Path) -> dict[str, float]:
        outputs = logits.clone().requires_grad_()
        logs = ctc.log_probabilities(outputs)
        ctc.loss_from_log_probabilities(logs, lengths, targets, labels).sum().backward()
        return {}

    return job


def reference(scratch: Path, *, classes: int) -> BenchmarkJob:
    """Time the reference loss of utterances whose labels are as frequent as words are (Zipf)."""
    rng, ranks = np.random.default_rng(2), np.arange(1, classes)
    labels = rng.choice(ranks, (REFERENCE_UTTERANCES, LABELS), p=1 / ranks / (1 / ranks).sum())

    def job(folder: Path) -> dict[str, float]:
        fit_constant_reference([STEPS] * len(labels), labels.tolist(), classes)
        return {}

    return job


def greedy(scratch: Path, *, classes: int) -> BenchmarkJob:
    logits, lengths = _logits(classes).numpy(), np.full(UTTERANCES, STEPS)

    def job(folder: Path) -> dict[str, float]:
        greedy_search(logits, lengths)
        return {}

    return job


def beam(scratch: Path, *, classes: int) -> BenchmarkJob:
    logs = ctc.log_probabilities(_logits(classes)).double().numpy()
    lengths = np.full(UTTERANCES, STEPS)

    def job(folder: Path) -> dict[str, float]:
        beam_search(logs, lengths, 16)
        return {}

    return job


def _logits(classes: int) -> Tensor:
    """Return random logits with a clear class in each step: the blank in three of four."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((UTTERANCES, STEPS, classes)).astype(np.float32)
    clear = rng.integers(1, classes, (UTTERANCES, STEPS))
    clear[rng.random(clear.shape) < 0.75] = BLANK
    np.put_along_axis(logits, clear[..., None], 15.0, axis=2)
    return torch.from_numpy(logits)


def _name(what: str, classes: int) -> str:
    return f"{what}, {classes} classes"
