"""Splits: the three parts of a feature set as training wants them, checked before it begins.

In:   features, an experiment, how many steps the network makes of a length.
Out:  `Splits`: three parts, what was left out of them, their reference lines.
Not here: gathering one part (batches.py), the lines' formulas (ctc.py).
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from pipeline.config.experiment import Experiment, TrainSettings
from pipeline.corpus.manifest import require_trainable
from pipeline.corpus.text import alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.shapes import Bool, Int64
from pipeline.training.data.batches import Split
from pipeline.training.data.frame_store import joined
from pipeline.training.loss.reference_line import (
    ConstantReference,
    constant_reference,
    largest_stride,
    minimum_frames,
)

MOST_NAMED = 3  # utterances in an error message

Lengths = Int64[np.ndarray, " U"]
Steps = Callable[[Lengths], Lengths]  # frames of the network's input -> steps of its output

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
    fits: Callable[[Lengths], Bool[np.ndarray, " U"]]  # so many frames each, in train

    @classmethod
    def gather(
        cls,
        features: FeatureSet,
        experiment: Experiment,
        steps: Steps,
        residence: torch.device | None,
    ) -> "Splits":
        """`residence`: where their frames are to lie; None: they stay in the shards."""
        letters = alphabet(experiment.alphabet)
        require_trainable(features.utterances, letters)
        train, dev, test = (
            Split.mapped(features, name, experiment.input, letters)
            for name in ("train", "dev", "test")
        )
        if residence is not None:
            train, dev, test = (split.resident(residence) for split in (train, dev, test))
        every = {split.name: split for split in (train, dev, test)}
        fitting = {name: _fitting(split, steps) for name, split in every.items()}
        for split in every.values():
            _report(split, steps)
        _require_room(fitting["train"], experiment.train)
        return cls(
            train=fitting["train"],
            dev=dev,
            test=test,
            infeasible={name: len(split) - len(fitting[name]) for name, split in every.items()},
            references={
                name: _reference(split, steps, letters.size) for name, split in fitting.items()
            },
            fits=partial(_fits, fitting["train"], steps, experiment.input.stack),
        )

    def reference_loss(self, name: str) -> float:
        """Per character, of the best output that ignores the input; no such output is below it."""
        reference = self.references[name]
        return reference.loss_per_character if reference else math.nan


def _needs(split: Split) -> Lengths:
    return np.array([minimum_frames(labels) for labels in split.labels], np.int64)


def _fits(split: Split, steps: Steps, stack: int, frames: Lengths) -> Bool[np.ndarray, " U"]:
    """Whether so many stored frames, joined and strided, can align each utterance's transcript."""
    enough: np.ndarray = steps(joined(frames, stack)) >= _needs(split)
    return enough


def _fitting(split: Split, steps: Steps) -> Split:
    return split.choose(np.flatnonzero(_fits(split, steps, split.stack, split.stored)).tolist())


def _reference(split: Split, steps: Steps, classes: int) -> ConstantReference | None:
    if not len(split):
        return None
    return constant_reference(steps(split.lengths).tolist(), split.labels, classes)


def _report(split: Split, steps: Steps) -> None:
    """Say which utterances cannot be aligned, and what would let them."""
    there, needs = steps(split.lengths), _needs(split)
    strides = list(map(largest_stride, split.stored.tolist(), split.labels))
    short = [
        f"{utterance.id} ({have} steps, needs {need}: fits at {_stride(stride)})"
        for utterance, have, need, stride in zip(
            split.utterances, there, needs, strides, strict=True
        )
        if have < need
    ]
    if not short:
        return
    kind = "training" if split.name == "train" else split.name
    found = f"{len(short)} of {len(split)} {kind} utterances are too short to be aligned"
    remedy = _remedy(split, steps, min(strides))
    if split.name != "train":
        found += " and have no loss, but are scored"
    elif len(short) < len(split):
        found += " and are left out"
    else:
        raise InfeasibleError(f"{found}: {'; '.join(short[:MOST_NAMED])}; {remedy}")
    log.warning("%s: %s; %s", found, "; ".join(short), remedy)


def _require_room(train: Split, settings: TrainSettings) -> None:
    """The longest utterance alone must not be more than a batch may hold."""
    if settings.batch_frames is None:
        return
    longest = int(train.stored.argmax())
    frames = math.ceil(train.stored[longest] * (1 + settings.tempo)) + train.stack - 1
    if frames > settings.batch_frames:
        raise InputError(
            f"train.batch_frames: {settings.batch_frames} cannot hold {frames} frames of "
            f"{train.utterances[longest].id}, the longest training utterance; raise it"
        )


def _remedy(split: Split, steps: Steps, stride: int) -> str:
    """The largest `input.stack` at which every transcript fits, or what else would do it."""
    for stack in range(split.stack, 0, -1):
        if _fits(split, steps, stack, split.stored).all():
            return f"input.stack: {stack} would fit all"
    found = f"no input.stack fits all, {_stride(stride)} does"
    if stride:
        return f"{found}: lower model.time_strides, or set model.convolutions: 0"
    return f"{found}: lower features.hop_ms, or list them under exclude: in the corpus file"


def _stride(stride: int) -> str:
    return f"stride {stride}" if stride else "no stride"
