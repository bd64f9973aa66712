"""Splits: the three parts of a feature set as training wants them, checked before it begins.

In:   features, an experiment, how many steps the network makes of a length.
Out:  `Splits`: resident parts, what was left out of them, their reference lines.
Not here: gathering one part (batches.py), the lines' formulas (ctc.py).
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pipeline.config import Experiment, InputSettings
from pipeline.corpus.text import Alphabet, alphabet, quoted
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError
from pipeline.training.batches import Split
from pipeline.training.ctc import ConstantReference, constant_reference, minimum_frames

MOST_NAMED = 3  # utterances in an error message

Steps = Callable[[int], int]  # frames of the network's input -> steps of its output

log = logging.getLogger(__name__)


class InfeasibleError(InputError):
    """No training utterance is long enough for its transcript."""


@dataclass(frozen=True)
class Splits:
    """In train only what can be aligned. In dev and test everything is recognised and scored."""

    train: Split
    dev: Split
    test: Split
    infeasible: Mapping[str, int]
    references: Mapping[str, ConstantReference | None]  # None: nothing can be aligned

    @classmethod
    def gather(
        cls, features: FeatureSet, experiment: Experiment, steps: Steps, device: torch.device
    ) -> "Splits":
        letters = alphabet(experiment.alphabet)
        check(features.utterances, letters)
        train, dev, test = (
            Split.gather(features, name, experiment.input, letters, device)
            for name in ("train", "dev", "test")
        )
        every = {split.name: split for split in (train, dev, test)}
        fitting = {name: split.choose(_feasible(split, steps)) for name, split in every.items()}
        _report(train, fitting["train"], experiment.input, steps)
        return cls(
            train=fitting["train"],
            dev=dev,
            test=test,
            infeasible={name: len(split) - len(fitting[name]) for name, split in every.items()},
            references={
                name: _reference(split, steps, letters.size) for name, split in fitting.items()
            },
        )

    def reference_loss(self, name: str) -> float:
        """Per character, of the best output that ignores the input; no such output is below it."""
        reference = self.references[name]
        return reference.loss_per_character if reference else math.nan


def check(utterances: Sequence[StoredUtterance], letters: Alphabet) -> None:
    """Refuse, before anything is read, what would only show up in the middle of an epoch."""
    for name in ("train", "dev"):
        if not any(utterance.split == name for utterance in utterances):
            raise InputError(
                f"the corpus has no {name} utterances; choose another split in the corpus file"
            )
    strange = [(u.id, letters.unknown(u.transcript)) for u in utterances]
    strange = [(name, characters) for name, characters in strange if characters]
    if strange:
        named = "; ".join(f"{name}: {quoted(found)}" for name, found in strange[:MOST_NAMED])
        raise InputError(
            f"{len(strange)} of {len(utterances)} transcripts have characters that the alphabet "
            f"{letters.name} lacks: {named}; choose another alphabet, mend the transcripts, or "
            "list the utterances under exclude: in the corpus file"
        )


def _feasible(split: Split, steps: Steps) -> list[int]:
    lengths = map(steps, split.lengths.tolist())
    pairs = zip(lengths, split.labels, strict=True)
    return [place for place, (length, y) in enumerate(pairs) if length >= minimum_frames(y)]


def _reference(split: Split, steps: Steps, classes: int) -> ConstantReference | None:
    if not len(split):
        return None
    return constant_reference([steps(n) for n in split.lengths.tolist()], split.labels, classes)


def _report(every: Split, fitting: Split, settings: InputSettings, steps: Steps) -> None:
    """Say which training utterances are left out, and what would keep them."""
    kept = {utterance.id for utterance in fitting.utterances}
    left_out = [
        f"{u.id} ({steps(-(-u.frames // settings.stack))} steps, needs {minimum_frames(y)})"
        for u, y in zip(every.utterances, every.labels, strict=True)
        if u.id not in kept
    ]
    if not left_out:
        return
    found = f"{len(left_out)} of {len(every)} training utterances are too short to be aligned"
    remedy = _remedy(every, settings, steps)
    if not kept:
        named = "; ".join(left_out[:MOST_NAMED])
        raise InfeasibleError(f"{found}: {named}; {remedy}")
    log.warning("%s and are left out: %s; %s", found, "; ".join(left_out), remedy)


def _remedy(split: Split, settings: InputSettings, steps: Steps) -> str:
    """The largest `input.stack` at which every transcript fits."""
    needs = [minimum_frames(y) for y in split.labels]
    frames = [utterance.frames for utterance in split.utterances]
    for stack in range(settings.stack, 0, -1):
        if all(steps(-(-t // stack)) >= n for t, n in zip(frames, needs, strict=True)):
            return f"input.stack: {stack} would fit all"
    return "no input.stack fits all: set model.convolutions: 0, or lower features.hop_ms"
